# Bytes on their way out: written once, then shared read-only until they are sent.

cdef char *_octet_format = b"B"


cdef object octets(object data):
    # A view of any bytes-like object. TypeError for what is none, BufferError for what is not contiguous.
    view = memoryview(data)
    if not view.c_contiguous:
        raise BufferError("a contiguous buffer is allowed")
    return view


cdef uint64_t field_number(object field) except 0:
    return whole_number("field", field, 1, MAX_FIELD)


@cython.final
@cython.no_gc
@cython.freelist(16)
cdef class SpanBuffer:
    """Encoded spans in pooled memory. Made by ``BufferPool.acquire()``.

    While a view of it is alive, its bytes can't change: writing, growing or clearing then raises BufferError.
    A view ends where the bytes ended when it was made; nobody can read or write past it.
    """

    cdef _Pool pool
    cdef Writer out
    cdef int exports
    cdef readonly Py_ssize_t count

    def __init__(self):
        raise TypeError("SpanBuffer is made by BufferPool.acquire()")

    def __dealloc__(self):
        if self.out.data != NULL:
            self.pool.give(self.out.data, self.out.cap)

    cdef int check_writable(self) except -1:
        if self.out.data == NULL:
            raise ValueError("this SpanBuffer was released")
        if self.exports:
            raise BufferError("the buffer has views: release them before it is changed")
        return 0

    def append(self, data):
        """Adds one encoded span, any bytes-like object, contiguous. BufferError while a view is alive."""
        cdef object view = octets(data)
        cdef Py_buffer *source = memoryview_buffer(<PyObject *> view)
        self.check_writable()
        if not room(&self.out, source.len):
            self.out.failed = False
            raise MemoryError
        put_bytes(&self.out, source.buf, source.len)
        self.count += 1

    def clear(self):
        """Empties it and keeps the memory. BufferError while a view is alive."""
        self.check_writable()
        self.out.pos = 0
        self.count = 0

    def release(self):
        """Gives the memory back to the pool. BufferError while a view is alive."""
        if self.out.data != NULL:
            self.check_writable()
            self.pool.give(self.out.data, self.out.cap)
            self.out.data = NULL
            self.out.pos = self.out.cap = 0
            self.count = 0

    def view(self):
        """A read-only memoryview of the bytes written so far."""
        return memoryview(self)

    @property
    def capacity(self):
        """How many bytes fit before the memory grows; 0 once released."""
        return self.out.cap

    def __len__(self):
        return self.out.pos

    cdef void shrink(self) noexcept:
        # Gives up what a half-empty buffer does not need; it costs the buffer its place in the pool.
        cdef void *data
        if self.exports == 0 and self.out.pos and self.out.cap - self.out.pos > self.out.pos:
            data = realloc(self.out.data, self.out.pos)
            if data != NULL:
                self.out.data = <uint8_t *> data
                self.out.cap = self.out.pos

    def __getbuffer__(self, Py_buffer *view, int flags):
        if self.out.data == NULL:
            raise ValueError("this SpanBuffer was released")
        if flags & PyBUF_WRITABLE:
            raise BufferError("the buffer is read-only")
        # By hand: PyBuffer_FillInfo() would forget the reference that Cython has put into view.obj.
        view.buf = self.out.data
        view.obj = self
        view.len = self.out.pos
        view.itemsize = 1
        view.readonly = 1
        view.ndim = 1
        view.format = _octet_format if flags & PyBUF_FORMAT else NULL
        view.shape = &view.len if flags & PyBUF_ND else NULL
        view.strides = &view.itemsize if flags & PyBUF_STRIDES == PyBUF_STRIDES else NULL
        view.suboffsets = NULL
        view.internal = NULL
        self.exports += 1

    def __releasebuffer__(self, Py_buffer *view):
        self.exports -= 1


@cython.final
@cython.no_gc
cdef class BufferPool(_Pool):
    """Recycles the memory of span buffers.

    Args:
        initial_capacity: bytes that a fresh buffer has room for. A buffer that grew past 4 times as many is
            not kept.
        max_size: how many idle buffers are kept.
    """

    def __cinit__(self, initial_capacity=16384, max_size=64):
        self.setup(initial_capacity, max_size, 1)

    def acquire(self):
        """An empty SpanBuffer; its memory goes back when it is released or dies, once no view is alive."""
        cdef SpanBuffer buffer = SpanBuffer.__new__(SpanBuffer)
        cdef Block block = self.take()
        if block.data == NULL:
            raise MemoryError
        buffer.pool = self
        buffer.out = Writer(<uint8_t *> block.data, 0, block.capacity, False)
        return buffer


@cython.final
cdef class WireWriter:
    """Writes one protobuf message: https://protobuf.dev/programming-guides/encoding/

    Field numbers are 1 to 2**29 - 1. ``begin(field)`` opens a nested message and ``end()`` closes the
    innermost one. A call that raises writes nothing.
    """

    cdef Writer out
    cdef list open_messages

    def __cinit__(self):
        self.open_messages = []
        if not grow(&self.out, 64):
            raise MemoryError

    def __dealloc__(self):
        free(self.out.data)

    cdef int tag(self, object field, int wire_type, size_t payload) except -1:
        # Asks for room for the payload too.
        cdef uint64_t number = field_number(field)
        if not room(&self.out, payload + 16):
            self.out.failed = False
            raise MemoryError
        put_varint(&self.out, number << 3 | wire_type)
        return 0

    def write_varint(self, field, number):
        """An int of 64 bits, signed (two's complement) or unsigned; OverflowError beyond."""
        cdef object exact = PyNumber_Index(number)
        cdef uint64_t value = <uint64_t> <int64_t> exact if exact < 0 else exact
        self.tag(field, 0, 10)
        put_varint(&self.out, value)

    def write_fixed32(self, field, number):
        """An unsigned int of 32 bits, 4 bytes; OverflowError beyond."""
        cdef uint32_t value = PyNumber_Index(number)
        self.tag(field, 5, 4)
        put_fixed32(&self.out, value)

    def write_fixed64(self, field, number):
        """An unsigned int of 64 bits, 8 bytes; OverflowError beyond."""
        cdef uint64_t value = PyNumber_Index(number)
        self.tag(field, 1, 8)
        put_fixed64(&self.out, value)

    def write_double(self, field, double number):
        """A float, 8 bytes."""
        self.tag(field, 1, 8)
        put_double(&self.out, number)

    def write_bytes(self, field, data):
        """Any bytes-like object, contiguous."""
        cdef object view = octets(data)
        cdef Py_buffer *source = memoryview_buffer(<PyObject *> view)
        self.tag(field, 2, source.len + 10)
        put_varint(&self.out, source.len)
        put_bytes(&self.out, source.buf, source.len)

    def write_string(self, field, text):
        """Text as UTF-8; lone surrogates become U+FFFD."""
        cdef uint64_t number = field_number(field)
        if not isinstance(text, str):
            raise TypeError(f"text={text!r}: a str is allowed")
        if not put_text(&self.out, number << 3 | 2, <PyObject *> text):
            self.out.failed = False
            raise MemoryError

    def begin(self, field):
        """Opens a nested message."""
        self.tag(field, 2, 1)
        self.open_messages.append(begin(&self.out, 1))

    def end(self):
        """Closes the innermost open message; IndexError where none is open."""
        if not self.open_messages:
            raise IndexError("no message is open")
        if not end(&self.out, self.open_messages[len(self.open_messages) - 1], 1):
            self.out.failed = False
            raise MemoryError
        self.open_messages.pop()

    def finish(self):
        """The bytes written; ValueError while a message is open."""
        if self.open_messages:
            raise ValueError(f"{len(self.open_messages)} messages are still open: end() them first")
        return PyBytes_FromStringAndSize(<char *> self.out.data, self.out.pos)
