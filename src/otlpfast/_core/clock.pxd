# The wall clock, in nanoseconds since the epoch, as time.time_ns() reads it; and one that nobody sets.
from libc.stdint cimport int64_t

cdef extern from *:
    """
    #include <time.h>
    static inline int64_t otlpfast_now(void) {
        struct timespec t;
    #if defined(CLOCK_REALTIME)
        clock_gettime(CLOCK_REALTIME, &t);
    #else
        timespec_get(&t, TIME_UTC);
    #endif
        return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
    }
    static inline int64_t otlpfast_monotonic(void) {
    #if defined(CLOCK_MONOTONIC)
        struct timespec t;
        clock_gettime(CLOCK_MONOTONIC, &t);
        return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
    #else
        return (int64_t)((double)clock() * (1e9 / CLOCKS_PER_SEC)); /* Windows: real time since the start */
    #endif
    }
    """
    int64_t now_ns "otlpfast_now"() noexcept nogil
    int64_t monotonic_ns "otlpfast_monotonic"() noexcept nogil
