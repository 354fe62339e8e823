/* The threads that Python knows, and what their states say. threads.c alone knows the layout, for each version. */
#ifndef OTLPFAST_THREADS_H
#define OTLPFAST_THREADS_H

#include <Python.h>
#include <stdint.h>

/* All is borrowed and may be NULL. */
typedef struct {
    uint64_t key;   /* no other thread of this process has had it, or will have it */
    uint64_t ident; /* threading.get_ident() */
    PyObject *context;
    PyObject *loop; /* asyncio's, that runs there */
    PyObject *task; /* that it runs */
} otlpfast_thread;

/* The list of the main interpreter's threads stays as it is until otlpfast_end_threads(); 0 if another thread is
 * about to change it. In between, the caller, who holds the GIL, makes no Python object and runs no Python code:
 * one that is let in by that may want the list and wait for ever. */
int otlpfast_begin_threads(void);
void otlpfast_end_threads(void);

/* threading.get_ident() of the main thread, whatever threading has been patched to say. */
uint64_t otlpfast_main_ident(void);

PyThreadState *otlpfast_first_thread(void);
PyThreadState *otlpfast_next_thread(PyThreadState *thread);

/* loop_key: the interned "__asyncio_running_event_loop__". current_tasks: asyncio's dict, or NULL. Newer CPythons
 * keep both in the thread's state. */
void otlpfast_describe(PyThreadState *state, PyObject *loop_key, PyObject *current_tasks, otlpfast_thread *thread);

/* PyThreadState grew within 3.13 and within 3.14 (gh-142183): where it ends, the Python that runs says.
 * For what is compiled with the interpreter's own headers, from 3.13 on. */
#define OTLPFAST_IMPL(state) \
    ((_PyThreadStateImpl *)((char *)(state) + _PyRuntime.debug_offsets.thread_state.size - sizeof(PyThreadState)))

#endif
