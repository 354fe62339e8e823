# Sets of nodes that an automaton has met, each with a row of a table: where it goes on from there.

cdef enum:
    FLAG = 1 << 30  # with a row: what it says is the automaton's
    NOT_KNOWN = 0xFFFFFFFF

cdef struct States:
    int words  # of a set
    int width  # of a row
    int count, capacity, most, index_size
    uint32_t *table
    uint64_t *sets
    uint8_t *after  # what is told apart beside the set
    int32_t *index  # states by the hash of what they are; -1: none


cdef void make_states(States *s, int words, int width, int least, int size) noexcept nogil:
    # So many at least, and as many as take so many bytes.
    s.words, s.width = words, width
    s.most = max(least, size // (8 * words + 4 * width))


cdef void free_states(States *s) noexcept nogil:
    free(s.table)
    free(s.sets)
    free(s.after)
    free(s.index)


cdef inline uint64_t *set_of(States *s, uint32_t row) noexcept nogil:
    return s.sets + <size_t> (row // s.width) * s.words


cdef inline size_t set_size(States *s) noexcept nogil:
    return s.words * sizeof(uint64_t)


cdef bint grow_states(States *s) noexcept nogil:
    # Room for more; False where there is no memory, and all is as it was.
    cdef int capacity = min(2 * s.capacity, s.most) if s.capacity else min(64, s.most)
    cdef int i, size = 128
    cdef void *grown
    while size < 2 * capacity:
        size *= 2
    grown = realloc(s.table, <size_t> capacity * s.width * sizeof(uint32_t))
    if grown == NULL:
        return False
    s.table = <uint32_t *> grown
    grown = realloc(s.sets, capacity * set_size(s) + 1)
    if grown == NULL:
        return False
    s.sets = <uint64_t *> grown
    grown = realloc(s.after, capacity)
    if grown == NULL:
        return False
    s.after = <uint8_t *> grown
    grown = realloc(s.index, size * sizeof(int32_t))
    if grown == NULL:
        return False
    s.index = <int32_t *> grown
    s.index_size, s.capacity = size, capacity
    memset(s.index, 0xFF, size * sizeof(int32_t))
    for i in range(s.count):
        s.index[index_of(s, s.sets + i * s.words, s.after[i])] = i
    return True


cdef int index_of(States *s, const uint64_t *found, uint8_t after) noexcept nogil:
    # Where a state is in the index, or would be.
    cdef uint64_t hashed = after
    cdef int i, at, state
    for i in range(s.words):
        hashed = (hashed ^ found[i]) * <uint64_t> 0x9E3779B97F4A7C15
        hashed ^= hashed >> 29
    at = <int> (hashed & (s.index_size - 1))
    while True:
        state = s.index[at]
        if state < 0 or s.after[state] == after and (
            memcmp(s.sets + state * s.words, found, set_size(s)) == 0
        ):
            return at
        at = (at + 1) & (s.index_size - 1)


cdef uint32_t row_of(States *s, const uint64_t *found, uint8_t after) noexcept nogil:
    # The row of a state, a new one where it was not met; NOT_KNOWN where there is no memory. There are less
    # than `most` of them, and `found` is not among these, which may move.
    cdef int at, state
    if s.count == s.capacity and not grow_states(s):
        return NOT_KNOWN
    at = index_of(s, found, after)
    state = s.index[at]
    if state < 0:
        state = s.count
        s.count += 1
        s.index[at] = state
        s.after[state] = after
        memcpy(s.sets + state * s.words, found, set_size(s))
        memset(s.table + state * s.width, 0xFF, s.width * sizeof(uint32_t))
    return state * s.width


cdef inline uint32_t start_row(States *s, const uint64_t *first, uint8_t after) noexcept nogil:
    # Of the state that a text begins with: the first that is known.
    return 0 if s.count else row_of(s, first, after)


cdef inline bint forget_states(States *s, int more) noexcept nogil:
    # True where there was no room for so many more: then all rows are void. Who needs one has kept a copy of
    # its state; the start's comes first.
    if s.most - s.count >= more:
        return False
    s.count = 0
    memset(s.index, 0xFF, s.index_size * sizeof(int32_t))
    return True
