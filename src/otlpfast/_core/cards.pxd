# Card numbers in texts; ISO/IEC 7812.
from libc.stddef cimport size_t
from libc.stdint cimport uint8_t


cdef inline bint is_digit(uint8_t byte) noexcept nogil:
    return c"0" <= byte <= c"9"


cdef inline bint is_word(uint8_t byte) noexcept nogil:
    return is_digit(byte) or c"a" <= (byte | 0x20) <= c"z" or byte == c"_"


cdef inline bint has_luhn(const uint8_t *digits, int count) noexcept nogil:
    cdef int i, value, total = 0
    for i in range(count):
        value = digits[count - 1 - i] << (i & 1)
        total += value - 9 if value > 9 else value
    return total % 10 == 0


cdef inline size_t card_end(const uint8_t *text, size_t start, size_t size) noexcept nogil:
    # Where the longest card number ends that starts there; 0: none. 13 to 19 digits by Luhn's formula, in
    # groups of three or more but for the last, and no word goes on.
    cdef uint8_t digits[19]
    cdef size_t end = start, found = 0
    cdef int count = 0, group
    while True:
        group = 0
        while end < size and is_digit(text[end]):
            if count == 19:
                return found
            digits[count] = text[end] - c"0"
            count += 1
            group += 1
            end += 1
        if count >= 13 and (end == size or not is_word(text[end])) and has_luhn(digits, count):
            found = end
        if group < 3 or end + 1 >= size or text[end] not in (c" ", c"-") or not is_digit(text[end + 1]):
            return found
        end += 1
