# One look at all threads.

cdef extern from "_sampler/threads.h":
    ctypedef struct Described "otlpfast_thread":
        uint64_t key, ident
        PyObject *context
        PyObject *loop
        PyObject *task
    bint begin_threads "otlpfast_begin_threads"() noexcept
    void end_threads "otlpfast_end_threads"() noexcept
    uint64_t otlpfast_main_ident() noexcept
    PyThreadState *first_thread "otlpfast_first_thread"() noexcept
    PyThreadState *next_thread "otlpfast_next_thread"(PyThreadState *thread) noexcept
    void describe "otlpfast_describe"(
        PyThreadState *state, PyObject *loop_key, PyObject *current_tasks, Described *thread
    ) noexcept

cdef extern from "Python.h":
    void Py_XINCREF(PyObject *)
    void Py_XDECREF(PyObject *)

cdef struct Seen:
    Described thread  # with a reference to each object
    uint32_t stack, depth

cdef object _loop_key = sys.intern("__asyncio_running_event_loop__")


cdef object _current_tasks():
    # Asyncio's dict of running tasks by loop; None where no loop can run.
    module = sys.modules.get("asyncio.tasks")
    tasks = getattr(module, "_current_tasks", None)
    return tasks if type(tasks) is dict else None


@cython.final
cdef class _Look:
    # What the threads were doing when take() was called, until it is called again.

    cdef Seen *seen
    cdef uint32_t count, room

    def __dealloc__(self):
        self.clear()
        free(self.seen)

    cdef void clear(self) noexcept:
        cdef Seen seen
        while self.count:  # Python code may run: the look is whole at each step
            self.count -= 1
            seen = self.seen[self.count]
            Py_XDECREF(seen.thread.context)
            Py_XDECREF(seen.thread.loop)
            Py_XDECREF(seen.thread.task)

    cdef bint take(self, StackTable stacks, PyThreadState *but_for) except -1:
        # False, and nothing, while the list of threads is about to change.
        cdef PyThreadState *thread
        tasks = _current_tasks()
        self.clear()
        if not begin_threads():
            return False
        thread = first_thread()
        while thread != NULL and self.has_room():
            if thread != but_for:
                self.note(thread, stacks, NULL if tasks is None else <PyObject *> tasks)
            thread = next_thread(thread)
        end_threads()
        return True

    cdef inline void note(self, PyThreadState *thread, StackTable stacks, PyObject *tasks) noexcept:
        cdef Place places[MOST_FRAMES]
        cdef Seen *seen = &self.seen[self.count]
        seen.depth = otlpfast_walk(thread, places, MOST_FRAMES)
        seen.stack = stacks.intern(places, seen.depth) if seen.depth else 0
        describe(thread, <PyObject *> _loop_key, tasks, &seen.thread)
        Py_XINCREF(seen.thread.context)
        Py_XINCREF(seen.thread.loop)
        Py_XINCREF(seen.thread.task)
        self.count += 1

    cdef bint has_room(self) noexcept:
        cdef uint32_t room
        cdef void *grown
        if self.count == self.room:
            room = 2 * self.room or 64
            grown = realloc(self.seen, room * sizeof(Seen))
            if grown == NULL:
                return False
            self.seen, self.room = <Seen *> grown, room
        return True


def main_ident() -> int:
    """The main thread's ident, also where threading has been patched and says another."""
    return otlpfast_main_ident()


def look(StackTable stacks) -> list | None:
    """Of each thread that runs Python code its ident, the number of its stack, its running loop and task.

    None while the list of threads is about to change: a later call sees it.
    """
    cdef _Look taken = _Look.__new__(_Look)
    cdef Seen *seen
    cdef uint32_t i
    if not taken.take(stacks, NULL):
        return None
    found = []
    for i in range(taken.count):
        seen = &taken.seen[i]
        if seen.depth:
            found.append((
                seen.thread.ident,
                seen.stack,
                None if seen.thread.loop == NULL else <object> seen.thread.loop,
                None if seen.thread.task == NULL else <object> seen.thread.task,
            ))
    return found
