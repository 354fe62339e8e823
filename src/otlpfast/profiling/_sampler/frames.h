/* How CPython lays out the frames of a thread. frames.c alone knows it, for each version it is compiled with. */
#ifndef OTLPFAST_FRAMES_H
#define OTLPFAST_FRAMES_H

#include <Python.h>
#include <stdint.h>
#include "codes.h"

/* Where a frame is: a code object and the byte offset of the instruction in it, as PyCode_Addr2Line takes it. */
typedef struct {
    PyCodeObject *code; /* borrowed */
    int32_t instruction;
} otlpfast_frame;

/* The frames of a thread, the innermost first, and how many there are: at most `most`, the outermost are left
 * out. The caller holds the GIL. Makes no Python object, allocates nothing, and so may run inside an allocator. */
int otlpfast_walk(PyThreadState *thread, otlpfast_frame *frames, int most);

enum { OTLPFAST_WINDOW = 16 * 1024 }; /* CPython's usual chunk of a data stack */

/* Frames of 3.11 and newer lie one beside the other: they are copied many at a time. */
typedef struct {
    uintptr_t from; /* where in memory the copy was made */
    size_t size;
    uintptr_t previous; /* the chunk before */
    _Alignas(16) unsigned char copy[OTLPFAST_WINDOW];
} otlpfast_window;

/* The same for the calling thread itself, in a signal handler, whatever it was doing, with or without the GIL: -1
 * where the frames can't be read or make no sense. 0 also where the thread runs another interpreter. All reads
 * are guarded but those of `known` code. The code of a frame was alive unless the frame was half made: ask
 * otlpfast_is_alive before it is touched. Async-signal-safe, but for errno, which the caller keeps. */
int otlpfast_walk_unsure(
    PyThreadState *thread, PyInterpreterState *interpreter, const otlpfast_codes *known, otlpfast_window *window,
    otlpfast_frame *frames, int most
);

#endif
