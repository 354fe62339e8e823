#define Py_BUILD_CORE 1
#include "threads.h"

#include "internal/pycore_interp.h"
#include "internal/pycore_pystate.h"
#include "internal/pycore_runtime.h"
#if PY_VERSION_HEX >= 0x030E0000
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

PyThreadState *otlpfast_first_thread(void) {
#if PY_VERSION_HEX >= 0x030B0000
    return PyInterpreterState_Main()->threads.head;
#else
    return PyInterpreterState_Main()->tstate_head;
#endif
}

PyThreadState *otlpfast_next_thread(PyThreadState *thread) { return thread->next; }

#if PY_VERSION_HEX < 0x030E0000
/* How _asyncio keeps the running loop of a thread. */
typedef struct {
    PyObject_HEAD
    PyObject *loop;
    pid_t pid;
} loop_holder;

static PyObject *running_loop(PyThreadState *state, PyObject *key) {
    if (state->dict == NULL) return NULL;
    PyObject *found = PyDict_GetItemWithError(state->dict, key);
    if (found == NULL || Py_TYPE(found)->tp_basicsize != sizeof(loop_holder)) return NULL;
    if (strstr(Py_TYPE(found)->tp_name, "RunningLoopHolder") == NULL) return NULL;
    PyObject *loop = ((loop_holder *)found)->loop;
    return loop == Py_None ? NULL : loop;
}

/* No look-up: a loop's own __hash__ or __eq__ could be Python code. There are few loops. */
static PyObject *current_task(PyObject *loop, PyObject *tasks) {
    PyObject *key, *task;
    Py_ssize_t position = 0;
    while (PyDict_Next(tasks, &position, &key, &task))
        if (key == loop) return task;
    return NULL;
}
#endif

void otlpfast_describe(PyThreadState *state, PyObject *loop_key, PyObject *current_tasks, otlpfast_thread *thread) {
    thread->key = state->id;
    thread->ident = state->thread_id;
    thread->context = state->context;
#if PY_VERSION_HEX >= 0x030E0000
    (void)loop_key, (void)current_tasks;
    thread->loop = ((_PyThreadStateImpl *)state)->asyncio_running_loop;
    thread->task = ((_PyThreadStateImpl *)state)->asyncio_running_task;
    if (thread->loop == Py_None) thread->loop = NULL;
    if (thread->task == Py_None) thread->task = NULL;
#else
    thread->loop = running_loop(state, loop_key);
    thread->task = thread->loop && current_tasks ? current_task(thread->loop, current_tasks) : NULL;
#endif
}
