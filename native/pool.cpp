#include "pool.hpp"

#include <pthread.h>
#include <sched.h>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

namespace ggufjac {
namespace {

// Iterations of a worker's wait before it sleeps: some tens of microseconds, enough to catch the next product of a
// sweep and too short to take a processor from anybody.
constexpr int spins = 4000;

inline void relax() {
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    asm volatile("yield");
#endif
}

struct Job {
    const std::function<void(std::int64_t)>& task;
    std::int64_t count;
    std::atomic<std::int64_t> next{0};

    void work() {
        for (std::int64_t i = next.fetch_add(1, std::memory_order_relaxed); i < count;
             i = next.fetch_add(1, std::memory_order_relaxed))
            task(i);
    }
};

class Pool {
public:
    std::mutex callers;

    // Call with `callers` held.
    void run(Job& job, int helpers) {
        while (static_cast<int>(workers_.size()) < helpers)
            workers_.emplace_back(&Pool::serve, this, static_cast<int>(workers_.size()), generation_.load());
        {
            std::lock_guard lock(mutex_);
            job_ = &job;
            helpers_ = helpers;
            busy_.store(helpers, std::memory_order_relaxed);
            generation_.fetch_add(1, std::memory_order_release);
        }
        wake_.notify_all();
        job.work();
        for (int i = 0; busy_.load(std::memory_order_acquire) != 0; ++i) {
            if (i < spins)
                relax();
            else
                std::this_thread::yield();
        }
    }

    ~Pool() {
        {
            std::lock_guard lock(mutex_);
            stop_ = true;
            generation_.fetch_add(1, std::memory_order_release);
        }
        wake_.notify_all();
        for (std::thread& t : workers_) t.join();
    }

private:
    void serve(int index, std::uint64_t seen) {
        for (;;) {
            for (int i = 0; i < spins && generation_.load(std::memory_order_acquire) == seen; ++i) relax();
            Job* job;
            {
                std::unique_lock lock(mutex_);
                wake_.wait(lock, [&] { return generation_.load(std::memory_order_relaxed) != seen; });
                seen = generation_.load(std::memory_order_relaxed);
                if (stop_) return;
                job = index < helpers_ ? job_ : nullptr;
            }
            if (job) {
                job->work();
                busy_.fetch_sub(1, std::memory_order_release);
            }
        }
    }

    std::vector<std::thread> workers_;
    std::mutex mutex_;
    std::condition_variable wake_;
    std::atomic<std::uint64_t> generation_{0};
    std::atomic<int> busy_{0};
    Job* job_ = nullptr;
    int helpers_ = 0;
    bool stop_ = false;
};

// The process's pool. After a fork the child has the memory of the workers but not the workers: it abandons that pool
// (destroying it would wait for threads that do not exist) and starts another.
class PoolHolder {
public:
    PoolHolder() {
        pthread_atfork(nullptr, nullptr, [] {
            PoolHolder& holder = instance();
            (void)holder.pool_.release();
            holder.pool_ = std::make_unique<Pool>();
        });
    }
    static PoolHolder& instance() {
        static PoolHolder holder;
        return holder;
    }
    Pool& pool() { return *pool_; }

private:
    std::unique_ptr<Pool> pool_ = std::make_unique<Pool>();
};

}  // namespace

int available_processors() {
#ifdef __linux__
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) == 0) return std::max(1, CPU_COUNT(&set));
#endif
    return static_cast<int>(std::max(1u, std::thread::hardware_concurrency()));
}

void parallel_for(std::int64_t count, int threads, const std::function<void(std::int64_t)>& task) {
    Job job{task, count};
    const int helpers = static_cast<int>(std::min<std::int64_t>(threads, count)) - 1;
    if (helpers > 0) {
        Pool& pool = PoolHolder::instance().pool();
        if (std::unique_lock lock(pool.callers, std::try_to_lock); lock) {
            pool.run(job, helpers);
            return;
        }
    }
    job.work();
}

}  // namespace ggufjac
