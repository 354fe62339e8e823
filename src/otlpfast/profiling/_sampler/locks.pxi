# Lock and RLock that know how long threads wait for them. When one that is free is taken, nothing is
# measured. _locks.py is their twin.

import _thread
import copyreg

from libc.math cimport ceil
from libc.stdint cimport int64_t

cdef extern from *:
    """
    #if PY_VERSION_HEX >= 0x030D0000
    #  define otlpfast_is_ending() Py_IsFinalizing()
    #else
    #  define otlpfast_is_ending() _Py_IsFinalizing()
    #endif
    """
    bint otlpfast_is_ending() noexcept

cdef extern from "pythread.h":
    ctypedef void *RawLock "PyThread_type_lock"
    ctypedef enum LockStatus "PyLockStatus":
        TIMED_OUT "PY_LOCK_FAILURE"
        ACQUIRED "PY_LOCK_ACQUIRED"
        INTERRUPTED "PY_LOCK_INTR"
    RawLock PyThread_allocate_lock() noexcept
    void PyThread_free_lock(RawLock) noexcept
    bint PyThread_acquire_lock(RawLock, int) noexcept nogil
    LockStatus PyThread_acquire_lock_timed(RawLock, long long, int) noexcept nogil
    void PyThread_release_lock(RawLock) noexcept
    unsigned long PyThread_get_thread_ident() noexcept

cdef extern from "unistd.h":
    int getpid() noexcept nogil

cdef extern from "Python.h":
    int PyErr_CheckSignals() except -1

cdef extern from *:
    """
    #include <time.h>
    static inline int64_t otlpfast_lock_clock(void) {
        struct timespec now;
        clock_gettime(CLOCK_MONOTONIC, &now);
        return now.tv_sec * INT64_C(1000000000) + now.tv_nsec;
    }
    """
    int64_t _lock_clock "otlpfast_lock_clock"() noexcept nogil

cdef:
    object _plain_lock = _thread.allocate_lock
    object _plain_rlock = _thread.RLock
    object _plain_lock_type = type(_thread.allocate_lock())
    object _forever = -1
    object _wait_told = None  # is called after a wait; None while nobody asks
    uint64_t _wait_one_in = 1  # waits, he is told of one
    uint64_t _wait_dice = 88172645463325252ULL


def watch_locks(told, uint64_t one_in=1) -> None:
    """From now on, ``told(nanoseconds, code, line)`` is called in threads that waited for a Lock or RLock.

    Args:
        told: it may raise, and the lock is then given back; None ends it. The code and its line are the place
            that released the lock after it was held the longest while the thread waited, or None and 0.
        one_in: it is called after one wait of so many, chosen at random.
    """
    global _wait_told, _wait_one_in
    _wait_one_in, _wait_told = max(one_in, 1), told


cdef bint _is_told() noexcept:
    global _wait_dice
    _wait_dice ^= _wait_dice << 13
    _wait_dice ^= _wait_dice >> 7
    _wait_dice ^= _wait_dice << 17
    return _wait_one_in <= 1 or _wait_dice % _wait_one_in == 0


cdef int64_t _patience(blocking, timeout) except -2:
    # In microseconds, 0 is none, -1 without end. A plain lock raises what is to be raised.
    _plain_lock().acquire(blocking, timeout)
    if not blocking:
        return 0
    return -1 if timeout == -1 else <int64_t> ceil(timeout * 1e6)


cdef bint _wait_for_lock(RawLock lock, int64_t patience) except -1:
    # Whether it was acquired in time. Signals are handled meanwhile; what a handler raises ends the wait.
    cdef int64_t deadline = _lock_clock() + patience * 1000
    cdef LockStatus status
    while True:
        with nogil:
            status = PyThread_acquire_lock_timed(lock, patience, 1)
        if status != INTERRUPTED:
            return status == ACQUIRED
        PyErr_CheckSignals()
        if patience > 0:
            patience = (deadline - _lock_clock()) // 1000
            if patience <= 0:
                return False


cdef struct Waiter:
    # A thread that waits; on its own C stack.
    Waiter *next
    int64_t began
    int64_t longest  # nanoseconds that it was held meanwhile, from one release to the next
    PyCodeObject *holder  # from where it was released then; _holders keeps it
    int32_t instruction


cdef dict _holders = {}  # codes by their addresses: equal ones may be of different files


cdef class _Watched:
    # What both have.
    cdef:
        RawLock lock
        Waiter *line  # all that wait
        int process  # whose threads these are: a child has but one
        int64_t released  # last, while a thread waited
        object __weakref__

    def __cinit__(self, *_, **__):
        self.lock = PyThread_allocate_lock()
        if self.lock == NULL:
            raise RuntimeError("can't allocate lock")

    cdef bint held(self) noexcept:
        return False

    cdef void own(self) noexcept:
        pass

    cdef void disown(self) noexcept:
        pass

    cdef bint take(self, int64_t patience) except -1:
        # Whether the calling thread has the lock now, which was not its own before.
        cdef Waiter me
        cdef bint acquired
        if PyThread_acquire_lock(self.lock, 0):
            self.own()
            return True
        if patience == 0:
            return False
        told = _wait_told
        if told is None:
            acquired = _wait_for_lock(self.lock, patience)
            if acquired:
                self.own()
            return acquired
        self._stand_in_line(&me)
        try:
            acquired = _wait_for_lock(self.lock, patience)
        finally:
            self._leave_the_line(&me)
        if acquired:
            self.own()
        if _is_told():
            self._tell(told, _lock_clock() - me.began, acquired, me.holder, me.instruction)
        return acquired

    cdef void _stand_in_line(self, Waiter *me) noexcept:
        if self.process != getpid() or otlpfast_is_ending():  # those threads are no more
            self.line, self.process = NULL, getpid()
        me.began, me.longest, me.holder, me.instruction = _lock_clock(), -1, NULL, 0
        me.next, self.line = self.line, me

    cdef void _leave_the_line(self, Waiter *me) noexcept:
        cdef Waiter **at = &self.line
        while at[0] != NULL and at[0] != me:
            at = &at[0].next
        if at[0] == me:
            at[0] = me.next

    cdef int _tell(
        self, told, int64_t waited, bint acquired, PyCodeObject *holder, int32_t instruction
    ) except -1:
        cdef int line = 0
        code = None
        if holder != NULL:
            code = <object> holder
            line = PyCode_Addr2Line(holder, instruction)
        try:
            told(waited, code, line)
        except BaseException:
            # As if it had come while the thread waited: nobody will release what was not acquired.
            if acquired and self.held():
                self.give()
            raise
        return 0

    cdef void give(self) noexcept:
        # The calling thread has it, once.
        cdef Place place
        if self.line != NULL and not otlpfast_is_ending() and self.process == getpid():
            if otlpfast_walk(PyThreadState_Get(), &place, 1) and _kept(place.code):
                self._say_who_held_it(&place)
        self.disown()
        PyThread_release_lock(self.lock)

    cdef void _say_who_held_it(self, const Place *place) noexcept:
        cdef int64_t now = _lock_clock(), held
        cdef Waiter *waiter = self.line
        while waiter != NULL:
            held = now - max(waiter.began, self.released)
            if held > waiter.longest:
                waiter.longest, waiter.holder, waiter.instruction = held, place.code, place.instruction
            waiter = waiter.next
        self.released = now

    def __dealloc__(self):
        if self.lock != NULL:
            # Some systems can't free one that is taken.
            PyThread_acquire_lock(self.lock, 0)
            PyThread_release_lock(self.lock)
            PyThread_free_lock(self.lock)

    cdef int renew(self) except -1:
        # The old one is left: threads that are no more may still wait for it.
        cdef RawLock lock = PyThread_allocate_lock()
        if lock == NULL:
            raise RuntimeError("failed to reinitialize lock at fork")
        self.lock = lock
        self.line = NULL
        self.disown()
        return 0


cdef bint _kept(PyCodeObject *code) noexcept:
    # Whether its address can be kept.
    try:
        _holders[<uintptr_t> code] = <object> code
    except MemoryError:
        return False
    return True


cdef object _reduced_lock(lock, plain_type):
    # As a plain one: by what someone registered for it, or not at all.
    reducer = copyreg.dispatch_table.get(plain_type)
    if reducer is None:
        raise TypeError(f"cannot pickle '{plain_type.__module__}.{plain_type.__qualname__}' object")
    return reducer(lock)


cdef class Lock(_Watched):
    """``_thread.lock`` that tells of waits."""

    cdef bint taken

    def __cinit__(self, *args, **kwargs):
        if args or kwargs:
            _plain_lock(*args, **kwargs)  # which says what it has against them

    cdef bint held(self) noexcept:
        return self.taken

    cdef void own(self) noexcept:
        self.taken = True

    cdef void disown(self) noexcept:
        self.taken = False

    @property
    def __class__(self):
        return _plain_lock_type

    def acquire(self, blocking=True, timeout=-1) -> bool:
        if blocking is True and timeout is _forever:
            return self.take(-1)
        return self.take(_patience(blocking, timeout))

    def release(self) -> None:
        if not self.taken:
            raise RuntimeError("release unlocked lock")
        self.give()

    def __enter__(self) -> bool:
        return self.take(-1)

    def __exit__(self, kind=None, error=None, traceback=None) -> None:
        if not self.taken:
            raise RuntimeError("release unlocked lock")
        self.give()

    def locked(self) -> bool:
        return self.taken

    acquire_lock, release_lock, locked_lock = acquire, release, locked

    def _at_fork_reinit(self) -> None:
        self.renew()

    def __reduce_ex__(self, protocol):
        return _reduced_lock(self, _plain_lock_type)

    def __reduce__(self):
        return _reduced_lock(self, _plain_lock_type)

    def __repr__(self) -> str:
        return f"<{'locked' if self.taken else 'unlocked'} _thread.lock object at {id(self):#x}>"


cdef class RLock(_Watched):
    """``_thread.RLock`` that tells of waits."""

    cdef:
        unsigned long owner
        unsigned long count

    def __cinit__(self, *args, **kwargs):
        if args or kwargs:
            _plain_rlock(*args, **kwargs)  # which says what it has against them

    cdef bint held(self) noexcept:
        return self.count > 0 and self.owner == PyThread_get_thread_ident()

    cdef void own(self) noexcept:
        self.owner, self.count = PyThread_get_thread_ident(), 1

    cdef void disown(self) noexcept:
        self.owner = self.count = 0

    cdef bint enter(self, int64_t patience) except -1:
        if not self.held():
            return self.take(patience)
        if self.count + 1 == 0:
            raise OverflowError("Internal lock count overflowed")
        self.count += 1
        return True

    cdef int leave(self) except -1:
        if not self.held():
            raise RuntimeError("cannot release un-acquired lock")
        if self.count > 1:
            self.count -= 1
        else:
            self.give()
        return 0

    @property
    def __class__(self):
        return _plain_rlock

    def acquire(self, blocking=True, timeout=-1) -> bool:
        if blocking is True and timeout is _forever:
            return self.enter(-1)
        return self.enter(_patience(blocking, timeout))

    def release(self) -> None:
        self.leave()

    def __enter__(self) -> bool:
        return self.enter(-1)

    def __exit__(self, kind=None, error=None, traceback=None) -> None:
        self.leave()

    def locked(self) -> bool:
        return self.count > 0

    def _is_owned(self) -> bool:
        return self.held()

    def _recursion_count(self) -> int:
        return self.count if self.held() else 0

    def _release_save(self) -> tuple:
        if not self.count:
            raise RuntimeError("cannot release un-acquired lock")
        state = self.count, self.owner
        self.give()
        return state

    def _acquire_restore(self, state) -> None:
        # Nothing may keep it from being acquired: who waits for a condition has it afterwards, whatever
        # happens. How long that took is a part of his wait.
        cdef unsigned long count, owner
        count, owner = state
        if not PyThread_acquire_lock(self.lock, 0):
            with nogil:
                PyThread_acquire_lock(self.lock, 1)
        self.count, self.owner = count, owner

    def _at_fork_reinit(self) -> None:
        self.renew()

    def __reduce_ex__(self, protocol):
        return _reduced_lock(self, _plain_rlock)

    def __reduce__(self):
        return _reduced_lock(self, _plain_rlock)

    def __repr__(self) -> str:
        state = "locked" if self.count else "unlocked"
        place = f"owner={self.owner} count={self.count} at {id(self):#x}"
        return f"<{state} _thread.RLock object {place}>"
