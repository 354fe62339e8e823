# A thread that nothing patches: neither gevent nor whoever wraps threading sees it.

from libc.stdint cimport int64_t

cdef extern from "pythread.h":
    ctypedef void *PyThread_type_lock
    ctypedef enum PyLockStatus:
        PY_LOCK_FAILURE
    unsigned long PyThread_start_new_thread(void (*function)(void *) noexcept, void *argument)
    PyThread_type_lock PyThread_allocate_lock()
    void PyThread_free_lock(PyThread_type_lock lock)
    PyLockStatus PyThread_acquire_lock_timed(PyThread_type_lock lock, int64_t microseconds, bint intr) nogil
    void PyThread_release_lock(PyThread_type_lock lock)

cdef unsigned long NO_THREAD = <unsigned long> -1


@cython.final
cdef class Pulse:
    """Calls a function again and again, on a thread of its own, from ``start()`` until ``stop()``.

    Args:
        call: what it raises is reported as unraisable.
        seconds: between two calls.
    """

    cdef:
        object call
        int64_t microseconds
        PyThread_type_lock wake, running  # locked until it shall end, and until it has ended
        bint is_started

    def __cinit__(self, call, double seconds):
        if not 0.001 <= seconds <= 1e6:
            raise ValueError(f"seconds={seconds}: from 0.001 to 1000000")
        self.call = call
        self.microseconds = <int64_t> (seconds * 1e6)
        self.wake = PyThread_allocate_lock()
        self.running = PyThread_allocate_lock()
        if self.wake == NULL or self.running == NULL:
            raise MemoryError

    def __dealloc__(self):
        # The thread has a reference: it is not running.
        if self.wake != NULL:
            PyThread_free_lock(self.wake)
        if self.running != NULL:
            PyThread_free_lock(self.running)

    def start(self) -> None:
        """Once. RuntimeError where there can be no more threads."""
        if self.is_started:
            raise RuntimeError("a Pulse is started once")
        with nogil:
            PyThread_acquire_lock_timed(self.wake, -1, False)
            PyThread_acquire_lock_timed(self.running, -1, False)
        Py_INCREF(self)
        if PyThread_start_new_thread(_beat, <void *> self) == NO_THREAD:
            Py_DECREF(self)
            raise RuntimeError("can't start a new thread")
        self.is_started = True

    def stop(self) -> None:
        """Returns when the last call has ended. Once; not from the function."""
        if not self.is_started:
            return
        self.is_started = False
        PyThread_release_lock(self.wake)
        with nogil:
            PyThread_acquire_lock_timed(self.running, -1, False)
        PyThread_release_lock(self.running)

    cdef bint _is_over(self) noexcept nogil:
        return PyThread_acquire_lock_timed(self.wake, self.microseconds, False) != PY_LOCK_FAILURE

    cdef void _call(self) noexcept:
        self.call()


cdef void _beat(void *argument) noexcept with gil:
    cdef Pulse pulse = <Pulse> argument
    cdef bint is_over = False
    while not is_over:
        with nogil:
            is_over = pulse._is_over()
        if not is_over:
            pulse._call()
    PyThread_release_lock(pulse.running)
    Py_DECREF(pulse)
