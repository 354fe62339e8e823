/* How CPython lays out the frames of a thread. frames.c alone knows it, for each version it is compiled with. */
#ifndef OTLPFAST_FRAMES_H
#define OTLPFAST_FRAMES_H

#include <Python.h>
#include <stdint.h>

/* Where a frame is: a code object and the byte offset of the instruction in it, as PyCode_Addr2Line takes it. */
typedef struct {
    PyCodeObject *code; /* borrowed */
    int32_t instruction;
} otlpfast_frame;

/* The frames of a thread, the innermost first, and how many there are: at most `most`, the outermost are left
 * out. The caller holds the GIL. Makes no Python object, allocates nothing, and so may run inside an allocator. */
int otlpfast_walk(PyThreadState *thread, otlpfast_frame *frames, int most);

#endif
