# The CPU profile: what the handler of cpu.c left in its rings becomes counted stacks.

cdef extern from "_sampler/codes.h":
    ctypedef struct Codes "otlpfast_codes":
        pass
    bint otlpfast_codes_have(const Codes *codes, const PyCodeObject *code) noexcept
    void otlpfast_codes_keep(Codes *codes, PyCodeObject *code) noexcept
    void otlpfast_codes_drop(Codes *codes) noexcept
    bint otlpfast_is_alive(const PyCodeObject *code) noexcept
    int otlpfast_watch_codes(void (*ending)() noexcept) except -1
    void otlpfast_unwatch_codes() noexcept

cdef extern from "_sampler/cpu.h":
    enum:
        OTLPFAST_THREADS
        OTLPFAST_NATIVE
        OTLPFAST_UNREADABLE
        OTLPFAST_BARE
        OTLPFAST_OTHERS
    ctypedef struct CpuSample "otlpfast_sample":
        int32_t depth
        uint32_t labels
        const Place *frames
    ctypedef struct Watched "otlpfast_watched":
        uint32_t serial, name, labels
        uint64_t state
        unsigned long ident
        int32_t tid
        uint64_t lost
        void *ring
    Watched otlpfast_threads[]
    uint32_t otlpfast_in_use
    Codes otlpfast_known
    int otlpfast_cpu_probe() noexcept
    int otlpfast_cpu_start(uint64_t period, bint with_labels) noexcept
    const Labels *otlpfast_labels_of(const CpuSample *sample) noexcept
    bint otlpfast_cpu_stop() noexcept nogil
    void otlpfast_cpu_forget() noexcept
    Watched *otlpfast_cpu_find(const PyThreadState *thread) noexcept
    Watched *otlpfast_cpu_find_other(const PyThreadState *thread) noexcept
    bint otlpfast_cpu_has_moved(const Watched *watched, const PyThreadState *thread) noexcept
    Watched *otlpfast_cpu_watch(PyThreadState *thread) noexcept
    void otlpfast_cpu_turn() noexcept
    void otlpfast_cpu_pause(PyThreadState *thread, bint paused) noexcept
    bint otlpfast_cpu_is_over(const Watched *watched) noexcept
    uint32_t otlpfast_cpu_unwatch(Watched *watched) noexcept
    const CpuSample *otlpfast_cpu_last(const Watched *watched) noexcept
    void otlpfast_cpu_free(Watched *watched) noexcept
    void otlpfast_cpu_tick(Watched *watched) noexcept
    const CpuSample *otlpfast_cpu_next(Watched *watched, uint32_t *ticks) noexcept
    bint otlpfast_cpu_has_next(const Watched *watched) noexcept
    uint64_t otlpfast_cpu_written() noexcept

# Numbers of what is no stack; those of stacks are lower.
cdef enum:
    STACK_NATIVE = 0xFFFFFFFF
    STACK_UNREADABLE = 0xFFFFFFFE
    STACK_LOST = 0xFFFFFFFD
    STACK_UNSEEN = 0xFFFFFFFC

cdef dict _NO_FRAMES = {
    0: "<no room>",
    <uint32_t> STACK_NATIVE: "<native>",
    <uint32_t> STACK_UNREADABLE: "<unreadable>",
    <uint32_t> STACK_LOST: "<lost>",
    <uint32_t> STACK_UNSEEN: "<unseen>",
}

cdef struct Counted:
    uint64_t ticks  # 0: free
    uint32_t stack, name, labels


cdef CpuSampler _sampling = None  # the one that runs


cdef void _code_ends() noexcept:
    # What has its address in a ring is taken out, and kept, before it is gone.
    if _sampling is not None:
        _sampling.drain()


@cython.final
cdef class CpuSampler:
    """Counts the stacks on which threads use CPU time. One at a time in a process.

    Args:
        period: of CPU time of a thread between two samples, in nanoseconds.
        names: ThreadNames.
        labels: whether it is counted apart what threads work on, as far as ``_landmarks.learn()`` has said.
    """

    cdef:
        StackTable stacks  # keeps the code of its frames alive
        LabelTable labels
        bint reads_labels
        readonly bint is_ending
        Counted *counts  # open addressing
        uint32_t counts_used, counts_mask
        uint64_t period, drained
        object names
        readonly uint64_t lost  # ticks that nothing had room for
        readonly uint64_t refused  # looks at threads that could not be watched

    def __cinit__(self, uint64_t period, names, bint labels=True):
        if not 1 <= period <= 10 ** 12:
            raise ValueError(f"period={period}: from 1 ns to 1000 s")
        self.stacks = StackTable()
        self.labels = LabelTable()
        self.reads_labels = labels
        self.period = period
        self.names = names
        self.counts_mask = 255
        self.counts = <Counted *> calloc(self.counts_mask + 1, sizeof(Counted))
        if self.counts == NULL:
            raise MemoryError

    def __dealloc__(self):
        free(self.counts)

    def start(self) -> None:
        """Begins with the threads there are. OSError where that can't be, RuntimeError where one runs."""
        global _sampling
        cdef int error
        if _sampling is not None:
            raise RuntimeError("a CpuSampler is running")
        self.is_ending = False
        try:
            otlpfast_watch_codes(_code_ends)
        except RuntimeError as problem:
            raise OSError(EBUSY, str(problem)) from None
        error = otlpfast_cpu_start(self.period, self.reads_labels)
        if error:
            otlpfast_unwatch_codes()
            raise OSError(error, strerror(error).decode())
        self.drained = otlpfast_cpu_written()
        _sampling = self
        try:
            while not self.look(False):
                time.sleep(0.001)  # a thread is about to start or to end
            if self.refused and otlpfast_cpu_find(PyThreadState_Get()) == NULL:
                raise OSError(EAGAIN, "no timers of the threads' CPU clocks can be had")
        except BaseException:
            self.stop()
            raise

    def look(self, but_this: bool = True) -> bool:
        """Takes what was sampled; finds threads that have begun, and those that have ended.

        Args:
            but_this: the calling thread is not watched.

        Returns:
            False if the list of threads was locked: then it has to be tried again.
        """
        cdef PyThreadState *own = PyThreadState_Get() if but_this else NULL
        if _sampling is not self:
            return True
        self._name()
        if _sampling is not self:  # stopped meanwhile: names are Python's
            return True
        self.drain()
        if not begin_threads():
            return False
        self._watch_all(own)
        end_threads()
        self._end_those_that_are_over()
        self._name()
        return True

    cdef void _watch_all(self, const PyThreadState *but_for) noexcept:
        # Makes no Python object: the list of threads is locked.
        cdef PyThreadState *thread = first_thread()
        otlpfast_cpu_turn()
        while thread != NULL:
            if thread != but_for:
                self._watch(thread)
            thread = next_thread(thread)

    cdef Watched *_watch(self, PyThreadState *thread) noexcept:
        cdef Watched *watched
        if _sampling is not self or self.is_ending:  # nobody would end it
            return NULL
        watched = otlpfast_cpu_find(thread)
        if watched != NULL and otlpfast_cpu_has_moved(watched, thread):
            self._unwatch(watched)
            self._free(watched)
        watched = otlpfast_cpu_watch(thread)
        if watched == NULL and errno != ESRCH:
            self.refused += 1
        return watched

    cdef begin_this(self, thread):
        # The calling thread, which runs nothing of its own yet.
        cdef Watched *watched = otlpfast_cpu_find_other(PyThreadState_Get())
        if watched != NULL:
            self._end_thread(watched)
        watched = self._watch(PyThreadState_Get())
        if watched != NULL:
            self._name_this(watched, thread)

    cdef end_this(self, thread):
        cdef Watched *watched = otlpfast_cpu_find(PyThreadState_Get())
        if watched != NULL and self._name_this(watched, thread):
            self._end_thread(watched)

    cdef bint _name_this(self, Watched *watched, thread) except -1:
        # False where it was stopped meanwhile: names are Python's, and others run while they are asked for.
        cdef uint32_t serial = watched.serial
        cdef uint32_t number = self.names.named(watched.state, _name_of(thread))
        if _sampling is not self or watched.serial != serial:
            return False
        watched.name = number
        return True

    cdef _end_thread(self, Watched *watched):
        cdef uint64_t state = watched.state
        self._unwatch(watched)
        self._free(watched)
        self.names.forget(state)

    cdef _name(self):
        # Again whenever there are samples: a thread may have changed its name before it did any work.
        cdef Watched *watched
        cdef uint32_t at, serial, number
        for at in range(otlpfast_in_use):
            watched = &otlpfast_threads[at]
            if watched.ring != NULL and (watched.name == 0 or otlpfast_cpu_has_next(watched)):
                serial = watched.serial
                number = self.names.of(watched.state, watched.ident)
                if watched.serial == serial:  # not meanwhile another thread's
                    watched.name = number

    cdef _end_those_that_are_over(self):
        cdef uint32_t at
        for at in range(otlpfast_in_use):
            if otlpfast_cpu_is_over(&otlpfast_threads[at]):
                self._end_thread(&otlpfast_threads[at])

    cdef void _unwatch(self, Watched *watched) noexcept:
        cdef uint32_t missing = otlpfast_cpu_unwatch(watched), stack = STACK_UNSEEN, labels = 0
        cdef const CpuSample *last
        self._drain(watched)
        last = otlpfast_cpu_last(watched)
        if missing == 1 and last != NULL:
            stack = self._stack_of(last)
            labels = watched.labels if last.labels != OTLPFAST_BARE else 0
        if missing:
            self._count(stack, watched.name, labels, missing)

    cdef void _free(self, Watched *watched) noexcept:
        self._drain(watched)
        if watched.lost:
            self._count(STACK_LOST, watched.name, 0, watched.lost)
        otlpfast_cpu_free(watched)

    cdef void drain(self) noexcept:
        # The GIL is held. Makes no Python object and runs no Python code: a code object may be at its end.
        cdef uint64_t written = otlpfast_cpu_written()
        cdef uint32_t at
        if written == self.drained:
            return
        self.drained = written
        for at in range(otlpfast_in_use):
            self._drain(&otlpfast_threads[at])

    cdef void _drain(self, Watched *watched) noexcept:
        cdef uint32_t ticks, labels
        cdef const CpuSample *sample = otlpfast_cpu_next(watched, &ticks)
        while sample != NULL:
            if sample.labels == OTLPFAST_OTHERS:
                watched.labels = self.labels.intern(otlpfast_labels_of(sample))
            labels = 0 if sample.labels == OTLPFAST_BARE else watched.labels
            self._count(self._stack_of(sample), watched.name, labels, ticks)
            sample = otlpfast_cpu_next(watched, &ticks)

    cdef uint32_t _stack_of(self, const CpuSample *sample) noexcept:
        cdef PyCodeObject *code
        cdef int i
        if sample.depth == OTLPFAST_NATIVE:
            return STACK_NATIVE
        for i in range(sample.depth):
            code = sample.frames[i].code
            if not otlpfast_codes_have(&otlpfast_known, code):
                if not otlpfast_is_alive(code):
                    return STACK_UNREADABLE
                otlpfast_codes_keep(&otlpfast_known, code)
        return self.stacks.intern(sample.frames, sample.depth) if sample.depth > 0 else STACK_UNREADABLE

    cdef void _count(self, uint32_t stack, uint32_t name, uint32_t labels, uint64_t ticks) noexcept:
        cdef Counted *counted
        if self.counts_used > self.counts_mask // 4 * 3 and not self._has_grown():
            self.lost += ticks
            return
        counted = _place(self.counts, self.counts_mask, stack, name, labels)
        self.counts_used += counted.ticks == 0
        counted.stack, counted.name, counted.labels = stack, name, labels
        counted.ticks += ticks

    cdef bint _has_grown(self) noexcept:
        cdef uint32_t mask = self.counts_mask * 2 + 1, at
        cdef Counted *grown = NULL
        cdef Counted *counted
        if mask < 1 << 24:
            grown = <Counted *> calloc(<size_t> mask + 1, sizeof(Counted))
        if grown == NULL:
            return False
        for at in range(self.counts_mask + 1):
            counted = &self.counts[at]
            if counted.ticks:
                _place(grown, mask, counted.stack, counted.name, counted.labels)[0] = counted[0]
        free(self.counts)
        self.counts, self.counts_mask = grown, mask
        return True

    def tick(self, times: int = 1) -> None:
        """Takes samples of the calling thread, as its timer does: what one costs can be measured.

        RuntimeError where that is not watched.
        """
        cdef Watched *watched = otlpfast_cpu_find(PyThreadState_Get()) if _sampling is self else NULL
        cdef int count = times
        if watched == NULL:
            raise RuntimeError("this thread is not watched")
        for _ in range(count):
            otlpfast_cpu_tick(watched)

    def stop(self) -> bool:
        """Ends it. False if another handler of SIGPROF has meanwhile replaced the one that samples."""
        global _sampling
        cdef uint32_t at
        cdef bint was_ours
        if _sampling is not self:
            return True
        try:
            self._name()
        finally:
            self.is_ending = True
            for at in range(otlpfast_in_use):
                if otlpfast_threads[at].ring != NULL:
                    self._unwatch(&otlpfast_threads[at])
            with nogil:
                was_ours = otlpfast_cpu_stop()
            for at in range(otlpfast_in_use):
                if otlpfast_threads[at].ring != NULL:
                    self._free(&otlpfast_threads[at])
            self._end()
        return was_ours

    cdef _end(self):
        global _sampling
        _sampling = None
        otlpfast_unwatch_codes()
        otlpfast_codes_drop(&otlpfast_known)

    def samples(self) -> list:
        """What was counted, by stack, thread and labels: (frames, number of the name, labels, ticks).

        The frames are as those of a ``StackTable``; in their place stands a text where there are none.
        """
        cdef uint32_t at
        cdef Counted counted
        found = []
        labels = {}
        frames = dict(_NO_FRAMES)
        for at in range(self.counts_mask + 1):
            counted = self.counts[at]
            if counted.ticks:
                if counted.stack not in frames:
                    frames[counted.stack] = self.stacks.frames(counted.stack)
                if counted.labels not in labels:
                    labels[counted.labels] = tuple(self.labels.labels(counted.labels))
                work = labels[counted.labels]
                found.append((frames[counted.stack], counted.name, work, counted.ticks))
        return found


cdef Counted *_place(
    Counted *counts, uint32_t mask, uint32_t stack, uint32_t name, uint32_t labels
) noexcept:
    # Of a stack of a thread at that work: where it is counted, or will be.
    cdef uint64_t at = _mixed(_mixed(_mixed(stack, name), labels), 0)
    cdef Counted *there = &counts[at & mask]
    while there.ticks and (there.stack != stack or there.name != name or there.labels != labels):
        at += 1
        there = &counts[at & mask]
    return there


@cython.final
cdef class ThreadHook:
    """Stands for ``Thread._bootstrap_inner``: threads are sampled from their first to their last moment.

    It adds no frame to their stacks.

    Args:
        original: what is called with the thread.
    """

    cdef readonly object original

    def __cinit__(self, original):
        self.original = original

    def __get__(self, thread, owner):
        return self if thread is None else MethodType(self, thread)

    def __call__(self, thread):
        _begin_thread(thread)
        try:
            return self.original(thread)
        finally:
            _end_thread(thread)


cdef void _begin_thread(thread) noexcept:
    cdef CpuSampler sampler = _sampling  # kept: it may be stopped meanwhile
    if sampler is not None:
        sampler.begin_this(thread)


cdef void _end_thread(thread) noexcept:
    cdef CpuSampler sampler = _sampling
    if sampler is not None:
        sampler.end_this(thread)


cdef str _name_of(thread):
    try:
        return str(thread.name)
    except Exception:  # a subclass may have its own idea of a name
        return "(unnamed)"


def stop_cpu() -> None:
    """Ends the sampler that runs, if one does, whosever it is."""
    cdef CpuSampler sampler = _sampling
    if sampler is not None:
        sampler.stop()


def pause_cpu(paused: bool) -> None:
    """Whether the calling thread's timer stands still: while it forks."""
    otlpfast_cpu_pause(PyThreadState_Get(), paused)


def forget_cpu() -> None:
    """In a child of fork(): what was running has ended there, and what was not taken yet is the parent's."""
    if _sampling is not None:
        otlpfast_cpu_forget()
        _sampling._end()


def can_sample_cpu() -> bool:
    """Whether a ``CpuSampler`` can be started here."""
    return otlpfast_cpu_probe() == 0
