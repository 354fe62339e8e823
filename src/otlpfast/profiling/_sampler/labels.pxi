# What names the request that a thread works for: see labels.h.

cdef extern from "_sampler/glance.h":
    ctypedef struct Glance "otlpfast_glance":
        pass
    void otlpfast_look(Glance *glance) noexcept nogil

cdef extern from "_sampler/labels.h":
    ctypedef struct MapTypes "otlpfast_map_types":
        pass
    ctypedef struct SpanLayout "otlpfast_span_layout":
        PyTypeObject *type
        Py_ssize_t ids, name, odd
    ctypedef struct Labels "otlpfast_labels":
        unsigned char trace_id[16]
        unsigned char span_id[8]
        char span_name[128]
        char task[128]
    ctypedef struct Landmarks "otlpfast_landmarks":
        MapTypes maps
        PyObject *variable
        Py_hash_t variable_hash
        PyTypeObject *context
        PyObject *span_key
        PyTypeObject *span_context
        PyObject *context_name
        PyObject *name_name
        SpanLayout layouts[4]
        int layout_count
        PyTypeObject *task
        Py_ssize_t task_name
        PyObject *current_tasks
        PyObject *loop_key
        Py_ssize_t loop_offset
    enum:
        OTLPFAST_LAYOUTS
    Landmarks otlpfast_marks
    void otlpfast_read_labels(Glance *glance, PyThreadState *thread, Labels *labels) noexcept nogil
    bint otlpfast_is_bare(const Labels *labels) noexcept
    bint otlpfast_are_same(const Labels *a, const Labels *b) noexcept
    uint64_t otlpfast_hash_labels(const Labels *labels) noexcept
    int otlpfast_learn_maps(MapTypes *types) except -1
    Py_ssize_t otlpfast_find_field(object owner, object value) noexcept

cdef tuple _span_marks = ()  # what the landmarks borrow
cdef tuple _task_marks = ()
cdef Glance _own_glance


def learn_spans(variable, context, span_key, span_context, layouts) -> None:
    """By what the current span of a thread is found.

    Args:
        variable: the ContextVar of the current context; None, where that is kept otherwise: no span is found.
        context: the class of contexts.
        span_key: of the span in a context.
        span_context: the class of what a span keeps as ``_context``.
        layouts: of native spans, as ``_core.span_layouts()`` gives them.
    """
    global _span_marks
    cdef int count = 0
    if len(layouts) > OTLPFAST_LAYOUTS:
        raise ValueError(f"{len(layouts)} kinds of native spans: at most {OTLPFAST_LAYOUTS}")
    names = intern("_context"), intern("_name")
    kept = variable, context, span_key, span_context, names, tuple(layouts)
    otlpfast_marks.variable, otlpfast_marks.layout_count = NULL, 0
    otlpfast_learn_maps(&otlpfast_marks.maps)
    for kind, ids, name, odd in layouts:
        otlpfast_marks.layouts[count] = SpanLayout(<PyTypeObject *> kind, ids, name, odd)
        count += 1
    otlpfast_marks.context = <PyTypeObject *> context
    otlpfast_marks.span_key = <PyObject *> span_key
    otlpfast_marks.span_context = <PyTypeObject *> span_context
    otlpfast_marks.context_name, otlpfast_marks.name_name = <PyObject *> names[0], <PyObject *> names[1]
    otlpfast_marks.layout_count = count
    _span_marks = kept
    if variable is not None:
        otlpfast_marks.variable_hash = hash(variable)
        otlpfast_marks.variable = <PyObject *> variable


def learn_tasks(task, name, dict current_tasks, loop) -> None:
    """By what the running asyncio task of a thread is found; called with None for ``task``, none is.

    Args:
        task: one of asyncio's native tasks.
        name: what its ``get_name()`` gives.
        current_tasks: asyncio's own dict of running loops and their tasks.
        loop: the event loop that runs in this thread.
    """
    global _task_marks
    cdef Py_ssize_t at, within = 0
    otlpfast_marks.task = NULL
    if task is None:
        return
    at = otlpfast_find_field(task, name)
    key = intern("__asyncio_running_event_loop__")
    holder = (<object> PyThreadState_GetDict()).get(key, loop)
    if holder is not loop:
        within = otlpfast_find_field(holder, loop)
    if at < 0 or within < 0:
        return  # another asyncio
    kept = type(task), current_tasks, key
    otlpfast_marks.task_name, otlpfast_marks.loop_offset = at, within
    otlpfast_marks.current_tasks, otlpfast_marks.loop_key = <PyObject *> current_tasks, <PyObject *> key
    otlpfast_marks.task = <PyTypeObject *> kept[0]
    _task_marks = kept


cdef list named(const Labels *labels):
    # The labels that are known, as a Sample has them, sorted.
    cdef bint has_span = any(labels.trace_id[:16])
    found = []
    if has_span:
        found.append(("span_id", labels.span_id[:8].hex()))
        if labels.span_name[0]:
            found.append(("span_name", shown((<const char *> labels.span_name).decode())))
    if labels.task[0]:
        found.append(("task", (<const char *> labels.task).decode()))
    if has_span:
        found.append(("trace_id", labels.trace_id[:16].hex()))
    return found


def current_labels() -> dict:
    """The labels of the calling thread, read as a signal handler reads them; {} where nothing can be read."""
    cdef Labels labels
    otlpfast_look(&_own_glance)
    otlpfast_read_labels(&_own_glance, PyThreadState_Get(), &labels)
    return dict(named(&labels))


@cython.final
cdef class LabelTable:
    """Labels that were seen, each set of them under a number from 1; 0 stands for none, or no room.

    Args:
        most: as many different sets are kept.
    """

    cdef:
        Labels *rows  # number - 1 is the index
        uint64_t *hashes  # likewise
        uint32_t *slots  # open addressing: numbers, 0 is free
        uint32_t used, room, most, slot_mask

    def __cinit__(self, uint32_t most=1 << 16):
        cdef uint32_t slots = 64
        if not 0 < most <= 1 << 24:
            raise ValueError(f"most={most}: from 1 to {1 << 24}")
        while slots < 2 * most:
            slots *= 2
        self.most = most
        self.slot_mask = slots - 1
        self.slots = <uint32_t *> calloc(slots, sizeof(uint32_t))
        if self.slots == NULL:
            raise MemoryError

    def __dealloc__(self):
        free(self.rows)
        free(self.hashes)
        free(self.slots)

    def __len__(self) -> int:
        return self.used

    cdef uint32_t intern(self, const Labels *labels) noexcept:
        # The GIL is held. Makes no Python object.
        cdef uint64_t hash = otlpfast_hash_labels(labels)
        cdef uint32_t slot = hash & self.slot_mask
        cdef uint32_t number
        if otlpfast_is_bare(labels):
            return 0
        while self.slots[slot]:
            number = self.slots[slot]
            if self.hashes[number - 1] == hash and otlpfast_are_same(&self.rows[number - 1], labels):
                return number
            slot = (slot + 1) & self.slot_mask
        if self.used == self.most or not self._has_room():
            return 0
        self.rows[self.used], self.hashes[self.used] = labels[0], hash
        self.used += 1
        self.slots[slot] = self.used
        return self.used

    cdef bint _has_room(self) noexcept:
        cdef uint32_t room = 2 * self.room or 256
        cdef void *grown
        if self.used < self.room:
            return True
        grown = realloc(self.rows, room * sizeof(Labels))
        if grown == NULL:
            return False
        self.rows = <Labels *> grown
        grown = realloc(self.hashes, room * sizeof(uint64_t))
        if grown == NULL:
            return False
        self.hashes = <uint64_t *> grown
        self.room = room
        return True

    def labels(self, uint32_t number) -> list:
        """The labels of a number, as a Sample has them: pairs, sorted by their key; none for 0."""
        if number > self.used:
            raise IndexError(f"no labels have number {number}")
        return named(&self.rows[number - 1]) if number else []

    def add_current(self) -> int:
        """The number of the caller's own labels."""
        cdef Labels labels
        otlpfast_look(&_own_glance)
        otlpfast_read_labels(&_own_glance, PyThreadState_Get(), &labels)
        return self.intern(&labels)
