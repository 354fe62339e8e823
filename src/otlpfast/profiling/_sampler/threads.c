#define Py_BUILD_CORE 1
#include "threads.h"

#include "internal/pycore_interp.h"
#include "internal/pycore_pystate.h"
#include "internal/pycore_runtime.h"
#if PY_VERSION_HEX >= 0x030D0000
#  include "internal/pycore_tstate.h"
#endif
#include <string.h>

/* Only tried: who holds it may wait for the GIL, as sys._current_frames() does where it collects garbage. */
int otlpfast_begin_threads(void) {
#if PY_VERSION_HEX >= 0x030D0000
    uint8_t unlocked = 0;
    return _Py_atomic_compare_exchange_uint8(&_PyRuntime.interpreters.mutex._bits, &unlocked, 1);
#else
    return PyThread_acquire_lock(_PyRuntime.interpreters.mutex, NOWAIT_LOCK);
#endif
}

void otlpfast_end_threads(void) {
#if PY_VERSION_HEX >= 0x030D0000
    PyMutex_Unlock(&_PyRuntime.interpreters.mutex);
#else
    PyThread_release_lock(_PyRuntime.interpreters.mutex);
#endif
}

uint64_t otlpfast_main_ident(void) { return _PyRuntime.main_thread; }

PyThreadState *otlpfast_first_thread(void) {
#if PY_VERSION_HEX >= 0x030B0000
    return PyInterpreterState_Main()->threads.head;
#else
    return PyInterpreterState_Main()->tstate_head;
#endif
}

PyThreadState *otlpfast_next_thread(PyThreadState *thread) { return thread->next; }

/* How _asyncio keeps the running loop of a thread. */
#if PY_VERSION_HEX >= 0x030D0000
static PyObject *running_loop(PyThreadState *state, PyObject *key) {
    (void)key;
    PyObject *loop = OTLPFAST_IMPL(state)->asyncio_running_loop;
    return loop == Py_None ? NULL : loop;
}
#else
typedef struct {
    PyObject_HEAD
    PyObject *loop;
    pid_t pid;
} loop_holder;

static PyObject *running_loop(PyThreadState *state, PyObject *key) {
    PyObject *loop = state->dict ? PyDict_GetItemWithError(state->dict, key) : NULL;
    if (loop != NULL && strcmp(Py_TYPE(loop)->tp_name, "_RunningLoopHolder") == 0) /* CPython 3.11 and older */
        loop = ((loop_holder *)loop)->loop;
    return loop == Py_None ? NULL : loop;
}
#endif

#if PY_VERSION_HEX >= 0x030E0000
static PyObject *running_task(PyThreadState *state, PyObject *loop, PyObject *tasks) {
    (void)loop, (void)tasks;
    PyObject *task = OTLPFAST_IMPL(state)->asyncio_running_task;
    return task == Py_None ? NULL : task;
}
#else
/* No look-up: a loop's own __hash__ or __eq__ could be Python code. There are few loops. */
static PyObject *running_task(PyThreadState *state, PyObject *loop, PyObject *tasks) {
    (void)state;
    PyObject *key, *task;
    Py_ssize_t position = 0;
    while (tasks != NULL && PyDict_Next(tasks, &position, &key, &task))
        if (key == loop) return task;
    return NULL;
}
#endif

void otlpfast_describe(PyThreadState *state, PyObject *loop_key, PyObject *current_tasks, otlpfast_thread *thread) {
    thread->key = state->id;
    thread->ident = state->thread_id;
    thread->context = state->context;
    thread->loop = running_loop(state, loop_key);
    thread->task = thread->loop ? running_task(state, thread->loop, current_tasks) : NULL;
}
