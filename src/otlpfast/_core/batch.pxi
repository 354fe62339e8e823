# Spans on their way into one batch: encoded, grouped by resource and scope.

_buffer_pool = BufferPool()
_scope_table = ScopeTable(encode_resource, encode_scope)


cdef object scope_table_of(Redactor redactor):
    if redactor is None:
        return _scope_table
    if redactor.scope_table is None:
        redactor.scope_table = ScopeTable(
            partial(encode_resource, redactor=redactor), partial(encode_scope, redactor=redactor)
        )
    return redactor.scope_table


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
    """Encodes spans into one batch, grouped by resource and scope in the order of their first span.

    ``redactor`` redacts them, and their resources and scopes.
    """

    cdef Redactor redactor
    cdef PyObject *redacts  # the same as the encoder has it
    cdef list groups
    cdef dict by_key
    cdef _Group last
    cdef bint sealed
    cdef Py_ssize_t refused
    cdef Py_ssize_t usual_size
    cdef readonly Py_ssize_t count
    cdef readonly Py_ssize_t nbytes

    def __cinit__(self, Redactor redactor=None):
        self.redactor, self.redacts = redactor, redactor_pointer(redactor)
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
        entry = scope_table_of(self.redactor).entry(resource, scope)
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
        outcome = put_span(w, span, plain, self.redacts)
        if outcome != OK:
            return outcome
        size = w.pos - before
        if size > limit:
            w.pos = before
            self.refused = size
            return OVER_LIMIT
        self.usual_size = size + 64 if size < 2048 else 2048
        self.count_in(group, size)
        return size

    cdef inline int count_in(self, _Group group, Py_ssize_t size) except -1:
        if not group.count:
            self.groups.append(group)
        if self.last is not group:
            self.last = group
        group.tail.count += 1
        group.count += 1
        self.count += 1
        self.nbytes += size
        return 0

    cdef bint copy(self, _Group group, const uint8_t *data, Py_ssize_t size) except -1:
        # A span that is encoded already; False where there is no memory.
        cdef Writer *w
        if group.lacks_room(size) and not group.make_room():
            return False
        w = &group.tail.out
        if not room(w, size):
            w.failed = False
            return False
        put_bytes(w, data, size)
        self.count_in(group, size)
        return True

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
