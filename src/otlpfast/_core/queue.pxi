# From ended spans to batches: encoded at once, grouped by resource and scope, counted, bounded.
#
# A put() may be interrupted by another one only where Python code can run: before the queue is touched
# (plain_span, the scope table) or never. So there is no lock, and a signal handler or finaliser that ends a
# span finds the queue whole.

if otlpfast_watch_forks():
    raise MemoryError("pthread_atfork")

_buffer_pool = BufferPool()
_scope_table = ScopeTable(encode_resource, encode_scope)


@cython.final
@cython.no_gc
cdef class _Group:
    # The spans of one batch that share a resource and a scope.
    cdef object entry
    cdef object resource
    cdef object scope
    cdef list buffers
    cdef SpanBuffer tail
    cdef Py_ssize_t count

    cdef inline bint holds(self, PyObject *resource, PyObject *scope) noexcept:
        return <PyObject *> self.resource == resource and <PyObject *> self.scope == scope

    cdef inline bint lacks_room(self, Py_ssize_t wanted) noexcept:
        # A new buffer, once little is left of the last: then no span is moved for lack of room and no buffer
        # is half empty.
        return self.tail is None or (
            self.tail.out.pos and self.tail.out.cap - self.tail.out.pos < <size_t> wanted
        )

    cdef bint make_room(self) noexcept:
        # False where there is no memory.
        cdef SpanBuffer fresh
        try:
            fresh = (<BufferPool> _buffer_pool).acquire()
            self.buffers.append(fresh)
        except MemoryError:
            return False
        self.tail = fresh
        return True


cdef enum:  # beside the encoder's outcomes
    OVER_LIMIT = -3
    SEALED = -4


@cython.final
cdef class BatchBuilder:
    """Encodes spans into one batch, grouped by resource and scope in the order of their first span."""

    cdef list groups
    cdef dict by_key
    cdef _Group last
    cdef bint sealed
    cdef Py_ssize_t refused
    cdef Py_ssize_t usual_size
    cdef readonly Py_ssize_t count
    cdef readonly Py_ssize_t nbytes

    def __cinit__(self):
        self.groups = []
        self.by_key = {}
        self.usual_size = 256

    cdef _Group find(self, PyObject *span):
        # The group of the span's resource and scope, by identity; by the table (which may run Python code)
        # the first time.
        cdef PyObject *resource
        cdef PyObject *scope
        cdef _Group group = self.last
        cdef _Origin origin
        if is_own_span(span):
            origin = (<_NativeSpan> span).origin
            if group is not None and group.holds(<PyObject *> origin.resource, <PyObject *> origin.scope):
                return group
            return self.find_listed(<PyObject *> origin.resource, <PyObject *> origin.scope)
        resource = field(span, F_RESOURCE)
        scope = field(span, F_SCOPE)
        try:
            if group is not None and group.holds(resource, scope):
                return group
            return self.find_listed(resource, scope)
        finally:
            drop(resource)
            drop(scope)

    cdef _Group find_listed(self, PyObject *resource, PyObject *scope):
        cdef _Group group
        for group in self.groups:
            if group.holds(resource, scope):
                return group
        return self.find_equal(<object> resource if resource else None, <object> scope if scope else None)

    cdef _Group find_equal(self, resource, scope):
        cdef _Group group, fresh
        entry = _scope_table.entry(resource, scope)
        fresh = _Group.__new__(_Group)
        fresh.buffers = []
        fresh.entry, fresh.resource, fresh.scope = entry, resource, scope
        alike = self.by_key.setdefault(entry.key, [])
        for group in alike:
            if entry.is_same(group.entry):
                return group
        alike.append(fresh)
        return fresh  # put() lists it, once it has a span

    cdef Py_ssize_t put(self, PyObject *span, bint plain, Py_ssize_t limit) except? -9:
        # The span's size in bytes, once it is in, or why it is not: BAIL, NO_MEMORY, OVER_LIMIT, or SEALED
        # where that happened to the batch while the table ran.
        cdef _Group group = self.find(span)
        if self.sealed:
            return SEALED
        return self.write(group, span, plain, limit)

    cdef inline Py_ssize_t write(
        self, _Group group, PyObject *span, bint plain, Py_ssize_t limit
    ) except? -9:
        cdef Writer *w
        cdef size_t before
        cdef Py_ssize_t size
        cdef int outcome
        if group.lacks_room(self.usual_size) and not group.make_room():
            return NO_MEMORY
        w = &group.tail.out
        before = w.pos
        outcome = put_span(w, span, plain)
        if outcome != OK:
            return outcome
        size = w.pos - before
        if size > limit:
            w.pos = before
            self.refused = size
            return OVER_LIMIT
        self.usual_size = size + 64 if size < 2048 else 2048
        if not group.count:
            self.groups.append(group)
        if self.last is not group:
            self.last = group
        group.tail.count += 1
        group.count += 1
        self.count += 1
        self.nbytes += size
        return size

    def add(self, span):
        """Encodes a ReadableSpan; its size in bytes, or 0 where it has no valid ids or there is no memory.

        Never raises.
        """
        cdef Py_ssize_t size = BAIL
        if is_known_span(<PyObject *> span):
            size = self.put(<PyObject *> span, False, PY_SSIZE_T_MAX)
        if size == BAIL:
            span = plain_span(span)
            size = 0 if span is None else self.put(<PyObject *> span, True, PY_SSIZE_T_MAX)
        return max(size, 0)

    cdef void seal(self) noexcept:
        cdef _Group group
        self.sealed = True
        for group in self.groups:
            if group.tail is not None:
                group.tail.shrink()

    def finish(self):
        """Ends the batch: a list of (entry, views, count), one a group that has spans."""
        cdef _Group group
        self.seal()
        groups = self.groups
        return [(group.entry, [buffer.view() for buffer in group.buffers], group.count) for group in groups]


cdef enum:
    READY = 1  # a batch is full: wake the worker
    DROPPED = 2  # a span was dropped: a warning may be due
    FORKED = 4  # this is a new child process: what the parent had queued was forgotten

cdef enum:  # the counters, in the order of _account.ACCOUNT
    ENDED, EXPORTED, REJECTED, SPOOLED, QUEUE_FULL, SHUTDOWN, TOO_LARGE, EXPORT_FAILED, ENCODE_ERROR, FORK


@cython.final
cdef class SpanQueue:
    """Spans that wait for export: encoded, grouped and counted; bounded in spans and bytes.

    Args:
        max_spans: how many spans may wait.
        max_bytes: how many bytes of encoded spans may wait or be under way.
        batch_size: how many spans make a full batch.
    """

    cdef readonly Py_ssize_t max_spans, max_bytes, batch_size
    cdef readonly Py_ssize_t waiting, nbytes, in_flight
    cdef readonly PaddedCounters counters
    cdef readonly bint closed
    cdef public bint attended  # a thread takes what is put here
    cdef public object relief  # called where a span finds no room for its bytes: True once there may be
    cdef BatchBuilder open_batch
    cdef list kept
    cdef Py_ssize_t kept_bytes
    cdef object ready
    cdef Writer scratch
    cdef int forks

    def __cinit__(self, Py_ssize_t max_spans, Py_ssize_t max_bytes, Py_ssize_t batch_size):
        self.max_spans, self.max_bytes, self.batch_size = max_spans, max_bytes, batch_size
        self.counters = PaddedCounters(ACCOUNT)
        self.ready = deque()
        self.kept = []
        self.forks = otlpfast_forks

    def __dealloc__(self):
        free(self.scratch.data)

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
            batch is None or self.closed or self.forks != otlpfast_forks or span.is_odd
            or self.waiting >= self.max_spans or self.nbytes >= self.max_bytes
        ):
            return self.put(span)
        group = batch.last
        if group is None or not group.holds(
            <PyObject *> span.origin.resource, <PyObject *> span.origin.scope
        ):
            return self.put(span)
        size = batch.write(group, <PyObject *> span, False, self.max_bytes - self.nbytes)
        if size < 0:
            return self.put(span)
        self.counters.count(ENDED)
        return self.count_in(batch, size)

    cdef int gets_room(self, Py_ssize_t outcome, Py_ssize_t size) except -1:
        return outcome == OVER_LIMIT and size <= self.max_bytes and self.relieved(size)

    cdef int count_in(self, BatchBuilder batch, Py_ssize_t size) except -1:
        self.waiting += 1
        self.nbytes += size
        if batch.count >= self.batch_size:
            self.close_batch()
            return READY
        return 0

    cdef inline bint has_room(self, Py_ssize_t size) noexcept:
        return self.waiting < self.max_spans and size <= self.max_bytes - self.nbytes

    cdef int relieved(self, Py_ssize_t size) except -1:
        # Where there was nothing to be done, somebody else may just have done it.
        cdef object relief = self.relief
        return relief is not None and (relief(size) or self.has_room(size))

    cdef int admit(self, object span, bint keep, bint foreign) except -1:
        cdef object readable = span
        while not self.closed and not self.has_room(1):
            if not self.relieved(1):
                return self.dropped(QUEUE_FULL)
        if self.closed:
            return self.dropped(SHUTDOWN)
        if foreign:
            readable = plain_span(span)
            if readable is None:
                return self.dropped(ENCODE_ERROR)
        return self.put_kept(span, readable, foreign) if keep else self.put_encoded(readable, foreign)

    cdef int put_encoded(self, object span, bint plain) except -1:
        cdef BatchBuilder batch
        cdef Py_ssize_t size
        while not self.closed:  # here, too: in each round it may have been waited for room
            if self.open_batch is None:
                batch = BatchBuilder.__new__(BatchBuilder)
                if self.open_batch is None:  # making it may have run a finaliser that ended a span
                    self.open_batch = batch
            batch = self.open_batch
            size = batch.put(<PyObject *> span, plain, self.max_bytes - self.nbytes)
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
        if batch is not None and batch.count:
            batch.seal()
            self.ready.append((batch, batch.count, batch.nbytes))
        return 0

    cdef int put_kept(self, object span, object readable, bint plain) except -1:
        # Written to scratch memory for its size alone.
        cdef Py_ssize_t size
        self.scratch.pos = 0
        if put_span(&self.scratch, <PyObject *> readable, plain) == BAIL and not plain:
            readable = plain_span(span)
            if readable is None:
                return self.dropped(ENCODE_ERROR)
            self.scratch.pos = 0
            put_span(&self.scratch, <PyObject *> readable, True)
        size = self.scratch.pos
        if self.scratch.cap > (1 << 20):
            free(self.scratch.data)
            self.scratch = Writer(NULL, 0, 0, False)
        while size > self.max_bytes - self.nbytes:
            if size > self.max_bytes:
                return self.dropped(TOO_LARGE)
            if not self.relieved(size):
                return self.dropped(QUEUE_FULL)
        if self.closed:  # while it was waited for room
            return self.dropped(SHUTDOWN)
        self.kept.append(span)
        self.kept_bytes += size
        self.waiting += 1
        self.nbytes += size
        if len(self.kept) >= self.batch_size:
            self.close_kept()
            return READY
        return 0

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
        if not self.ready and partial:
            self.close_batch()
            self.close_kept()
        try:
            taken = self.ready.popleft()
        except IndexError:
            return None
        self.waiting -= taken[1]
        self.in_flight += taken[1]
        return taken

    def done(self, Py_ssize_t spans, Py_ssize_t nbytes):
        """What was taken has been accounted for; its bytes no longer count."""
        self.in_flight -= spans
        self.nbytes -= nbytes

    def close(self):
        """From now on every span is dropped as ``shutdown``."""
        self.closed = True

    def discard(self, reason):
        """Drops all that waits, for this reason; returns how many."""
        total = 0
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
        try:
            fresh_kept, fresh_ready = [], deque()
        except MemoryError:
            return 0  # the next one tries again
        if self.forks == otlpfast_forks:
            return 0
        self.forks = otlpfast_forks
        open_batch, kept, ready = self.open_batch, self.kept, self.ready
        self.open_batch, self.kept, self.ready = None, fresh_kept, fresh_ready
        self.kept_bytes = self.waiting = self.nbytes = self.in_flight = 0
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
