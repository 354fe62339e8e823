# Full batches on their way from the threads that fill them to the one that sends them, which needs no GIL
# for that: under threads that never let go of it, each wait for it lasts longer than a queue takes to fill.
#
# Batches are put in, and taken back or let go of, by whoever holds the GIL. The sender claims them in order,
# by moving `claimed`, and says by `sent` how many are done; it touches nothing else here, and no object.

cdef enum:
    LANE_SLOTS = 256
    PART_BYTES = 24  # for what is written beside a group's own texts: a tag, a varint, some to spare
    # While batches come one upon the other, the sender looks for the next by itself: to be woken by the
    # thread that fills them means to take the processor away from it.
    NAPS = 8
    NAP = 500_000  # nanoseconds; one, after a sleep


cdef struct Parcel:
    # A batch as a request: `parts` is one block, of the vectors and then of the texts between the spans.
    PyObject *batch
    iovec *parts
    size_t count
    Py_ssize_t spans, nbytes


cdef inline size_t bytes_size(object data) noexcept:
    return len(<bytes> data)


cdef inline void put_object(Writer *w, object data) noexcept:
    put_bytes(w, <char *> <bytes> data, len(<bytes> data))


@cython.final
cdef class _Lane:
    cdef Parcel parcels[LANE_SLOTS]
    cdef uint64_t claimed, sent, last  # counted from the lane's beginning, as `settled` and `moved` are
    cdef uint64_t settled, moved
    cdef uint64_t stopped
    cdef Bell bell
    cdef bint is_open
    cdef bytes head
    cdef size_t limit
    cdef Answer answer
    cdef uint64_t current  # what was claimed last
    cdef int64_t deadline
    cdef bint was_sent

    def __dealloc__(self):
        cdef int i
        for i in range(LANE_SLOTS):
            if self.parcels[i].batch:
                self.let_go(&self.parcels[i])

    cdef void let_go(self, Parcel *parcel) noexcept:
        # May run finalisers.
        cdef PyObject *batch = parcel.batch
        free(parcel.parts)
        parcel.batch, parcel.parts, parcel.count = NULL, NULL, 0
        drop(batch)

    cdef inline Parcel *at(self, uint64_t number) noexcept nogil:
        return &self.parcels[number % LANE_SLOTS]

    # --- with the GIL

    cdef void open(self, bytes head, size_t limit) noexcept:
        self.head, self.limit = head, limit
        self.stopped = 0
        self.is_open = True

    cdef bint put(self, BatchBuilder batch) except -1:
        # Takes a sealed batch; False where it has to go another way.
        cdef Parcel *parcel = self.at(self.last)
        if not self.is_open or load(&self.stopped) or self.last - self.settled >= LANE_SLOTS:
            return False
        if not self.write_request(batch, parcel):
            return False
        Py_INCREF(batch)
        parcel.batch = <PyObject *> batch
        parcel.spans, parcel.nbytes = batch.count, batch.nbytes
        store(&self.last, self.last + 1)
        ring(&self.bell, False)
        return True

    cdef bint write_request(self, BatchBuilder batch, Parcel *parcel) except -1:
        # What _request.request_parts() makes of it, with the head of the request before. False for spans of
        # several resources, a request that is too large, or no memory.
        cdef _Group group
        cdef object resource = None
        cdef size_t count = 3, room = len(self.head) + PART_BYTES
        for group in batch.groups:
            if resource is None:
                resource = group.entry.resource
            elif group.entry.resource is not resource:
                return False
            count += 2 + len(group.buffers)
            room += bytes_size(group.entry.head) + bytes_size(group.entry.tail) + PART_BYTES
        if resource is None:
            return False
        room += bytes_size(resource.head) + bytes_size(resource.tail) + 2 * PART_BYTES
        parcel.parts = <iovec *> malloc(count * sizeof(iovec) + room)
        if parcel.parts == NULL:
            return False
        self.fill(batch, resource, parcel, Writer(<uint8_t *> (parcel.parts + count), 0, room, False))
        return parcel.count > 0

    cdef int fill(self, BatchBuilder batch, object resource, Parcel *parcel, Writer w) except -1:
        cdef _Group group
        cdef SpanBuffer buffer
        cdef object entry
        cdef size_t spans, inner = bytes_size(resource.head) + bytes_size(resource.tail)
        cdef size_t n = 2, start  # the first two parts come last: they have the lengths
        for group in batch.groups:
            entry = group.entry
            spans = group_bytes(group)
            start = w.pos
            put_byte(&w, 0x12)
            put_varint(&w, bytes_size(entry.head) + spans + bytes_size(entry.tail))
            put_object(&w, entry.head)
            inner += w.pos - start + spans + bytes_size(entry.tail)
            parcel.parts[n] = iovec(w.data + start, w.pos - start)
            n += 1
            for buffer in group.buffers:
                parcel.parts[n] = iovec(buffer.out.data, buffer.out.pos)
                n += 1
            start = w.pos
            put_object(&w, entry.tail)
            parcel.parts[n] = iovec(w.data + start, w.pos - start)
            n += 1
        start = w.pos
        put_object(&w, resource.tail)
        parcel.parts[n] = iovec(w.data + start, w.pos - start)
        start = w.pos
        put_byte(&w, 0x0a)
        put_varint(&w, inner)
        put_object(&w, resource.head)
        parcel.parts[1] = iovec(w.data + start, w.pos - start)
        inner += w.pos - start - bytes_size(resource.head)
        start = w.pos
        put_object(&w, self.head)
        put_decimal(&w, inner)
        parcel.parts[0] = iovec(w.data + start, w.pos - start)
        parcel.count = n + 1 if not self.limit or inner <= self.limit else 0
        if not parcel.count:
            free(parcel.parts)
            parcel.parts = NULL
        return 0

    cdef void stop(self) noexcept:
        store(&self.stopped, 1)
        ring(&self.bell, True)

    cdef list take_back(self):
        # What the sender has not claimed, as the queue keeps it, in order.
        cdef uint64_t first = load(&self.claimed), last, number
        cdef list taken = []
        while first != self.last and not swap(&self.claimed, first, self.last):
            first = load(&self.claimed)
        last = self.last
        for number in range(first, last):
            self.at(number).count = 0  # before anything else can run: it still waits
        for number in range(first, last):
            taken.append(self.take_out(self.at(number)))
        return taken

    cdef tuple take_last(self):
        # What was claimed last, of which nothing but the beginning of an answer is known.
        cdef double deadline = self.deadline * 1e-9
        cdef bytes received = PyBytes_FromStringAndSize(self.answer.text, self.answer.length)
        return (*self.take_out(self.at(self.current)), deadline, bool(self.was_sent), received)

    cdef tuple take_out(self, Parcel *parcel):
        cdef object batch = <object> parcel.batch
        cdef Py_ssize_t spans = parcel.spans, nbytes = parcel.nbytes
        self.let_go(parcel)
        return batch, spans, nbytes

    # --- without the GIL

    cdef bint run(self, int fd, int64_t timeout, int64_t until, PaddedCounters exported) noexcept nogil:
        # Sends until it is stopped or `until`: False; or until an answer is unusual or missing: True. That is
        # of the parcel that was claimed last.
        cdef Parcel *parcel
        cdef uint64_t number
        cdef uint32_t heard
        cdef int naps = 0
        cdef bint slept = False
        while True:
            heard = hear(&self.bell)
            if load(&self.stopped):
                return False
            number = load(&self.claimed)
            if number == load(&self.last):
                if monotonic_ns() >= until:
                    return False
                if naps:
                    naps -= 1
                    nap(&self.bell, heard, NAP)
                else:
                    slept = True
                    sleep_until(&self.bell, heard, until)
                continue
            if is_stale(fd):
                return False
            if not swap(&self.claimed, number, number + 1):
                continue
            parcel = self.at(number)
            self.current = number
            self.deadline = monotonic_ns() + timeout
            self.answer.length = 0
            self.was_sent = send_all(fd, parcel.parts, parcel.count, self.deadline)
            if not self.was_sent or not receive_usual(fd, &self.answer, self.deadline):
                return True
            exported.bump(EXPORTED, parcel.spans)
            store(&self.sent, number + 1)
            naps = 1 if slept else NAPS
            slept = False


cdef size_t group_bytes(_Group group) noexcept:
    cdef SpanBuffer buffer
    cdef size_t total = 0
    for buffer in group.buffers:
        total += buffer.out.pos
    return total


cdef void put_decimal(Writer *w, size_t number) noexcept:
    # And what ends the head of a request.
    cdef size_t unit = 1
    while number // unit >= 10:
        unit *= 10
    while unit:
        put_byte(w, <uint8_t> (48 + number // unit % 10))
        unit //= 10
    put_bytes(w, b"\r\n\r\n", 4)
