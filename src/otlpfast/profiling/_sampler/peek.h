/* Reading memory of this process that may be gone, or half changed: where it can't be read, the answer is no. */
#ifndef OTLPFAST_PEEK_H
#define OTLPFAST_PEEK_H

#include <stddef.h>

#ifdef __linux__
#  include <sys/uio.h>
#  include <unistd.h>

/* Whether all `size` bytes were copied. Async-signal-safe, but for errno, which the caller keeps. */
static inline int otlpfast_peek(void *to, const void *from, size_t size) {
    struct iovec here = {to, size}, there = {(void *)from, size};
    return process_vm_readv(getpid(), &here, 1, &there, 1, 0) == (ssize_t)size;
}
#else
static inline int otlpfast_peek(void *to, const void *from, size_t size) {
    (void)to, (void)from, (void)size;
    return 0;
}
#endif

/* Whether peeking works here: a sandbox may forbid the system call. */
static inline int otlpfast_can_peek(void) {
    int word = 1, copy = 0;
    return otlpfast_peek(&copy, &word, sizeof word) && copy == word;
}

#endif
