# The wall profile: what all threads are doing, looked at again and again.

cdef struct Count:
    uint32_t stack, work
    uint64_t count, nanos

cdef struct Known:  # a thread that was there the last time
    uint64_t key
    uint32_t label  # from 1; 0 is yet to be asked for
    uint32_t looks
    bint is_there


@cython.final
cdef class _KnownThreads:
    # The label of each thread, asked for when it is new, and at the second look: it may not have had its name
    # yet. Later, one thread a look is asked again: a thread may be renamed.

    cdef object names
    cdef Known *known
    cdef Known *before
    cdef uint32_t count, room, turn

    def __dealloc__(self):
        free(self.known)
        free(self.before)

    cdef int see(self, _Look look) except -1:
        cdef uint32_t i, before = self.count, place = 0
        self.make_room(look.count)
        self.known, self.before = self.before, self.known
        self.count = look.count
        for i in range(look.count):
            self.known[i] = Known(look.seen[i].thread.key, 0, 0, False)
            place = self.find(&self.known[i], place, before)
        for i in range(before):
            if not self.before[i].is_there:
                self.names.forget(self.before[i].key)
        self.turn += 1
        for i in range(look.count):
            if not look.seen[i].depth:  # yet to begin: it has the ident of the thread that made it (3.11)
                continue
            self.known[i].looks += 1
            if self.known[i].looks <= 2 or self.turn % look.count == i:
                self.known[i].label = self.names.of(self.known[i].key, look.seen[i].thread.ident)
        return 0

    cdef inline uint32_t find(self, Known *thread, uint32_t place, uint32_t count) noexcept:
        # Threads keep their order: it is nearly always at this place. The next one's is returned.
        cdef uint32_t i
        for i in range(count):
            if self.before[place].key == thread.key:
                self.before[place].is_there = True
                thread.label, thread.looks = self.before[place].label, self.before[place].looks
                return (place + 1) % count
            place = (place + 1) % count
        return place

    cdef int make_room(self, uint32_t count) except -1:
        cdef uint32_t room = self.room or 64
        cdef void *grown
        while room < count:
            room *= 2
        if room != self.room:
            grown = realloc(self.known, room * sizeof(Known))
            if grown == NULL:
                raise MemoryError
            self.known = <Known *> grown
            grown = realloc(self.before, room * sizeof(Known))
            if grown == NULL:
                raise MemoryError
            self.before = <Known *> grown
            self.room = room
        return 0


@cython.final
cdef class WallCounter:
    """Counts, for each stack and what was worked on, how often and how long threads were seen there.

    Args:
        names: labels of threads: ``of(key, ident)`` gives the number of one, ``forget(key)`` ends its use.
        variable, span_key: where OpenTelemetry keeps the current span; None: spans are not looked for.
        labels: whether it is counted apart what threads work on.
        most: as many different stacks are kept, as many works, and as many counts.
    """

    cdef readonly StackTable stacks
    cdef readonly uint64_t lost, unlabelled
    cdef object variable, span_key
    cdef bint has_labels
    cdef _KnownThreads threads
    cdef _WorkTable works
    cdef _Look look
    cdef Count *counts
    cdef uint32_t counts_used, most, slot_mask
    cdef uint32_t *slots
    cdef uint32_t *latest  # the counts that the last look added to
    cdef uint32_t latest_used, latest_room

    def __cinit__(self, names, variable, span_key, bint labels=True, uint32_t most=1 << 15):
        cdef uint32_t slots = 64
        self.stacks, self.works, self.look = StackTable(most), _WorkTable(most), _Look.__new__(_Look)
        self.threads = _KnownThreads.__new__(_KnownThreads)
        self.threads.names = names
        self.variable, self.span_key, self.has_labels = variable, span_key, labels
        while slots < 2 * most:
            slots *= 2
        self.most, self.slot_mask = most, slots - 1
        self.slots = <uint32_t *> calloc(slots, sizeof(uint32_t))
        self.counts = <Count *> malloc(most * sizeof(Count))
        if self.slots == NULL or self.counts == NULL:
            raise MemoryError

    def __dealloc__(self):
        free(self.slots)
        free(self.counts)
        free(self.latest)

    def add(self, uint64_t nanos) -> bool:
        """Looks at all threads but the caller's; False if that has to be tried again.

        Args:
            nanos: how long ago the last look was. Half of it goes to what was seen then.
        """
        cdef uint64_t half = nanos // 2 if self.latest_used else 0
        cdef Seen *seen
        cdef uint32_t i, work = 0
        if not self.look.take(self.stacks, PyThreadState_Get()):
            return False
        if self.has_labels:
            self.threads.see(self.look)
        self.prolong(half)
        self.make_room()
        for i in range(self.look.count):
            seen = &self.look.seen[i]
            if seen.depth:
                if self.has_labels:
                    work = self.work_of(seen, self.threads.known[i].label)
                self.count(seen.stack, work, nanos - half)
        self.look.clear()
        return True

    def prolong(self, uint64_t nanos) -> None:
        """What was seen last went on for so long."""
        cdef uint32_t i
        for i in range(self.latest_used):
            self.counts[self.latest[i]].nanos += nanos
        self.latest_used = 0

    cdef int make_room(self) except -1:
        cdef void *grown
        if self.latest_room < self.look.room:
            grown = realloc(self.latest, self.look.room * sizeof(uint32_t))
            if grown == NULL:
                raise MemoryError
            self.latest, self.latest_room = <uint32_t *> grown, self.look.room
        return 0

    cdef void count(self, uint32_t stack, uint32_t work, uint64_t nanos) noexcept:
        cdef uint32_t slot = _mixed(_mixed(stack, work), 1) & self.slot_mask
        cdef Count *found = NULL
        while self.slots[slot]:
            found = &self.counts[self.slots[slot] - 1]
            if found.stack == stack and found.work == work:
                break
            slot = (slot + 1) & self.slot_mask
        if not self.slots[slot]:
            if self.counts_used == self.most:
                self.lost += 1
                return
            found = &self.counts[self.counts_used]
            found[0] = Count(stack, work, 0, 0)
            self.counts_used += 1
            self.slots[slot] = self.counts_used
        found.count += 1
        found.nanos += nanos
        self.latest[self.latest_used] = self.slots[slot] - 1
        self.latest_used += 1

    cdef uint32_t work_of(self, Seen *seen, uint32_t thread) except? 0:
        cdef Work work
        cdef uint32_t number
        memset(&work, 0, sizeof(Work))
        work.thread = thread
        name = task = None
        try:  # Python code may run: whoever wrote that span or task
            if seen.thread.context != NULL and self.variable is not None:
                name = _read_span(<object> seen.thread.context, self.variable, self.span_key, &work)
            if seen.thread.task != NULL:
                task = (<object> seen.thread.task).get_name()
                work.task = <PyObject *> task
        except Exception:
            work.trace_high = work.trace_low = work.span = 0
        number = self.works.intern(&work, self.most - self.most // 4)
        if number:
            if type(name) is str:
                self.works.set_name(number, name)
            return number
        self.unlabelled += 1  # the last quarter is for threads alone
        work.trace_high = work.trace_low = work.span = 0
        work.task = NULL
        return self.works.intern(&work, self.most)

    def counted(self) -> list:
        """(number of the stack, number of the work, count, nanoseconds) of each."""
        cdef uint32_t i
        return [
            (self.counts[i].stack, self.counts[i].work, self.counts[i].count, self.counts[i].nanos)
            for i in range(self.counts_used)
        ]

    def work(self, uint32_t number) -> tuple:
        """(label number of the thread, trace id, span id, span name, task name); 0 and None are unknown."""
        cdef Work *work
        if number == 0:
            return 0, 0, 0, None, None
        if number > self.works.used:
            raise IndexError(f"no work has number {number}")
        work = &self.works.works[number - 1]
        name = self.works.names[number - 1]
        return (
            work.thread,
            <object> work.trace_high << 64 | <object> work.trace_low,
            work.span,
            None if name == NULL else <object> name,
            None if work.task == NULL else <object> work.task,
        )
