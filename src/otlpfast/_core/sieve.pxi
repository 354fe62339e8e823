# Which patterns may match in a text at all: most match in none.

cdef enum:
    LANES = 4  # parts of a text that are read side by side: no one waits for another's memory
    JOINED = 32  # bytes of a part within which the one before it comes to the same state, mostly
    SHORT = LANES * 2 * JOINED


cdef bint sift(Machine *m, const uint8_t *text, size_t size, uint8_t *wanted) noexcept nogil:
    # Marks them in `wanted`, of which all are 0. False where there is none, for certain.
    cdef uint32_t row = start_row(&m.ahead, m.starting, 0)
    cdef bint known = row != NOT_KNOWN
    m.matches = False
    m.steps += size
    if known and size >= SHORT:
        known = sift_long(m, text, size, wanted)
    elif known:
        known = sift_part(m, text, size, &row, wanted)
    if not known:
        memset(wanted, 1, m.entries)
    return m.matches or not known


cdef uint32_t unusual_row(
    Machine *m, uint32_t row, int of_class, uint32_t found, uint8_t *wanted
) noexcept nogil:
    # Where the table says FLAG or more: patterns match, or it is not known yet. NOT_KNOWN: it stays that.
    cdef const uint64_t *set
    cdef int pattern
    if found == NOT_KNOWN:
        found = step_ahead(m, row, of_class)
    if found < FLAG or found == NOT_KNOWN:
        return found
    m.matches = True
    found &= FLAG - 1
    set = set_of(&m.ahead, found)
    for pattern in range(m.entries):
        if has_bit(set, m.first_bit[pattern]):
            wanted[pattern] = 1
    return found


cdef inline uint32_t ahead(Machine *m, uint32_t row, uint8_t byte, uint8_t *wanted) noexcept nogil:
    cdef int of_class = m.class_of[byte]
    cdef uint32_t found = m.ahead.table[row + of_class]
    return found if found < FLAG else unusual_row(m, row, of_class, found, wanted)


cdef bint sift_part(
    Machine *m, const uint8_t *text, size_t size, uint32_t *row, uint8_t *wanted
) noexcept nogil:
    # Goes on from a row, which moves on. False where it can't be told.
    cdef size_t i
    for i in range(size):
        row[0] = ahead(m, row[0], text[i], wanted)
        if row[0] == NOT_KNOWN:
            return False
    return True


cdef bint sift_long(Machine *m, const uint8_t *text, size_t size, uint8_t *wanted) noexcept nogil:
    cdef uint32_t rows[LANES]
    cdef uint32_t begun[LANES][JOINED]
    cdef size_t part = size // LANES
    cdef uint32_t row
    cdef size_t i, end
    cdef int lane
    memset(rows, 0, sizeof(rows))
    for i in range(JOINED):
        for lane in range(LANES):
            begun[lane][i] = rows[lane] = ahead(m, rows[lane], text[lane * part + i], wanted)
            if rows[lane] == NOT_KNOWN:
                return False
    if not sift_lanes(m, text, part, rows, wanted):
        return False
    if not sift_part(m, text + LANES * part, size - LANES * part, &rows[LANES - 1], wanted):
        return False
    row = rows[0]
    for lane in range(1, LANES):
        for i in range(JOINED):
            row = ahead(m, row, text[lane * part + i], wanted)
            if row == NOT_KNOWN:
                return False
            if row == begun[lane][i]:
                row = rows[lane]
                break
        else:  # what began in the part before goes on for long in this one
            i = lane * part + JOINED
            end = size if lane == LANES - 1 else (lane + 1) * part
            if not sift_part(m, text + i, end - i, &row, wanted):
                return False
    return True


cdef bint sift_lanes(
    Machine *m, const uint8_t *text, size_t part, uint32_t *rows, uint8_t *wanted
) noexcept nogil:
    # The rest of each part. False where it can't be told.
    cdef const uint32_t *table = m.ahead.table
    cdef const uint8_t *class_of = m.class_of
    cdef uint32_t a = rows[0], b = rows[1], c = rows[2], d = rows[3]
    cdef uint32_t next_a, next_b, next_c, next_d
    cdef size_t i
    for i in range(JOINED, part):
        next_a = table[a + class_of[text[i]]]
        next_b = table[b + class_of[text[part + i]]]
        next_c = table[c + class_of[text[2 * part + i]]]
        next_d = table[d + class_of[text[3 * part + i]]]
        if next_a | next_b | next_c | next_d >= FLAG:
            rows[0], rows[1], rows[2], rows[3] = a, b, c, d
            if not sift_each(m, text + i, part, rows, wanted):
                return False
            next_a, next_b, next_c, next_d = rows[0], rows[1], rows[2], rows[3]
            table = m.ahead.table
        a, b, c, d = next_a, next_b, next_c, next_d
    rows[0], rows[1], rows[2], rows[3] = a, b, c, d
    return True


cdef bint sift_each(
    Machine *m, const uint8_t *text, size_t part, uint32_t *rows, uint8_t *wanted
) noexcept nogil:
    # One byte of each part.
    cdef int lane
    for lane in range(LANES):
        rows[lane] = ahead(m, rows[lane], text[lane * part], wanted)
        if rows[lane] == NOT_KNOWN:
            return False
    return True
