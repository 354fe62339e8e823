# Recycled memory. One rule for all pools: a block whose capacity grew past 4 times the initial one is freed,
# not kept; what is kept holds no reference; a pool keeps at most max_size blocks. Blocks come back when the
# object that holds them is released, leaves its `with`, or dies: nobody can forget to put one back.

cdef struct Block:
    void *data
    size_t capacity


@cython.no_gc
cdef class _Pool:
    # A stack of free blocks, and what became of the others. Capacities are in the pool's own unit.
    cdef Block *free_blocks
    cdef int idle
    cdef readonly int max_size
    cdef readonly size_t initial_capacity
    cdef size_t unit
    cdef int forks
    cdef readonly int64_t hits, misses, recycled, oversized, discarded

    cdef int setup(self, initial_capacity, max_size, size_t unit) except -1:
        self.initial_capacity = whole_number("initial_capacity", initial_capacity, 1, MAX_CAPACITY)
        self.max_size = whole_number("max_size", max_size, 0, MAX_IDLE)
        self.unit = unit
        self.forks = otlpfast_forks
        self.free_blocks = <Block *> calloc(self.max_size + 1, sizeof(Block))
        if self.free_blocks == NULL:
            raise MemoryError
        return 0

    def __dealloc__(self):
        self.empty()
        free(self.free_blocks)

    cdef void empty(self) noexcept:
        while self.idle:
            self.idle -= 1
            free(self.free_blocks[self.idle].data)

    cdef inline void after_fork(self) noexcept:
        if self.forks != otlpfast_forks:
            self.clear()

    cdef void clear(self) noexcept:
        self.forks = otlpfast_forks
        self.empty()
        self.hits = self.misses = self.recycled = self.oversized = self.discarded = 0

    cdef Block take(self) noexcept:
        # A block of at least the initial capacity; its data is NULL where there is no memory.
        cdef Block block
        self.after_fork()
        if self.idle:
            self.idle -= 1
            self.hits += 1
            return self.free_blocks[self.idle]
        self.misses += 1
        block.capacity = self.initial_capacity
        block.data = malloc(block.capacity * self.unit)
        return block

    cdef void give(self, void *data, size_t capacity) noexcept:
        # Takes over the block. Its content is nobody's business any more: the next owner writes first.
        if data == NULL:
            return
        self.after_fork()
        if capacity > 4 * self.initial_capacity:
            self.oversized += 1
        elif capacity < self.initial_capacity or self.idle >= self.max_size:
            self.discarded += 1
        else:
            self.free_blocks[self.idle] = Block(data, capacity)
            self.idle += 1
            self.recycled += 1
            return
        free(data)

    def stats(self):
        """Counts since the start or the last ``reset()``, and how many blocks are idle now.

        Hits, misses, recycled, oversized (grew past 4 times the initial capacity), discarded (pool was full).
        """
        self.after_fork()
        return {
            "hits": self.hits,
            "misses": self.misses,
            "recycled": self.recycled,
            "oversized": self.oversized,
            "discarded": self.discarded,
            "idle": self.idle,
        }

    def reset(self):
        """Frees the idle blocks and sets the counts to zero, as a forked child does by itself."""
        self.clear()


@cython.no_gc
cdef class _Rows:
    # A growing C array of rows of object references, on memory of a pool.
    cdef _Pool pool
    cdef PyObject **cells
    cdef size_t width
    cdef size_t rows
    cdef size_t row_capacity

    def __init__(self):
        raise TypeError(f"{type(self).__name__} is made by its pool's acquire()")

    def __dealloc__(self):
        self.give_back()

    cdef int start(self, _Pool pool, size_t width) except -1:
        cdef Block block = pool.take()
        if block.data == NULL:
            raise MemoryError
        self.pool = pool
        self.width = width
        self.cells = <PyObject **> block.data
        self.row_capacity = block.capacity
        return 0

    cdef PyObject **next_row(self) except NULL:
        # Room for one more row, which counts only once the caller has filled it and raised self.rows.
        cdef PyObject **grown
        self.check_open()
        if self.rows == self.row_capacity:
            grown = <PyObject **> realloc(self.cells, 2 * self.row_capacity * self.pool.unit)
            if grown == NULL:
                raise MemoryError
            self.cells = grown
            self.row_capacity *= 2
        return self.cells + self.rows * self.width

    cdef void drop_all(self, PyObject **cells, size_t rows) noexcept:
        cdef size_t i
        for i in range(rows * self.width):
            drop(cells[i])

    cdef void give_back(self) noexcept:
        # Finalisers of the values run while the block belongs to nobody; only then does the pool get it.
        cdef PyObject **cells = self.cells
        cdef size_t rows = self.rows
        cdef size_t row_capacity = self.row_capacity
        self.cells = NULL
        self.rows = self.row_capacity = 0
        if cells != NULL:
            self.drop_all(cells, rows)
            self.pool.give(cells, row_capacity)

    def release(self):
        """Gives the memory back to the pool.

        Anything but ``release()``, ``len()`` and ``capacity`` raises ValueError afterwards.
        """
        self.give_back()

    @property
    def capacity(self):
        """How many entries fit before the memory grows; 0 once released."""
        return self.row_capacity

    def __len__(self):
        return self.rows

    def __enter__(self):
        self.check_open()
        return self

    def __exit__(self, *exc_info):
        self.give_back()

    cdef object cell(self, size_t row, size_t column):
        return <object> self.cells[row * self.width + column]

    cdef int check_open(self) except -1:
        if self.cells == NULL:
            raise ValueError(f"this {type(self).__name__} was released")
        return 0


cdef object frozen(object value):
    # What may be kept as it is; all else becomes a plain copy, by code that may run Python.
    cdef type kind = type(value)
    cdef int64_t number
    if value is None or kind is str or kind is bool or kind is float or kind is bytes:
        return value
    if kind is int and otlpfast_int64(<PyObject *> value, &number):
        return value
    return frozen_value(value)


@cython.final
@cython.no_gc
cdef class AttributeArray(_Rows):
    """Attributes in pooled memory, in the order they were added. Made by ``AttributePool.acquire()``."""

    def append(self, key, value):
        """Adds an attribute; the value is copied as ``SpanWrapper`` says.

        TypeError for a key that is not a str.
        """
        if not isinstance(key, str):
            raise TypeError(f"key={key!r}: a str")
        value = frozen(value)
        cdef PyObject **row = self.next_row()
        Py_INCREF(key)
        Py_INCREF(value)
        row[0] = <PyObject *> key
        row[1] = <PyObject *> value
        self.rows += 1

    def items(self):
        """The attributes as a list of (key, value)."""
        cdef size_t i = 0
        self.check_open()
        rows = []
        # Looked at anew each time: making a tuple can run a finaliser that releases this array.
        while i < self.rows:
            key, value = self.cell(i, 0), self.cell(i, 1)
            rows.append((key, value))
            i += 1
        return rows


@cython.final
@cython.no_gc
cdef class EventArray(_Rows):
    """Events in pooled memory, in the order they were added. Made by ``EventPool.acquire()``."""

    def append(self, name, attributes=None, timestamp=None):
        """Adds an event: its name, a mapping of attributes or None, nanoseconds since the epoch or None.

        All are copied as ``SpanWrapper`` says. TypeError where the attributes are no mapping.
        """
        name = plain_text(name)
        attributes = frozen_attributes(attributes)
        cdef PyObject **row = self.next_row()
        Py_INCREF(name)
        Py_INCREF(attributes)
        Py_INCREF(timestamp)
        row[0] = <PyObject *> name
        row[1] = <PyObject *> attributes
        row[2] = <PyObject *> timestamp
        self.rows += 1

    def items(self):
        """The events as a list of (name, attributes, timestamp)."""
        cdef size_t i = 0
        self.check_open()
        rows = []
        while i < self.rows:  # as in AttributeArray.items()
            name, attributes, timestamp = self.cell(i, 0), self.cell(i, 1), self.cell(i, 2)
            rows.append((name, attributes, timestamp))
            i += 1
        return rows


@cython.final
@cython.no_gc
cdef class AttributePool(_Pool):
    """Recycles the memory of attribute arrays.

    Args:
        initial_capacity: attributes that a fresh array has room for. An array that grew past 4 times as many
            is not kept.
        max_size: how many idle arrays are kept.
    """

    def __cinit__(self, initial_capacity=16, max_size=256):
        self.setup(initial_capacity, max_size, 2 * sizeof(PyObject *))

    def acquire(self):
        """An empty AttributeArray; it goes back when it is released, leaves its ``with`` or dies."""
        cdef AttributeArray array = AttributeArray.__new__(AttributeArray)
        array.start(self, 2)
        return array


@cython.final
@cython.no_gc
cdef class EventPool(_Pool):
    """Recycles the memory of event arrays.

    Args:
        initial_capacity: events that a fresh array has room for. An array that grew past 4 times as many is
            not kept.
        max_size: how many idle arrays are kept.
    """

    def __cinit__(self, initial_capacity=4, max_size=256):
        self.setup(initial_capacity, max_size, 3 * sizeof(PyObject *))

    def acquire(self):
        """An empty EventArray; it goes back when it is released, leaves its ``with`` or dies."""
        cdef EventArray array = EventArray.__new__(EventArray)
        array.start(self, 3)
        return array
