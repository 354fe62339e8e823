# Traces by their id: those that wait for a decision, with their spans, and what was decided on others.
#
# C memory alone; nothing here runs Python code. Nodes are known by their numbers, for their memory moves.

cdef enum:
    NOWHERE = -1
    UNDECIDED = 0  # decisions on a trace
    KEPT = 1
    NOT_KEPT = 2

cdef struct Trace:
    Writer out  # records: a Record, and the encoded span where that is not kept as it is
    int64_t began  # to wait, by the monotonic clock
    int64_t root_began  # a local root that is open, by the wall clock; 0 where none is known to be
    uint64_t randomness
    Py_ssize_t spans, open
    Py_ssize_t nbytes  # of encoded spans
    Py_ssize_t kept_bytes  # that those among them take which are kept as they are: an estimate
    int32_t rule
    bint has_error, is_slow
    bint has_root  # one was seen to start: where nothing is open, it has ended

cdef struct Record:
    PyObject *subject  # the _Group that the span goes to, or the span itself
    Py_ssize_t size  # in bytes; less than 0 where the span is kept as it is, and none of them are here

cdef struct KnownTrace:
    uint64_t high, low
    int32_t next  # in its bucket, or among those that are free
    int32_t older, newer
    int32_t decision
    Trace *trace  # of one that is undecided

cdef struct Line:
    int32_t oldest, newest
    Py_ssize_t count

# Of a trace without spans.
cdef Py_ssize_t _trace_bytes = sizeof(Trace) + sizeof(KnownTrace) + 2 * sizeof(int32_t)


@cython.final
cdef class _Traces:
    cdef KnownTrace *at
    cdef int32_t *buckets
    cdef int32_t capacity, idle  # of nodes; the first that is free
    cdef uint64_t secret
    cdef Line waiting, decided
    cdef Py_ssize_t most_decided

    def __cinit__(self, Py_ssize_t most_decided):
        self.most_decided = most_decided
        # Ids come from other services: without it, they could be chosen to fall into one bucket.
        self.secret = int.from_bytes(urandom(8), "little")
        self.idle = NOWHERE
        self.waiting = Line(NOWHERE, NOWHERE, 0)
        self.decided = Line(NOWHERE, NOWHERE, 0)
        if not self.grow():
            raise MemoryError

    def __dealloc__(self):
        while self.waiting.count:
            drop_trace(self.remove(self.waiting.oldest))
        free(self.at)
        free(self.buckets)

    cdef inline int32_t *bucket(self, uint64_t high, uint64_t low) noexcept:
        return &self.buckets[mixed(mixed(low ^ self.secret) ^ high) & <uint64_t> (2 * self.capacity - 1)]

    cdef inline int32_t find(self, uint64_t high, uint64_t low) noexcept:
        cdef int32_t number = self.bucket(high, low)[0]
        while number != NOWHERE and (self.at[number].low != low or self.at[number].high != high):
            number = self.at[number].next
        return number

    cdef bint grow(self) noexcept:
        # Twice as many nodes and buckets; False, and nothing, where there is no memory.
        cdef int32_t capacity = 2 * self.capacity if self.capacity else 64
        cdef int32_t i, used = self.capacity
        cdef int32_t *bucket
        cdef int32_t *buckets
        cdef KnownTrace *at
        if capacity > (1 << 29):
            return False
        buckets = <int32_t *> malloc(2 * capacity * sizeof(int32_t))
        at = <KnownTrace *> realloc(self.at, capacity * sizeof(KnownTrace)) if buckets != NULL else NULL
        if at == NULL:
            free(buckets)
            return False
        free(self.buckets)
        self.at, self.buckets = at, buckets
        memset(buckets, 0xFF, 2 * capacity * sizeof(int32_t))
        self.capacity = capacity
        for i in range(used):  # all of them are in use
            bucket = self.bucket(at[i].high, at[i].low)
            at[i].next = bucket[0]
            bucket[0] = i
        for i in range(used, capacity):
            at[i].next = self.idle
            self.idle = i
        return True

    cdef int32_t add(self, uint64_t high, uint64_t low) noexcept:
        # A trace that is not there, the newest that waits; NOWHERE where there is no memory.
        cdef Trace *trace = <Trace *> calloc(1, sizeof(Trace))
        cdef KnownTrace *known
        cdef int32_t *bucket
        cdef int32_t number
        if trace == NULL or self.idle == NOWHERE and not self.grow():
            free(trace)
            return NOWHERE
        number = self.idle
        known = &self.at[number]
        self.idle = known.next
        bucket = self.bucket(high, low)
        known.high, known.low, known.decision, known.trace = high, low, UNDECIDED, trace
        known.next = bucket[0]
        bucket[0] = number
        trace.rule = NOWHERE
        self.line_up(&self.waiting, number)
        return number

    cdef inline void line_up(self, Line *line, int32_t number) noexcept:
        cdef KnownTrace *known = &self.at[number]
        known.older, known.newer = line.newest, NOWHERE
        if line.newest == NOWHERE:
            line.oldest = number
        else:
            self.at[line.newest].newer = number
        line.newest = number
        line.count += 1

    cdef inline void step_out(self, Line *line, int32_t number) noexcept:
        cdef KnownTrace *known = &self.at[number]
        if known.older == NOWHERE:
            line.oldest = known.newer
        else:
            self.at[known.older].newer = known.newer
        if known.newer == NOWHERE:
            line.newest = known.older
        else:
            self.at[known.newer].older = known.older
        line.count -= 1

    cdef Trace *remove(self, int32_t number) noexcept:
        # Forgets the trace; what it had, which is the caller's.
        cdef KnownTrace *known = &self.at[number]
        cdef Trace *trace = known.trace
        cdef int32_t *link = self.bucket(known.high, known.low)
        self.step_out(&self.waiting if known.decision == UNDECIDED else &self.decided, number)
        while link[0] != number:
            link = &self.at[link[0]].next
        link[0] = known.next
        known.next = self.idle
        self.idle = number
        known.trace = NULL
        return trace

    cdef Trace *decide(self, int32_t number, int decision) noexcept:
        # Remembers what was decided; what the trace had, which is the caller's.
        cdef KnownTrace *known = &self.at[number]
        cdef Trace *trace = known.trace
        self.step_out(&self.waiting, number)
        known.trace, known.decision = NULL, decision
        self.line_up(&self.decided, number)
        if self.decided.count > self.most_decided:
            self.remove(self.decided.oldest)
        return trace

    cdef inline int recall(self, int32_t number) noexcept:
        # What was decided, which is then the last to be forgotten.
        self.step_out(&self.decided, number)
        self.line_up(&self.decided, number)
        return self.at[number].decision

    cdef inline void wait_again(self, int32_t number, int64_t now) noexcept:
        # As if the trace had just begun.
        self.step_out(&self.waiting, number)
        self.line_up(&self.waiting, number)
        self.at[number].trace.began = now


cdef inline uint64_t mixed(uint64_t number) noexcept:
    # Twice, since after once the highest bits have reached the highest alone.
    number = (number ^ number >> 32) * 0xD6E8FEB86659FD93ULL
    number = (number ^ number >> 32) * 0xD6E8FEB86659FD93ULL
    return number ^ number >> 32


cdef inline Py_ssize_t bytes_held(Trace *trace) noexcept:
    return trace.out.cap + trace.kept_bytes


cdef void drop_trace(Trace *trace) noexcept:
    # May run finalisers.
    cdef Record record
    cdef size_t at = 0
    while at < trace.out.pos:
        at = next_record(trace, at, &record)
        drop(record.subject)
    free(trace.out.data)
    free(trace)


cdef inline size_t next_record(Trace *trace, size_t at, Record *record) noexcept:
    # Reads the record there; where the next one is. The encoded span ends there.
    memcpy(record, trace.out.data + at, sizeof(Record))
    return at + sizeof(Record) + (record.size if record.size > 0 else 0)
