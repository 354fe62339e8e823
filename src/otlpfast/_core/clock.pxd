# The wall clock, in nanoseconds since the epoch, as time.time_ns() reads it.
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
    """
    int64_t now_ns "otlpfast_now"() noexcept nogil
