// A small persistent pool of worker threads.
#pragma once

#include <cstdint>
#include <functional>

namespace ggufjac {

// Processors this process may run on (the affinity mask where the system has one).
int available_processors();

// Calls task(0) .. task(count - 1), each once, on the calling thread and up to `threads - 1` workers, never more
// threads than processors; returns when all are done. Which thread runs which task is unspecified. One caller at a time
// uses the workers: a caller that finds them busy does all its tasks itself. Workers start at first use and again after
// a fork. The first exception of a task is thrown again here, and tasks not yet begun are dropped.
void parallel_for(std::int64_t count, int threads, const std::function<void(std::int64_t)>& task);

}  // namespace ggufjac
