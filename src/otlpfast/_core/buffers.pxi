# Bytes on their way out: written once, then shared read-only until they are sent.

@cython.final
@cython.no_gc
@cython.freelist(16)
cdef class SpanBuffer:
    """Encoded spans in pooled memory. Made by ``BufferPool.acquire()``.

    While a view of it is alive, its bytes can't change: writing, growing or clearing then raises BufferError. A view ends
    where the bytes ended when it was made; nobody can read or write past it.
    """

    cdef _Pool pool
    cdef Writer out
    cdef int exports
    cdef Py_ssize_t viewed_shape
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
        """Adds one encoded span, any bytes-like object. BufferError while a view is alive."""
        cdef const uint8_t[::1] octets = data
        self.check_writable()
        if not room(&self.out, octets.shape[0]):
            raise MemoryError
        if octets.shape[0]:
            put_bytes(&self.out, &octets[0], octets.shape[0])
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
        if PyBuffer_FillInfo(view, self, self.out.data, self.out.pos, 1, flags) < 0:
            return
        self.exports += 1

    def __releasebuffer__(self, Py_buffer *view):
        self.exports -= 1


@cython.final
@cython.no_gc
cdef class BufferPool(_Pool):
    """Recycles the memory of span buffers.

    Args:
        initial_capacity: bytes that a fresh buffer has room for. A buffer that grew past 4 times as many is not kept.
        max_size: how many idle buffers are kept.
    """

    def __cinit__(self, size_t initial_capacity=16384, int max_size=64):
        self.setup(initial_capacity, max_size, 1)

    def acquire(self):
        """An empty SpanBuffer; its memory goes back when it is released or dies, once no view is alive."""
        cdef Block block = self.take()
        cdef SpanBuffer buffer
        if block.data == NULL:
            raise MemoryError
        buffer = SpanBuffer.__new__(SpanBuffer)
        buffer.pool = self
        buffer.out = Writer(<uint8_t *> block.data, 0, block.capacity, False)
        buffer.count = 0
        buffer.exports = 0
        return buffer


@cython.final
cdef class WireWriter:
    """Writes one protobuf message: https://protobuf.dev/programming-guides/encoding/

    Field numbers are 1 to 2**29 - 1. ``begin(field)`` opens a nested message and ``end()`` closes the innermost one.
    """

    cdef Writer out
    cdef list open_messages

    def __cinit__(self):
        self.open_messages = []
        if not grow(&self.out, 64):
            raise MemoryError

    def __dealloc__(self):
        free(self.out.data)

    cdef int tag(self, uint64_t field, int wire_type, size_t payload) except -1:
        if not 1 <= field < (1 << 29):
            raise ValueError(f"field={field!r}: from 1 to {(1 << 29) - 1}")
        if not room(&self.out, payload + 16):
            raise MemoryError
        put_varint(&self.out, field << 3 | wire_type)
        return 0

    def write_varint(self, uint64_t field, number):
        """An int of 64 bits, signed (two's complement) or unsigned; OverflowError beyond."""
        cdef uint64_t value = <uint64_t> <int64_t> number if number < 0 else number
        self.tag(field, 0, 10)
        put_varint(&self.out, value)

    def write_fixed32(self, uint64_t field, uint32_t number):
        """An unsigned int of 32 bits, 4 bytes."""
        self.tag(field, 5, 4)
        put_fixed32(&self.out, number)

    def write_fixed64(self, uint64_t field, uint64_t number):
        """An unsigned int of 64 bits, 8 bytes."""
        self.tag(field, 1, 8)
        put_fixed64(&self.out, number)

    def write_double(self, uint64_t field, double number):
        """A float, 8 bytes."""
        self.tag(field, 1, 8)
        put_double(&self.out, number)

    def write_bytes(self, uint64_t field, data):
        """Any bytes-like object, contiguous."""
        cdef const uint8_t[::1] octets = data
        self.tag(field, 2, octets.shape[0] + 10)
        put_varint(&self.out, octets.shape[0])
        if octets.shape[0]:
            put_bytes(&self.out, &octets[0], octets.shape[0])

    def write_string(self, uint64_t field, str text not None):
        """Text as UTF-8; lone surrogates become U+FFFD."""
        if not put_text(&self.out, field << 3 | 2, <PyObject *> text):
            raise MemoryError

    def begin(self, uint64_t field):
        """Opens a nested message."""
        self.tag(field, 2, 1)
        self.open_messages.append(begin(&self.out, 1))

    def end(self):
        """Closes the innermost open message; IndexError where none is open."""
        if not end(&self.out, self.open_messages.pop(), 1):
            raise MemoryError

    def finish(self):
        """The bytes written; ValueError while a message is open."""
        if self.open_messages:
            raise ValueError(f"{len(self.open_messages)} messages are still open: end() them first")
        return PyBytes_FromStringAndSize(<char *> self.out.data, self.out.pos)
