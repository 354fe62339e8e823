# A request over a connected socket and the answer to it, without Python, by a deadline: nanoseconds of the
# monotonic clock. On 64-bit Linux; elsewhere OTLPFAST_EXCHANGES is 0 and nothing of this is called.
from libc.stdint cimport int64_t, uint32_t, uint64_t

cdef extern from *:
    """
    #include <stdint.h>
    #include <stdlib.h>
    #include <string.h>
    #if defined(__linux__) && defined(__LP64__)
    #  define OTLPFAST_EXCHANGES 1
    #  include <errno.h>
    #  include <poll.h>
    #  include <strings.h>
    #  include <sys/socket.h>
    #  include <sys/syscall.h>
    #  include <sys/uio.h>
    #  include <time.h>
    #  include <unistd.h>
    #  define OTLPFAST_WAIT 128  /* FUTEX_WAIT_PRIVATE: not every system has the kernel's headers */
    #  define OTLPFAST_WAKE 129
    #else
    #  define OTLPFAST_EXCHANGES 0
    #  if defined(_WIN32)
    struct iovec { void *iov_base; size_t iov_len; };
    #  else
    #    include <sys/uio.h>
    #  endif
    #endif

    #define OTLPFAST_ANSWER 2048  /* bytes of an answer that is still a usual one */

    typedef struct { uint32_t rings, asleep; } otlpfast_bell;
    typedef struct { size_t length; char text[OTLPFAST_ANSWER]; } otlpfast_answer;

    static inline uint64_t otlpfast_load(const uint64_t *from) {
    #if OTLPFAST_EXCHANGES
        return __atomic_load_n(from, __ATOMIC_ACQUIRE);
    #else
        return *from;
    #endif
    }

    static inline void otlpfast_store(uint64_t *to, uint64_t value) {
    #if OTLPFAST_EXCHANGES
        __atomic_store_n(to, value, __ATOMIC_RELEASE);
    #else
        *to = value;
    #endif
    }

    /* Whether `from` was there, and `to` is now. */
    static inline int otlpfast_swap(uint64_t *at, uint64_t from, uint64_t to) {
    #if OTLPFAST_EXCHANGES
        return __atomic_compare_exchange_n(at, &from, to, 0, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED);
    #else
        *at = to;
        return 1;
    #endif
    }

    #if OTLPFAST_EXCHANGES

    /* Who waits for the bell has looked at it before it looked for work, so that no ring gets lost. Who only
       naps is not woken by a ring that is not loud. */
    static uint32_t otlpfast_hear(const otlpfast_bell *bell) {
        return __atomic_load_n(&bell->rings, __ATOMIC_SEQ_CST);
    }

    static void otlpfast_ring(otlpfast_bell *bell, int loud) {
        __atomic_fetch_add(&bell->rings, 1, __ATOMIC_SEQ_CST);
        if (loud || __atomic_load_n(&bell->asleep, __ATOMIC_SEQ_CST))
            syscall(SYS_futex, &bell->rings, OTLPFAST_WAKE, 1, NULL, NULL, 0);
    }

    static void otlpfast_nap(otlpfast_bell *bell, uint32_t heard, int64_t nanoseconds) {
        struct timespec t = {nanoseconds / 1000000000, nanoseconds % 1000000000};
        syscall(SYS_futex, &bell->rings, OTLPFAST_WAIT, heard, &t, NULL, 0);
    }

    static void otlpfast_sleep(otlpfast_bell *bell, uint32_t heard, int64_t until) {
        int64_t left = until - otlpfast_monotonic();
        __atomic_store_n(&bell->asleep, 1, __ATOMIC_SEQ_CST);
        if (left > 0) otlpfast_nap(bell, heard, left);
        __atomic_store_n(&bell->asleep, 0, __ATOMIC_SEQ_CST);
    }

    /* Whether the socket is ready for it by the deadline. */
    static int otlpfast_ready(int fd, short wanted, int64_t deadline) {
        for (;;) {
            struct pollfd on = {fd, wanted, 0};
            int64_t left = deadline - otlpfast_monotonic();
            int found;
            if (left <= 0) return 0;
            found = poll(&on, 1, left / 1000000 < 60000 ? (int)(left / 1000000) + 1 : 60000);
            if (found > 0) return 1;
            if (found < 0 && errno != EINTR) return 0;
        }
    }

    /* Whether what has just failed on the socket can be tried again, and by the deadline. */
    static int otlpfast_again(int fd, short wanted, int64_t deadline) {
        if (errno == EINTR) return 1;
        return (errno == EAGAIN || errno == EWOULDBLOCK) && otlpfast_ready(fd, wanted, deadline);
    }

    /* Whether the other end has closed a kept connection, or sent something that nobody asked for. */
    static int otlpfast_is_stale(int fd) {
        char byte;
        return recv(fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) >= 0 || (errno != EAGAIN && errno != EWOULDBLOCK);
    }

    /* Whether all of it was sent by the deadline. The parts are used up. */
    static int otlpfast_send(int fd, struct iovec *parts, size_t count, int64_t deadline) {
        while (count) {
            struct msghdr message;
            ssize_t sent;
            memset(&message, 0, sizeof message);
            message.msg_iov = parts;
            message.msg_iovlen = count < 512 ? count : 512;
            sent = sendmsg(fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
            if (sent < 0) {
                if (!otlpfast_again(fd, POLLOUT, deadline)) return 0;
                continue;
            }
            while (count && (size_t)sent >= parts->iov_len) {
                sent -= parts->iov_len;
                parts++;
                count--;
            }
            if (count) {
                parts->iov_base = (char *)parts->iov_base + sent;
                parts->iov_len -= sent;
            }
        }
        return 1;
    }

    static int otlpfast_is(const char *text, size_t length, const char *word) {
        return length == strlen(word) && strncasecmp(text, word, length) == 0;
    }

    /* One line of the head, without its end: 0 where it makes the answer an unusual one. */
    static int otlpfast_read_field(const char *line, size_t length, int64_t *body) {
        const char *colon = memchr(line, ':', length), *value, *end = line + length;
        size_t name;
        if (colon == NULL || colon == line || *line == ' ' || *line == '\\t') return 0;
        name = colon - line;
        for (value = colon + 1; value < end && (*value == ' ' || *value == '\\t'); value++) ;
        while (end > value && (end[-1] == ' ' || end[-1] == '\\t')) end--;
        if (otlpfast_is(line, name, "content-length")) {
            if (*body >= 0 || end - value != 1 || *value < '0' || *value > '9') return 0;
            *body = *value - '0';
            return 1;
        }
        if (otlpfast_is(line, name, "connection")) return otlpfast_is(value, end - value, "keep-alive");
        return !otlpfast_is(line, name, "transfer-encoding") && !otlpfast_is(line, name, "content-encoding");
    }

    /* 1: all spans were taken, and the connection stays; 0: an unusual answer, or none; -1: more has to come.

       Usual is HTTP/1.1 200 with an ExportTraceServiceResponse that says nothing: an empty one, or one with
       an empty partial_success, which the official Collector sends. */
    static int otlpfast_judge(const otlpfast_answer *answer) {
        static const char status[] = "HTTP/1.1 200";
        const char *at = answer->text, *end = at + answer->length, *line_end;
        size_t seen = answer->length < sizeof status - 1 ? answer->length : sizeof status - 1;
        int64_t body = -1;
        if (memcmp(at, status, seen) != 0) return 0;
        for (int number = 0; ; number++, at = line_end + 1) {
            line_end = memchr(at, '\\n', end - at);
            if (line_end == NULL) return answer->length < OTLPFAST_ANSWER ? -1 : 0;
            if (line_end == at || line_end[-1] != '\\r') return 0;
            if (line_end - at == 1) break;
            if (number == 0) {
                if ((size_t)(line_end - at) < sizeof status || (at[12] != ' ' && at[12] != '\\r')) return 0;
            } else if (!otlpfast_read_field(at, line_end - 1 - at, &body)) {
                return 0;
            }
        }
        at = line_end + 1;
        if ((body != 0 && body != 2) || end - at > body) return 0;
        if (end - at < body) return answer->length < OTLPFAST_ANSWER ? -1 : 0;
        return body == 0 || memcmp(at, "\\n\\0", 2) == 0;
    }

    /* Whether the usual answer came by the deadline; `answer` has what came. */
    static int otlpfast_receive(int fd, otlpfast_answer *answer, int64_t deadline) {
        for (;;) {
            char *end = answer->text + answer->length;
            ssize_t got = recv(fd, end, OTLPFAST_ANSWER - answer->length, MSG_DONTWAIT);
            int verdict;
            if (got < 0) {
                if (!otlpfast_again(fd, POLLIN, deadline)) return 0;
                continue;
            }
            if (got == 0) return 0;
            answer->length += got;
            verdict = otlpfast_judge(answer);
            if (verdict >= 0) return verdict;
        }
    }

    #else

    static uint32_t otlpfast_hear(const otlpfast_bell *bell) { return bell->rings; }
    static void otlpfast_ring(otlpfast_bell *bell, int loud) {}
    static void otlpfast_nap(otlpfast_bell *bell, uint32_t heard, int64_t nanoseconds) {}
    static void otlpfast_sleep(otlpfast_bell *bell, uint32_t heard, int64_t until) {}
    static int otlpfast_is_stale(int fd) { return 1; }
    static int otlpfast_send(int fd, struct iovec *parts, size_t count, int64_t deadline) { return 0; }
    static int otlpfast_receive(int fd, otlpfast_answer *answer, int64_t deadline) { return 0; }

    #endif
    """
    bint otlpfast_exchanges "OTLPFAST_EXCHANGES"
    cdef struct iovec:
        void *iov_base
        size_t iov_len
    ctypedef struct Bell "otlpfast_bell":
        pass
    ctypedef struct Answer "otlpfast_answer":
        size_t length
        char *text
    uint64_t load "otlpfast_load"(const uint64_t *source) noexcept nogil
    void store "otlpfast_store"(uint64_t *target, uint64_t value) noexcept nogil
    bint swap "otlpfast_swap"(uint64_t *at, uint64_t before, uint64_t after) noexcept nogil
    uint32_t hear "otlpfast_hear"(const Bell *bell) noexcept nogil
    void ring "otlpfast_ring"(Bell *bell, bint loud) noexcept nogil
    void nap "otlpfast_nap"(Bell *bell, uint32_t heard, int64_t nanoseconds) noexcept nogil
    void sleep_until "otlpfast_sleep"(Bell *bell, uint32_t heard, int64_t until) noexcept nogil
    bint is_stale "otlpfast_is_stale"(int fd) noexcept nogil
    bint send_all "otlpfast_send"(int fd, iovec *parts, size_t count, int64_t deadline) noexcept nogil
    bint receive_usual "otlpfast_receive"(int fd, Answer *answer, int64_t deadline) noexcept nogil
