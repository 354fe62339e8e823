/* Code objects whose addresses were read without the GIL: which of them may be touched. */
#ifndef OTLPFAST_CODES_H
#define OTLPFAST_CODES_H

#include <Python.h>
#include <stdint.h>

enum { OTLPFAST_CODES = 1 << 16 };

/* Code objects that somebody keeps alive. Filled with the GIL held; a signal handler may look in at any time. */
typedef struct {
    PyCodeObject *slots[OTLPFAST_CODES]; /* open addressing; NULL is free */
    uint32_t used;
} otlpfast_codes;

/* Async-signal-safe. */
int otlpfast_codes_have(const otlpfast_codes *codes, const PyCodeObject *code);

/* Keeps a code object from now on; one for which there is no room is not kept. */
void otlpfast_codes_keep(otlpfast_codes *codes, PyCodeObject *code);

/* Nobody looks in any more. */
void otlpfast_codes_drop(otlpfast_codes *codes);

/* Whether there is a code object that is alive: for an address that one had. The caller holds the GIL, so that it
 * stays so. Freed memory does not pass, nor does what else has been put there: its first word, its class and the
 * classes of what it refers to are looked at, and all reads are guarded. */
int otlpfast_is_alive(const PyCodeObject *code);

/* From now on `ending` is called whenever a code object is about to be freed, with the GIL held. What it takes a
 * reference to lives on. It must not run Python code. -1 and an exception where that can't be had. */
int otlpfast_watch_codes(void (*ending)(void));
void otlpfast_unwatch_codes(void);

#endif
