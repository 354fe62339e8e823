# The protobuf wire format, written into memory that grows: https://protobuf.dev/programming-guides/encoding/
#
# A length is patched in after its message is written: begin() leaves room for it, end() fills it in and moves
# the message only where the length needs more bytes than were left. Room is asked for first (room()), then
# put_* writes without looking. A writer that could not grow is marked failed and takes nothing more.
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy, memmove

cdef extern from *:
    """
    #include <stdint.h>
    #include <stdlib.h>
    #include <string.h>

    typedef struct { uint8_t *data; size_t pos; size_t cap; int failed; } otlpfast_writer;

    #if defined(__GNUC__) || defined(__clang__)
    #  define OTLPFAST_COLD __attribute__((noinline, cold))
    #else
    #  define OTLPFAST_COLD
    #endif

    OTLPFAST_COLD static int otlpfast_grow(otlpfast_writer *w, size_t more) {
        size_t cap = w->cap < 64 ? 64 : w->cap;
        uint8_t *data;
        if (w->failed || more > SIZE_MAX / 2 - w->pos) { w->failed = 1; return 0; }
        while (cap - w->pos < more) cap *= 2;
        data = (uint8_t *)realloc(w->data, cap);
        if (data == NULL) { w->failed = 1; return 0; }
        w->data = data;
        w->cap = cap;
        return 1;
    }

    /* memcpy() without a call for what is short, as keys and most values are. */
    static inline void otlpfast_copy(uint8_t *to, const void *data, size_t n) {
        const uint8_t *from = (const uint8_t *)data;
        if (n > 32) memcpy(to, from, n);
        else if (n >= 16) { memcpy(to, from, 16); memcpy(to + n - 16, from + n - 16, 16); }
        else if (n >= 8) { memcpy(to, from, 8); memcpy(to + n - 8, from + n - 8, 8); }
        else if (n >= 4) { memcpy(to, from, 4); memcpy(to + n - 4, from + n - 4, 4); }
        else if (n) { to[0] = from[0]; to[n / 2] = from[n / 2]; to[n - 1] = from[n - 1]; }
    }

    /* Whole words: a byte store could be one into the writer itself, for all that the compiler knows. */
    static inline uint64_t otlpfast_reversed(uint64_t n) {
    #if defined(__GNUC__) || defined(__clang__)
        return __builtin_bswap64(n);
    #else
        uint64_t r = 0;
        for (int i = 0; i < 8; i++) r |= ((n >> (8 * i)) & 0xFF) << (56 - 8 * i);
        return r;
    #endif
    }
    #if defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    #  define OTLPFAST_LITTLE(n) otlpfast_reversed(n)
    #  define OTLPFAST_BIG(n) (n)
    #else
    #  define OTLPFAST_LITTLE(n) (n)
    #  define OTLPFAST_BIG(n) otlpfast_reversed(n)
    #endif
    """
    void copy_bytes "otlpfast_copy"(uint8_t *to, const void *data, size_t n) noexcept nogil
    uint64_t little_endian "OTLPFAST_LITTLE"(uint64_t n) noexcept nogil
    uint64_t big_endian "OTLPFAST_BIG"(uint64_t n) noexcept nogil
    ctypedef struct Writer "otlpfast_writer":
        uint8_t *data
        size_t pos
        size_t cap
        bint failed
    bint grow "otlpfast_grow"(Writer *w, size_t more) noexcept nogil


cdef inline bint room(Writer *w, size_t more) noexcept nogil:
    return True if w.cap - w.pos >= more else grow(w, more)


cdef inline int varint_size(uint64_t n) noexcept nogil:
    cdef int size = 1
    while n >= 0x80:
        n >>= 7
        size += 1
    return size


cdef inline void put_byte(Writer *w, uint8_t byte) noexcept nogil:
    w.data[w.pos] = byte
    w.pos += 1


cdef inline void put_varint(Writer *w, uint64_t n) noexcept nogil:
    while n >= 0x80:
        w.data[w.pos] = <uint8_t> (n | 0x80)
        w.pos += 1
        n >>= 7
    w.data[w.pos] = <uint8_t> n
    w.pos += 1


cdef inline void put_fixed32(Writer *w, uint32_t n) noexcept nogil:
    cdef int i
    for i in range(4):
        w.data[w.pos + i] = <uint8_t> (n >> (8 * i))
    w.pos += 4


cdef inline void put_fixed64(Writer *w, uint64_t n) noexcept nogil:
    cdef uint64_t word = little_endian(n)
    memcpy(w.data + w.pos, &word, 8)
    w.pos += 8


cdef inline uint64_t double_bits(double value) noexcept nogil:
    cdef uint64_t bits
    memcpy(&bits, &value, 8)
    return bits


cdef inline void put_double(Writer *w, double value) noexcept nogil:
    put_fixed64(w, double_bits(value))


cdef inline void put_big_endian(Writer *w, uint64_t n) noexcept nogil:
    cdef uint64_t word = big_endian(n)
    memcpy(w.data + w.pos, &word, 8)
    w.pos += 8


cdef inline void put_bytes(Writer *w, const void *data, size_t n) noexcept nogil:
    copy_bytes(w.data + w.pos, data, n)
    w.pos += n


# The same at a place whose room was asked for, which each returns moved on: a writer's own position would be
# read and written again for each byte.

cdef inline uint8_t *byte_at(uint8_t *p, uint8_t byte) noexcept nogil:
    p[0] = byte
    return p + 1


cdef inline uint8_t *two_at(uint8_t *p, uint8_t first, uint8_t second) noexcept nogil:
    p[0], p[1] = first, second
    return p + 2


cdef inline uint8_t *varint_at(uint8_t *p, uint64_t n) noexcept nogil:
    while n >= 0x80:
        p[0] = <uint8_t> (n | 0x80)
        p += 1
        n >>= 7
    p[0] = <uint8_t> n
    return p + 1


cdef inline uint8_t *fixed64_at(uint8_t *p, uint64_t n) noexcept nogil:
    cdef uint64_t word = little_endian(n)
    memcpy(p, &word, 8)
    return p + 8


cdef inline uint8_t *big_endian_at(uint8_t *p, uint64_t n) noexcept nogil:
    cdef uint64_t word = big_endian(n)
    memcpy(p, &word, 8)
    return p + 8


cdef inline uint8_t *text_at(uint8_t *p, uint8_t tag, const void *data, size_t n) noexcept nogil:
    # Of less than 128 bytes.
    p = two_at(p, tag, <uint8_t> n)
    copy_bytes(p, data, n)
    return p + n


cdef inline size_t begin(Writer *w, int width) noexcept nogil:
    # Leaves `width` bytes for the length of the message that starts here. The caller has asked for the room.
    w.pos += width
    return w.pos


cdef inline bint end(Writer *w, size_t start, int width) noexcept nogil:
    # Closes the message that begin() opened; returns False where the writer could not grow.
    cdef size_t length = w.pos - start
    cdef int needed = 1
    if width == 1 and length < 0x80:
        w.data[start - 1] = <uint8_t> length
        return True
    needed = varint_size(length)
    if needed > width and not room(w, needed - width):
        return False
    if needed != width:
        memmove(w.data + start - width + needed, w.data + start, length)
    w.pos = start - width
    put_varint(w, length)
    w.pos += length
    return True
