# What a thread is at work on: its span and its asyncio task, read with the GIL held.

cdef extern from *:
    """
    /* The low 128 bits of an int that is not negative; false for any other. */
    static int otlpfast_read_id(PyObject *number, uint64_t *high, uint64_t *low) {
        unsigned char bytes[16];
        if (!PyLong_Check(number)) return 0;
    #if PY_VERSION_HEX >= 0x030D0000
        if (_PyLong_AsByteArray((PyLongObject *)number, bytes, 16, 0, 0, 0) < 0) {
    #else
        if (_PyLong_AsByteArray((PyLongObject *)number, bytes, 16, 0, 0) < 0) {
    #endif
            PyErr_Clear();
            return 0;
        }
        *high = *low = 0;
        for (int i = 0; i < 8; i++) {
            *high = *high << 8 | bytes[i];
            *low = *low << 8 | bytes[8 + i];
        }
        return 1;
    }
    """
    bint read_id "otlpfast_read_id"(object number, uint64_t *high, uint64_t *low) noexcept

cdef extern from "Python.h":
    PyObject *PyDict_GetItemWithError(object mapping, object key) except? NULL

cdef struct Work:
    uint64_t trace_high, trace_low, span
    PyObject *task  # its name, or NULL
    uint32_t thread  # number of its label


@cython.final
cdef class _WorkTable:
    # What threads were at work on, each kept once under a number from 1.

    cdef:
        Work *works  # a reference to the name of each task is kept
        PyObject **names  # of the spans, as last seen
        uint32_t used, most, slot_mask
        uint32_t *slots

    def __cinit__(self, uint32_t most):
        cdef uint32_t slots = 64
        while slots < 2 * most:
            slots *= 2
        self.most = most
        self.slot_mask = slots - 1
        self.slots = <uint32_t *> calloc(slots, sizeof(uint32_t))
        self.works = <Work *> malloc(most * sizeof(Work))
        self.names = <PyObject **> calloc(most, sizeof(PyObject *))
        if self.slots == NULL or self.works == NULL or self.names == NULL:
            raise MemoryError

    def __dealloc__(self):
        cdef uint32_t i
        for i in range(self.used):
            Py_XDECREF(self.works[i].task)
            Py_XDECREF(self.names[i])
        free(self.works)
        free(self.names)
        free(self.slots)

    cdef uint32_t intern(self, Work *work, uint32_t most) noexcept:
        # 0 if there are as many as `most` already.
        cdef uint64_t hash = _mixed(_mixed(work.trace_high, work.trace_low), work.span)
        cdef uint32_t slot, number
        hash = _mixed(_mixed(hash, <uint64_t> <uintptr_t> work.task), work.thread)
        slot = hash & self.slot_mask
        while self.slots[slot]:
            number = self.slots[slot]
            if self.is_same(&self.works[number - 1], work):
                return number
            slot = (slot + 1) & self.slot_mask
        if self.used >= most:
            return 0
        Py_XINCREF(work.task)
        self.works[self.used] = work[0]
        self.used += 1
        self.slots[slot] = self.used
        return self.used

    cdef inline bint is_same(self, const Work *a, const Work *b) noexcept:
        return (
            a.span == b.span and a.trace_low == b.trace_low and a.trace_high == b.trace_high
            and a.task == b.task and a.thread == b.thread
        )

    cdef int set_name(self, uint32_t number, object name) except -1:
        # It may change as long as the span lives.
        cdef PyObject *before = self.names[number - 1]
        if before != <PyObject *> name:
            Py_INCREF(name)
            self.names[number - 1] = <PyObject *> name
            Py_XDECREF(before)
        return 0


cdef object _read_span(object context, object variable, object key, Work *work):
    # Puts the ids of a contextvars.Context's current span there, and returns its name; None: there is none.
    cdef PyObject *found
    cdef uint64_t high, low, unused, span_low
    if variable not in context:
        return None
    values = context[variable]
    found = PyDict_GetItemWithError(values, key) if isinstance(values, dict) else NULL
    if found == NULL:
        return None
    span = <object> found
    ids = getattr(span, "_context", None)
    if type(ids) is not SpanContext:
        ids = span.get_span_context()
    if type(ids) is SpanContext:  # whose properties are Python code
        trace_id, span_id = (<tuple> ids)[0], (<tuple> ids)[1]
    else:
        trace_id, span_id = ids.trace_id, ids.span_id
    if not read_id(trace_id, &high, &low) or not read_id(span_id, &unused, &span_low):
        return None
    if not (high or low) or not span_low:
        return None
    work.trace_high, work.trace_low, work.span = high, low, span_low
    return getattr(span, "name", None)
