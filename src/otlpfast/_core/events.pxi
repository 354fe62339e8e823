# Events of a span that lives: rows in pooled memory, with their attributes in slots.

cdef struct EventRow:
    PyObject *name
    PyObject *timestamp  # where it is no int64, NULL otherwise
    int64_t nanoseconds
    Slots attributes

cdef struct Events:
    EventRow *at
    Py_ssize_t count
    Py_ssize_t capacity
    Py_ssize_t dropped

cdef _CellPool _row_pool = _CellPool(4, 256, sizeof(EventRow))


cdef void release_row(EventRow *row) noexcept:
    empty_slots(&row.attributes)
    drop(row.name)
    drop(row.timestamp)
