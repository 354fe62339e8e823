# Runs the programs of _patterns: every match in a text, in linear time and bounded memory.
#
# Two automata can be made of a program, as they are needed. One reads a text from its start and tells which
# patterns may match anywhere: it takes no notice of edges. The other reads from the end: its states are the
# nodes that lead to a match from a place. See _patterns.programs. Nothing here runs Python code or makes an
# object.

cdef extern from *:
    """
    #if defined(__GNUC__) || defined(__clang__)
    #  define otlpfast_lowest(bits) __builtin_ctzll(bits)
    #else
    static inline int otlpfast_lowest(uint64_t bits) {
        int n = 0;
        while (!(bits & 1)) { bits >>= 1; n++; }
        return n;
    }
    #endif
    """
    int lowest_bit "otlpfast_lowest"(uint64_t bits) noexcept nogil

cdef enum:  # kinds of nodes, and what stands beside a place; as in _patterns.programs
    FORK_NODE, TAKE_NODE, EDGE_NODE, MARK_NODE, MATCH_NODE
    NEW_LINE_SIDE = 3
    LAST_NEW_LINE_SIDE = 4
    OUTSIDE = 5
    SIDES = 6

cdef enum:
    BLOCK = 512  # bytes that are read at once from the end
    AHEAD_BYTES = 1 << 22  # about as many for states
    BEHIND_BYTES = 1 << 18  # or for the least number of them
    SPARE = BLOCK + 8  # states that reading them takes at most

cdef struct Branch:
    int32_t node
    size_t secret_start, secret_end

cdef struct Machine:
    int nodes, words, classes, entries
    size_t least  # bytes of a match
    bint looks  # a pattern has an edge: states differ by what comes after
    uint8_t at_end  # what comes after a text, then
    uint8_t class_of[256]
    uint8_t holds[512]
    uint8_t *kinds
    int32_t *nexts
    int32_t *others
    int32_t *first  # node of each pattern
    int32_t *first_bit  # of each pattern, and where the last one's end: that of its MATCH
    int32_t *node_of_bit
    uint64_t *takers  # of each class, a set
    uint64_t *matching
    uint64_t *starting
    uint8_t *sides  # of each class
    int32_t *above_at  # of each node, where in `above` those that lead to it without a byte begin
    int32_t *above
    States ahead  # from the start; FLAG: patterns have matched
    bint matches  # they have, in the text at hand
    States behind  # from the end, with one class more for the start; FLAG: a match starts to the right
    uint32_t *seen  # of each node, the round in which it was last
    uint32_t round
    Branch *stack
    uint64_t *fresh
    uint64_t *edges  # the states at the ends of the blocks of a text
    uint8_t *edges_after
    size_t edges_capacity
    uint32_t rows[BLOCK + 1]  # of the places of the block that was read last
    int64_t steps


cdef void *array_of(Py_ssize_t n, size_t size) except NULL:
    cdef void *made = calloc(n if n else 1, size)
    if made == NULL:
        raise MemoryError
    return made


cdef int set_numbers(int32_t **to, object numbers) except -1:
    cdef Py_ssize_t i, n = len(numbers)
    to[0] = <int32_t *> array_of(n, sizeof(int32_t))
    for i in range(n):
        to[0][i] = numbers[i]
    return 0


cdef int set_octets(uint8_t **to, bytes octets) except -1:
    to[0] = <uint8_t *> array_of(len(octets), 1)
    memcpy(to[0], <const char *> octets, len(octets))
    return 0


cdef int set_bits(uint64_t *to, object bits, int words) except -1:
    cdef int i
    for i in range(words):
        to[i] = <uint64_t> (bits >> (64 * i) & 0xFFFFFFFFFFFFFFFF)
    return 0


cdef int make_machine(Machine *m, object program) except -1:
    # Of zeroed memory; free_machine() also takes what was not completed.
    cdef bytes classes = program.classes, sides = program.sides, holds = program.holds
    cdef Py_ssize_t i
    m.nodes, m.classes, m.entries = len(program.kinds), len(program.takers), len(program.entries)
    m.words, m.least = (len(program.nodes_of_bits) + 63) // 64, program.least
    m.looks = len(sides) > 0
    m.at_end = OUTSIDE if m.looks else 0
    if len(classes) != 256 or len(holds) > sizeof(m.holds):
        raise ValueError("a program of another version")
    memcpy(m.class_of, <const char *> classes, 256)
    memcpy(m.holds, <const char *> holds, len(holds))
    set_octets(&m.kinds, program.kinds)
    set_octets(&m.sides, sides or bytes(m.classes))
    set_numbers(&m.nexts, program.nexts)
    set_numbers(&m.others, program.others)
    set_numbers(&m.first, program.entries)
    set_numbers(&m.node_of_bit, program.nodes_of_bits)
    set_above(m, program.above)
    m.takers = <uint64_t *> array_of(m.classes * m.words, 8)
    for i in range(m.classes):
        set_bits(m.takers + i * m.words, program.takers[i], m.words)
    m.matching = <uint64_t *> array_of(m.words, 8)
    set_bits(m.matching, program.matching, m.words)
    set_first_bits(m)
    m.seen = <uint32_t *> array_of(m.nodes, sizeof(uint32_t))
    m.stack = <Branch *> array_of(2 * m.nodes + 2, sizeof(Branch))
    m.fresh = <uint64_t *> array_of(m.words, 8)
    m.starting = <uint64_t *> array_of(m.words, 8)
    next_round(m)
    for i in range(m.entries):
        reach(m, m.first[i], m.starting)
    make_states(&m.ahead, m.words, m.classes, 16, AHEAD_BYTES)
    make_states(&m.behind, m.words, m.classes + 1, 2 * SPARE, BEHIND_BYTES)
    return 0


cdef int set_above(Machine *m, object above) except -1:
    cdef Py_ssize_t node, at = 0
    m.above_at = <int32_t *> array_of(m.nodes + 1, sizeof(int32_t))
    m.above = <int32_t *> array_of(2 * m.nodes, sizeof(int32_t))
    for node in range(m.nodes):
        for leading in above[node]:
            m.above[at] = leading
            at += 1
        m.above_at[node + 1] = at
    return 0


cdef int set_first_bits(Machine *m) except -1:
    cdef int i, pattern = 0
    m.first_bit = <int32_t *> array_of(m.entries + 1, sizeof(int32_t))
    m.first_bit[m.entries] = 64 * m.words
    for i in range(64 * m.words):
        if m.matching[i // 64] >> (i % 64) & 1:
            if pattern == m.entries:
                raise ValueError("a program of another version")
            m.first_bit[pattern] = i
            pattern += 1
    return 0


cdef void free_machine(Machine *m) noexcept:
    free_states(&m.ahead)
    free_states(&m.behind)
    free(m.kinds)
    free(m.nexts)
    free(m.others)
    free(m.first)
    free(m.first_bit)
    free(m.node_of_bit)
    free(m.takers)
    free(m.matching)
    free(m.starting)
    free(m.sides)
    free(m.above_at)
    free(m.above)
    free(m.seen)
    free(m.stack)
    free(m.fresh)
    free(m.edges)
    free(m.edges_after)


cdef inline bint edge_holds(Machine *m, int32_t edge, int before, int after) noexcept nogil:
    return m.holds[(m.others[edge] * SIDES + before) * SIDES + after]


cdef inline void next_round(Machine *m) noexcept nogil:
    m.round += 1
    if m.round == 0:
        memset(m.seen, 0, m.nodes * sizeof(uint32_t))
        m.round = 1


cdef inline bint is_seen(Machine *m, int32_t node) noexcept nogil:
    return m.seen[node] == m.round


# --- from the start


cdef void reach(Machine *m, int32_t node, uint64_t *found) noexcept nogil:
    # Adds the nodes that take a byte next, or match, whatever edges say; but for those that were seen in this
    # round.
    cdef int count = 1
    m.stack[0].node = node
    while count:
        count -= 1
        node = m.stack[count].node
        if is_seen(m, node):
            continue
        m.seen[node] = m.round
        m.steps += 1
        if m.kinds[node] == TAKE_NODE or m.kinds[node] == MATCH_NODE:
            found[m.others[node] // 64] |= <uint64_t> 1 << (m.others[node] % 64)
        else:
            m.stack[count].node = m.nexts[node]
            count += 1
            if m.kinds[node] == FORK_NODE:
                m.stack[count].node = m.others[node]
                count += 1


cdef inline bint has_bit(const uint64_t *set, int32_t bit) noexcept nogil:
    return set[bit // 64] >> (bit % 64) & 1


cdef bint leave_matches(Machine *m, uint64_t *found) noexcept nogil:
    # Whether patterns match. They have nothing more to tell, and what else they have in the set goes.
    cdef bint matches = False
    cdef int pattern, bit
    for pattern in range(m.entries):
        if has_bit(found, m.first_bit[pattern]):
            matches = True
            for bit in range(m.first_bit[pattern] + 1, m.first_bit[pattern + 1]):
                found[bit // 64] &= ~(<uint64_t> 1 << (bit % 64))
    return matches


cdef uint32_t step_ahead(Machine *m, uint32_t row, int of_class) noexcept nogil:
    # Over a byte of the class for the first time. NOT_KNOWN where there is no memory, or was no room.
    cdef const uint64_t *threads = set_of(&m.ahead, row)
    cdef const uint64_t *takers = m.takers + of_class * m.words
    cdef uint64_t bits
    cdef uint32_t found
    cdef bint matches
    cdef int i
    memcpy(m.fresh, m.starting, set_size(&m.ahead))
    next_round(m)
    for i in range(m.words):
        bits = threads[i] & takers[i]
        while bits:
            reach(m, m.nexts[m.node_of_bit[64 * i + lowest_bit(bits)]], m.fresh)
            bits &= bits - 1
    matches = leave_matches(m, m.fresh)
    if forget_states(&m.ahead, 1):
        return NOT_KNOWN
    found = row_of(&m.ahead, m.fresh, 0)
    if found != NOT_KNOWN:
        if matches:
            found |= FLAG
        m.ahead.table[row + of_class] = found
    return found


# --- from the end


cdef void see_leading(Machine *m, uint32_t row, int before) noexcept nogil:
    # Every node that leads to one that is alive, at a place with that before it: they are seen in this round.
    cdef const uint64_t *alive = set_of(&m.behind, row)
    cdef uint8_t after = m.behind.after[row // m.behind.width]
    cdef uint64_t bits
    cdef int i, count = 0
    cdef int32_t node, j, leading
    next_round(m)
    for i in range(m.words):
        bits = alive[i]
        while bits:
            node = m.node_of_bit[64 * i + lowest_bit(bits)]
            bits &= bits - 1
            m.seen[node] = m.round
            m.stack[count].node = node
            count += 1
    m.steps += count
    while count:
        count -= 1
        node = m.stack[count].node
        for j in range(m.above_at[node], m.above_at[node + 1]):
            leading = m.above[j]
            if not is_seen(m, leading) and (
                m.kinds[leading] != EDGE_NODE or edge_holds(m, leading, before, after)
            ):
                m.seen[leading] = m.round
                m.stack[count].node = leading
                count += 1
                m.steps += 1


cdef uint32_t step_behind(Machine *m, uint32_t row, int of_class) noexcept nogil:
    # Over a byte of the class, or over the start of the text, for the first time. NOT_KNOWN where there is no
    # memory.
    cdef bint outside = of_class == m.classes
    cdef uint64_t bits
    cdef uint32_t found = row, flag = 0
    cdef uint8_t after = 0
    cdef int i, bit
    see_leading(m, row, OUTSIDE if outside else m.sides[of_class])
    for i in range(m.entries):
        if is_seen(m, m.first[i]):
            flag = FLAG
            break
    if not outside:
        memcpy(m.fresh, m.matching, set_size(&m.behind))
        for i in range(m.words):
            bits = m.takers[of_class * m.words + i]
            while bits:
                bit = lowest_bit(bits)
                bits &= bits - 1
                if is_seen(m, m.nexts[m.node_of_bit[64 * i + bit]]):
                    m.fresh[i] |= <uint64_t> 1 << bit
        if m.looks:
            after = m.sides[of_class]
            if after == NEW_LINE_SIDE and m.behind.after[row // m.behind.width] == OUTSIDE:
                after = LAST_NEW_LINE_SIDE
        found = row_of(&m.behind, m.fresh, after)
        if found == NOT_KNOWN:
            return NOT_KNOWN
    m.behind.table[row + of_class] = found | flag
    return found | flag
