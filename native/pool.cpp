#include "pool.hpp"

#include <pthread.h>
#include <sched.h>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <exception>
#include <memory>
#include <mutex>
#include <system_error>
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

// The scheduler wakes a worker on the processor of its caller when the others look busy, and other libraries' workers
// that spin look busy; the two would then share one processor for as long as that lasts. So a worker that finds itself
// there moves, once, and is free to be moved again afterwards.
int current_processor() {
#ifdef __linux__
    return sched_getcpu();
#else
    return -1;
#endif
}

void leave_processor([[maybe_unused]] int processor) {
#ifdef __linux__
    if (processor < 0 || processor >= CPU_SETSIZE || current_processor() != processor) return;
    cpu_set_t allowed;
    if (sched_getaffinity(0, sizeof allowed, &allowed) != 0) return;
    cpu_set_t others = allowed;
    CPU_CLR(static_cast<std::size_t>(processor), &others);
    if (CPU_COUNT(&others) > 0 && sched_setaffinity(0, sizeof others, &others) == 0)
        sched_setaffinity(0, sizeof allowed, &allowed);
#endif
}

struct Job {
    const std::function<void(std::int64_t)>& task;
    std::int64_t count;
    int processor;  // where the caller began
    std::atomic<std::int64_t> next;
    std::mutex mutex;
    std::exception_ptr error;

    void work() {
        try {
            for (std::int64_t i = next.fetch_add(1, std::memory_order_relaxed); i < count;
                 i = next.fetch_add(1, std::memory_order_relaxed))
                task(i);
        } catch (...) {
            next.store(count, std::memory_order_relaxed);
            std::lock_guard lock(mutex);
            if (!error) error = std::current_exception();
        }
    }
};

class Pool {
public:
    std::mutex callers;

    // Call with `callers` held. A worker that is still asleep when the caller has run out of tasks is not waited for.
    void run(Job& job, int helpers) {
        recruit(helpers);
        {
            std::lock_guard lock(mutex_);
            job_ = &job;
            wanted_ = helpers;
            generation_.fetch_add(1, std::memory_order_release);
        }
        wake_.notify_all();
        job.work();
        {
            std::lock_guard lock(mutex_);
            job_ = nullptr;
        }
        for (int i = 0; active_.load(std::memory_order_acquire) != 0; ++i) {
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
    void recruit(int helpers) {
        try {
            while (static_cast<int>(workers_.size()) < helpers)
                workers_.emplace_back(&Pool::serve, this, generation_.load(std::memory_order_relaxed));
        } catch (const std::system_error&) {
            // The system gives no more threads: the ones there are do the work.
        }
    }

    void serve(std::uint64_t seen) {
        for (;;) {
            for (int i = 0; i < spins && generation_.load(std::memory_order_acquire) == seen; ++i) relax();
            Job* job = nullptr;
            {
                std::unique_lock lock(mutex_);
                wake_.wait(lock, [&] { return generation_.load(std::memory_order_relaxed) != seen; });
                seen = generation_.load(std::memory_order_relaxed);
                if (stop_) return;
                if (job_ && wanted_ > 0) {
                    --wanted_;
                    job = job_;
                    active_.fetch_add(1, std::memory_order_relaxed);
                }
            }
            if (job) {
                leave_processor(job->processor);
                job->work();
                active_.fetch_sub(1, std::memory_order_release);
            }
        }
    }

    std::vector<std::thread> workers_;
    std::mutex mutex_;
    std::condition_variable wake_;
    std::atomic<std::uint64_t> generation_{0};
    std::atomic<int> active_{0};  // workers inside job_->work()
    Job* job_ = nullptr;
    int wanted_ = 0;  // workers that may still join
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
    Job job{.task = task, .count = count, .processor = current_processor(), .next = 0, .mutex = {}, .error = {}};
    const std::int64_t useful = std::min<std::int64_t>({threads, count, available_processors()});
    Pool* pool = useful > 1 ? &PoolHolder::instance().pool() : nullptr;
    if (std::unique_lock lock =
            pool ? std::unique_lock(pool->callers, std::try_to_lock) : std::unique_lock<std::mutex>();
        lock)
        pool->run(job, static_cast<int>(useful) - 1);
    else
        job.work();
    if (job.error) std::rethrow_exception(job.error);
}

}  // namespace ggufjac
