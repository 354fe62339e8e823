# How many forks led to this process, also those that no Python fork hook sees (uWSGI's).
cdef extern from *:
    """
    #if !defined(_WIN32)
    #  include <pthread.h>
    #endif
    static int otlpfast_forks = 0;
    static void otlpfast_forked(void) { otlpfast_forks++; }
    static int otlpfast_watch_forks(void) {
    #if !defined(_WIN32)
        static int watching = 0;
        if (!watching) { watching = 1; return pthread_atfork(NULL, NULL, otlpfast_forked); }
    #endif
        return 0;
    }
    """
    int otlpfast_forks
    int otlpfast_watch_forks()
