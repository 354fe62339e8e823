# Events and links of a span that lives: rows in pooled memory, with their attributes in slots.

cdef struct Row:
    PyObject *subject  # an event's name, or a link's SpanContext
    PyObject *timestamp  # where it is no int64, NULL otherwise
    int64_t nanoseconds
    Slots attributes

cdef struct Rows:
    Row *at
    Py_ssize_t count
    Py_ssize_t capacity
    Py_ssize_t dropped

cdef _CellPool _row_pool = _CellPool(4, 256, sizeof(Row))


cdef void release_row(Row *row) noexcept:
    empty_slots(&row.attributes)
    drop(row.subject)
    drop(row.timestamp)


cdef void empty_rows(Rows *rows) noexcept:
    cdef Rows old = rows[0]
    cdef Py_ssize_t i
    rows.at = NULL
    rows.count = rows.capacity = 0
    for i in range(old.count):
        release_row(&old.at[i])
    _row_pool.give(old.at, old.capacity)


cdef bint room_for_row(Rows *rows) noexcept:
    cdef Block block
    cdef Row *grown
    if rows.count < rows.capacity:
        return True
    if rows.at == NULL:
        block = _row_pool.take()
        rows.at = <Row *> block.data
        rows.capacity = block.capacity if block.data != NULL else 0
        return block.data != NULL
    grown = <Row *> realloc(rows.at, 2 * rows.capacity * sizeof(Row))
    if grown == NULL:
        return False
    rows.at = grown
    rows.capacity *= 2
    return True


cdef bint place_row(Rows *rows, Row *row, Py_ssize_t most) noexcept:
    # Takes over what the row holds, unless it answers False: there is no memory. The oldest goes where there
    # is no room for one more.
    cdef Row old
    if not room_for_row(rows):
        return False
    memset(&old, 0, sizeof(Row))
    if most > 0 and rows.count >= most:
        old = rows.at[0]
        rows.count -= 1
        memmove(rows.at, rows.at + 1, rows.count * sizeof(Row))
        rows.dropped += 1
    rows.at[rows.count] = row[0]
    rows.count += 1
    release_row(&old)
    return True
