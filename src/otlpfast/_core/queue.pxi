# From ended spans to batches: encoded at once, grouped by resource and scope, counted, bounded.
#
# A put() may be interrupted by another one only where Python code can run: before the queue is touched
# (plain_span, the scope table) or never. So there is no lock, and a signal handler or finaliser that ends a
# span finds the queue whole.

if otlpfast_watch_forks():
    raise MemoryError("pthread_atfork")

cdef enum:
    READY = 1  # a batch is full: wake the worker
    DROPPED = 2  # a span was dropped: a warning may be due
    FORKED = 4  # this is a new child process: what the parent had queued was forgotten

cdef enum:  # the counters, in the order of _account.ACCOUNT
    ENDED, EXPORTED, REJECTED, SPOOLED, QUEUE_FULL, SHUTDOWN, TOO_LARGE, EXPORT_FAILED, ENCODE_ERROR, FORK
    SAMPLED_OUT


@cython.final
cdef class SpanQueue:
    """Spans that wait for export: encoded, grouped and counted; bounded in spans and bytes.

    Args:
        max_spans: how many spans may wait.
        max_bytes: how many bytes of encoded spans may wait or be under way.
        batch_size: how many spans make a full batch.
        redactor: of what is encoded here.
        tail_sampler: decides which traces are kept; until then their spans wait beside the others, within
            its own bounds.
    """

    cdef readonly Py_ssize_t max_spans, max_bytes, batch_size
    cdef Py_ssize_t queued, held, sending  # what waiting, nbytes and in_flight give, up to the last settle()
    cdef readonly PaddedCounters counters
    cdef readonly bint closed
    cdef bint is_over  # discard() has been here: nobody takes anything any more
    cdef bint is_detour  # closed, or with a tail sampler: no span goes straight into the open batch
    cdef public bint attended  # a thread takes what is put here
    cdef public object relief  # called where a span finds no room for its bytes: True once there may be
    cdef Redactor redactor
    cdef BatchBuilder open_batch
    cdef list kept
    cdef Py_ssize_t kept_bytes
    cdef object ready
    cdef _Lane lane
    cdef Writer scratch
    cdef int forks
    cdef _Tail tail

    def __cinit__(
        self, Py_ssize_t max_spans, Py_ssize_t max_bytes, Py_ssize_t batch_size, Redactor redactor=None,
        tail_sampler=None,
    ):
        self.max_spans, self.max_bytes, self.batch_size = max_spans, max_bytes, batch_size
        self.redactor = redactor
        self.counters = PaddedCounters(ACCOUNT)
        self.ready = deque()
        self.kept = []
        self.forks = otlpfast_forks
        if tail_sampler is not None:
            self.tail, self.is_detour = _Tail(tail_sampler, redactor), True

    def __dealloc__(self):
        free(self.scratch.data)

    @property
    def waiting(self):
        """How many spans wait."""
        self.settle()
        return self.queued

    @property
    def nbytes(self):
        """How many bytes wait or are under way."""
        self.settle()
        return self.held

    @property
    def in_flight(self):
        """How many spans are under way."""
        self.settle()
        return self.sending

    @property
    def undecided(self):
        """How many spans wait for the decision on their trace: none of those that ``waiting`` counts."""
        return 0 if self.tail is None else self.tail.spans

    @property
    def moving(self):
        """How many traces that are kept wait for room among those that ``waiting`` counts."""
        return 0 if self.tail is None else self.tail.moving

    @property
    def undecided_bytes(self):
        """How many bytes those take, with all that belongs to their traces."""
        return 0 if self.tail is None else self.tail.held

    @property
    def verdicts(self):
        """How many traces were kept, for which reason, or not; None without a tail sampler."""
        return None if self.tail is None else self.tail.verdicts

    cdef inline int dropped(self, int reason) noexcept:
        self.counters.bump(reason, 1)
        return DROPPED

    cpdef int put(self, span, bint keep=False) except -1:
        """Takes an ended span; what became of it as bits.

        1: a batch is ready. 2: it was dropped. 4: this process is a new child. Unsampled spans are passed
        over. ``keep`` keeps the span itself, for whoever needs it later, and only counts its size. Never
        raises.
        """
        cdef int outcome = self.start_anew() if self.forks != otlpfast_forks else 0
        cdef int is_sampled = sampled(<PyObject *> span)
        if is_sampled == 0 or is_sampled < 0 and not probably_sampled(span):
            return outcome
        self.counters.count(ENDED)
        if self.tail is not None and not self.closed:
            return outcome | put_aside(self, span, keep, is_sampled < 0)
        try:
            return outcome | self.admit(span, keep, is_sampled < 0)
        except Exception:  # no memory, or no stack left
            return outcome | self.dropped(ENCODE_ERROR)
        except BaseException:  # the application's own, which goes on to it
            self.dropped(ENCODE_ERROR)
            raise

    cdef int put_own(self, _NativeSpan span) except -1:
        # The same for one of otlpfast's own that belongs where the last one went.
        cdef BatchBuilder batch = self.open_batch
        cdef _Group group
        cdef Py_ssize_t size
        if not span.ids.flags & 1 and not span.has_odd_context:
            return 0
        if (
            batch is None or self.is_detour or self.forks != otlpfast_forks or span.is_odd
            or self.queued >= self.max_spans or self.held >= self.max_bytes
        ):
            return self.put(span)
        group = batch.last
        if group is None or not group.holds(
            <PyObject *> span.origin.resource, <PyObject *> span.origin.scope
        ):
            return self.put(span)
        size = batch.write(group, <PyObject *> span, False, self.max_bytes - self.held)
        if size < 0:
            return self.put(span)
        self.counters.count(ENDED)
        return self.count_in(batch, size)

    cdef int gets_room(self, Py_ssize_t outcome, Py_ssize_t size) except -1:
        return outcome == OVER_LIMIT and size <= self.max_bytes and (self.settle() or self.relieved(size))

    cdef int count_in(self, BatchBuilder batch, Py_ssize_t size) except -1:
        self.queued += 1
        self.held += size
        return self.close_if_full(batch)

    cdef inline int close_if_full(self, BatchBuilder batch) except -1:
        return self.close_full(batch) if batch.count >= self.batch_size else 0

    cdef int close_full(self, BatchBuilder batch) except -1:
        # Where a thread waits to send it, that is all; else the worker is told.
        if self.lane is None or not self.lane.is_open or self.ready:
            self.close_batch()
            return READY
        self.open_batch = None
        batch.seal()
        if not self.lane.put(batch):
            self.ready.append((batch, batch.count, batch.nbytes))
            return READY
        self.settle()
        return 0

    cdef inline bint has_room(self, Py_ssize_t size) noexcept:
        return self.queued < self.max_spans and size <= self.max_bytes - self.held

    cdef int relieved(self, Py_ssize_t size) except -1:
        # Where there was nothing to be done, somebody else may just have done it.
        cdef object relief = self.relief
        return relief is not None and (relief(size) or self.has_room(size))

    cdef int refuses(self, Py_ssize_t size) except -1:
        # Why so many bytes can't come now, as the counter of dropped ones; 0 where they can.
        if size > self.max_bytes:
            return TOO_LARGE
        while not self.has_room(size):
            if self.settle():
                continue
            if not self.relieved(size):
                return QUEUE_FULL
            if self.closed:  # while it was waited for room
                return SHUTDOWN
        return 0

    cdef int admit(self, object span, bint keep, bint foreign) except -1:
        cdef object readable = span
        while not self.closed and not self.has_room(1):
            if not self.settle() and not self.relieved(1):
                return self.dropped(QUEUE_FULL)
        if self.closed:
            return self.dropped(SHUTDOWN)
        if foreign:
            readable = plain_span(span)
            if readable is None:
                return self.dropped(ENCODE_ERROR)
        return self.put_kept(span, readable, foreign) if keep else self.put_encoded(readable, foreign)

    cdef inline BatchBuilder batch_to_fill(self):
        cdef BatchBuilder batch
        if self.open_batch is None:
            batch = BatchBuilder.__new__(BatchBuilder, self.redactor)
            if self.open_batch is None:  # making it may have run a finaliser that ended a span
                self.open_batch = batch
        return self.open_batch

    cdef BatchBuilder copy_encoded(self, _Group place, const uint8_t *data, Py_ssize_t size):
        # The batch that a span is copied to; None where there is no memory or all is over. It is the caller's
        # to count.
        cdef BatchBuilder batch
        cdef _Group group
        while True:
            batch = self.batch_to_fill()
            group = batch.last
            if group is None or not group.holds(<PyObject *> place.resource, <PyObject *> place.scope):
                group = batch.find_listed(<PyObject *> place.resource, <PyObject *> place.scope)
            if not batch.sealed:  # while the table ran
                return batch if not self.is_over and batch.copy(group, data, size) else None

    cdef int put_encoded(self, object span, bint plain) except -1:
        cdef BatchBuilder batch
        cdef Py_ssize_t size
        while not self.closed:  # here, too: in each round it may have been waited for room
            batch = self.batch_to_fill()
            size = batch.put(<PyObject *> span, plain, self.max_bytes - self.held)
            if size == BAIL and not plain:
                plain = True
                span = plain_span(span)
                if span is None:
                    return self.dropped(ENCODE_ERROR)
            elif size != SEALED and not self.gets_room(size, batch.refused):
                break
        else:
            return self.dropped(SHUTDOWN)
        if size == OVER_LIMIT:
            return self.dropped(TOO_LARGE if batch.refused > self.max_bytes else QUEUE_FULL)
        if size < 0:
            return self.dropped(ENCODE_ERROR)
        return self.count_in(batch, size)

    cdef int close_batch(self) except -1:
        cdef BatchBuilder batch = self.open_batch
        self.open_batch = None
        if batch is not None:
            batch.seal()  # an empty one as well: a span may be on its way into it
            if batch.count:
                self.ready.append((batch, batch.count, batch.nbytes))
        return 0

    cdef Py_ssize_t measure(self, object span, object readable, bint plain) except -1:
        # The size of a span that is kept as it is: written to scratch memory for that alone.
        cdef Py_ssize_t size
        self.scratch.pos = 0
        if put_span(&self.scratch, <PyObject *> readable, plain, NULL) == BAIL and not plain:
            readable = plain_span(span)
            self.scratch.pos = 0
            if readable is not None:
                put_span(&self.scratch, <PyObject *> readable, True, NULL)
        size = self.scratch.pos
        if self.scratch.cap > (1 << 20):
            free(self.scratch.data)
            self.scratch = Writer(NULL, 0, 0, False)
        return size

    cdef int put_kept(self, object span, object readable, bint plain) except -1:
        cdef Py_ssize_t size = self.measure(span, readable, plain)
        if not size:
            return self.dropped(ENCODE_ERROR)
        while size > self.max_bytes - self.held:
            if size > self.max_bytes:
                return self.dropped(TOO_LARGE)
            if not self.settle() and not self.relieved(size):
                return self.dropped(QUEUE_FULL)
        if self.closed:  # while it was waited for room
            return self.dropped(SHUTDOWN)
        self.keep_span(span, size)
        self.queued += 1
        self.held += size
        return self.close_kept_if_full()

    cdef int keep_span(self, object span, Py_ssize_t size) except -1:
        self.interrupt()
        self.kept.append(span)
        self.kept_bytes += size
        return 0

    cdef int close_kept_if_full(self) except -1:
        if len(self.kept) < self.batch_size:
            return 0
        self.close_kept()
        return READY

    cdef int close_kept(self) except -1:
        cdef list fresh = []
        cdef list kept = self.kept
        cdef Py_ssize_t nbytes = self.kept_bytes
        if kept:
            self.kept, self.kept_bytes = fresh, 0
            self.ready.append((kept, len(kept), nbytes))
        return 0

    def take(self, bint partial=True):
        """The next batch as (BatchBuilder or list of kept spans, spans, bytes), or None.

        ``partial`` closes the open ones too. It counts as in flight until ``done()``.
        """
        self.settle()
        self.take_back()
        if not self.ready and partial:
            self.close_batch()
            self.close_kept()
        try:
            taken = self.ready.popleft()
        except IndexError:
            return None
        self.queued -= taken[1]
        self.sending += taken[1]
        return taken

    def done(self, Py_ssize_t spans, Py_ssize_t nbytes):
        """What was taken has been accounted for; its bytes no longer count."""
        self.sending -= spans
        self.held -= nbytes

    # --- sent by the lane

    @property
    def can_send(self):
        """Whether ``send_full()`` works here."""
        return bool(otlpfast_exchanges)

    def send_full(self, int descriptor, bytes head, Py_ssize_t limit, double timeout, double until, wanted):
        """Sends each batch that gets full from now on, as one HTTP request, without the GIL.

        It returns once ``interrupt()`` was called, at ``until``, or for a batch whose answer is not just that
        all spans were taken: no counter but ``exported`` is touched here.

        Args:
            descriptor: a connected socket, which nobody else uses meanwhile.
            head: the request's head up to the value of Content-Length.
            limit: bytes that a request may have, 0 for no limit.
            timeout: seconds for one request with its answer.
            until: seconds of the monotonic clock.
            wanted: asked once from when on ``interrupt()`` has an effect; False where it is too late.

        Returns:
            None, or of the batch that is left: what ``take()`` gives, by when its time is up, whether the
            whole request was sent, and what came of the answer.
        """
        cdef _Lane lane = self.lane
        cdef int64_t nanoseconds = <int64_t> (timeout * 1e9)
        cdef int64_t end = <int64_t> (until * 1e9)
        cdef bint is_left = False
        cdef object found = None
        cdef PaddedCounters counters = self.counters
        if lane is None:
            lane = self.lane = _Lane.__new__(_Lane)
        if lane.is_open or self.kept:  # for these there is a timer
            return None
        lane.open(head, limit)
        try:
            self.put_ready(lane)
            if wanted() and not self.ready:
                with nogil:
                    is_left = lane.run(descriptor, nanoseconds, end, counters)
        finally:
            lane.is_open = False
            self.settle()
            self.take_back()
            if is_left:
                found = lane.take_last()
            lane.sent = lane.settled = lane.moved = lane.last
        return found

    cpdef interrupt(self):
        """Has ``send_full()`` return, once it has its answer, if it runs."""
        if self.lane is not None and self.lane.is_open:
            self.lane.stop()

    cdef bint settle(self) noexcept:
        # Brings the sums up to what the lane's sender has done; whether it has done anything.
        cdef _Lane lane = self.lane
        cdef Parcel *parcel
        cdef uint64_t sent, claimed
        cdef bint changed = False
        if lane is None:
            return False
        sent = load(&lane.sent)
        claimed = load(&lane.claimed)
        while lane.moved < claimed:
            parcel = lane.at(lane.moved)
            lane.moved += 1
            if parcel.count:
                self.queued -= parcel.spans
                self.sending += parcel.spans
                changed = True
        while lane.settled < sent:
            parcel = lane.at(lane.settled)
            lane.settled += 1
            if parcel.count:
                self.sending -= parcel.spans
                self.held -= parcel.nbytes
                lane.let_go(parcel)
                changed = True
        return changed

    cdef int put_ready(self, _Lane lane) except -1:
        # As far as the lane takes them.
        cdef tuple waiting
        while self.ready:
            waiting = self.ready[0]
            if not isinstance(waiting[0], BatchBuilder) or not lane.put(waiting[0]):
                break
            self.ready.popleft()
        return 0

    cdef int take_back(self) except -1:
        cdef list taken
        if self.lane is not None and load(&self.lane.claimed) != self.lane.last:
            taken = self.lane.take_back()
            taken.reverse()
            self.ready.extendleft(taken)
        return 0

    def close(self):
        """From now on every span is dropped as ``shutdown``."""
        self.closed = self.is_detour = True

    # --- with a tail sampler

    def on_start(self, span, parent_context=None):
        """Learns that a span has started, so that its trace is not decided on before that has ended.

        Never raises.
        """
        self.watch(<PyObject *> span)

    cdef int watch(self, PyObject *span) except -1:
        cdef Traits traits
        cdef object readable
        if self.tail is None:
            return 0
        if read_beginning(span, &traits) != OK:
            readable = plain_span(<object> span)
            if readable is None or read_beginning(<PyObject *> readable, &traits) != OK:
                return 0
        if traits.ids.flags & 1 and not self.closed and self.forks == otlpfast_forks:
            self.tail.open(&traits)
        return 0

    def decide(self, waited=None):
        """Decides on traces that have waited for so long or longer, oldest first, until a batch is full.

        Args:
            waited: seconds; by default as long as the tail sampler waits.

        Returns:
            bool: whether there may be more; what is waiting now is to be taken before.
        """
        cdef int64_t since
        cdef int32_t number
        if self.tail is None:
            return False
        # Never a time of Python's, whose monotonic clock may be another.
        since = monotonic_ns() - (self.tail.patience if waited is None else <int64_t> (waited * 1e9))
        while True:
            self.settle()
            number = self.tail.oldest_since(since)
            if number == NOWHERE:
                return False
            if self.queued and (
                self.queued >= self.batch_size or not self.has_room(self.tail.bytes_of(number))
            ):
                return True
            decide_on(self, self.tail, number, True, 0)

    def next_decision(self):
        """In how many seconds ``decide()`` is due, for all that is known now."""
        return INFINITY if self.tail is None else self.tail.next_decision() * 1e-9

    def discard(self, reason):
        """Drops all that waits, for this reason; returns how many.

        On traces that wait it is decided first: what would not have been kept is none of those.
        """
        total = 0
        self.is_over = True
        if self.tail is not None:
            total = drop_undecided(self, self.tail, self.counters.find(reason))
        while (taken := self.take()) is not None:
            self.counters.add(reason, taken[1])
            self.done(taken[1], taken[2])
            total += taken[1]
        return total

    cdef int start_anew(self) noexcept:
        # In a forked child: the parent's spans are the parent's. Making the new containers and dropping the
        # old ones can run finalisers that end spans: in between, all is changed at once.
        cdef object fresh_ready, ready
        cdef list fresh_kept, kept
        cdef BatchBuilder open_batch
        cdef _Lane lane
        cdef _Tail tail = self.tail, fresh_tail = None
        try:
            fresh_kept, fresh_ready = [], deque()
            if tail is not None:
                fresh_tail = _Tail(tail.sampler, self.redactor)
        except MemoryError:
            return 0  # the next one tries again
        if self.forks == otlpfast_forks:
            return 0
        self.forks = otlpfast_forks
        open_batch, kept, ready = self.open_batch, self.kept, self.ready
        self.open_batch, self.kept, self.ready = None, fresh_kept, fresh_ready
        lane, self.lane = self.lane, None
        tail, self.tail = self.tail, fresh_tail
        self.kept_bytes = self.queued = self.held = self.sending = 0
        self.counters.reset()
        return FORKED

    def after_fork(self):
        """Forgets what a parent process had queued, if this is a new child; True where it was."""
        return self.forks != otlpfast_forks and self.start_anew() == FORKED


cdef int probably_sampled(object span) except -1:
    # The public way, for spans that are not the SDK's own classes.
    try:
        return bool(span.context and int(span.context.trace_flags) & 1)
    except Exception:
        return True


def encode_spans(spans):
    """Spans as a serialised ``opentelemetry.proto.collector.trace.v1.ExportTraceServiceRequest``.

    Args:
        spans: any iterable of ReadableSpan, or of objects with its properties.

    Returns:
        bytes: grouped by resource and scope. A span without valid ids is left out; no other span ever is, and
            none raises.
    """
    cdef BatchBuilder batch = BatchBuilder.__new__(BatchBuilder)
    for span in spans:
        batch.add(span)
    return b"".join(request_parts(batch.finish()))
