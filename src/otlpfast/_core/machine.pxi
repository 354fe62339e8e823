# Runs the programs of _patterns: every match in a text, in linear time, in bounded memory.
#
# A text is read from its end. The nodes that lead to a match from a place are a state, which follows from that
# of the next place and the byte between; states that were met are kept in a table. Where a match starts, it is
# followed from there. A long text is read in blocks: of the first reading, the state at the end of each is kept;
# those that have matches are read again. Nothing here runs Python code or makes an object.

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
    BLOCK = 512  # bytes
    TABLE_BYTES = 1 << 22  # about as many for the states of a machine
    MATCH_STARTS = 1 << 30  # with a row: a match starts at the place to its right
    NOT_KNOWN = 0xFFFFFFFF

cdef struct Branch:
    int32_t node
    size_t secret_start, secret_end

cdef struct Match:
    size_t start, end, secret_start, secret_end
    int pattern

cdef struct Machine:
    int nodes, bits, words, classes, width, entries
    bint looks  # a pattern has an edge: states differ by what comes after
    uint8_t class_of[256]
    uint8_t *kinds
    int32_t *nexts
    int32_t *others
    int32_t *first  # of each entry
    int32_t *node_of_bit
    uint64_t *takers  # of each class, `words` words
    uint64_t *matching
    uint8_t *sides  # of each class
    int32_t *above_at  # of each node, where in `above` those that lead to it without a byte begin
    int32_t *above
    # What was met: rows of `width` entries, one for each class and one for the start of the text.
    uint32_t *table
    uint64_t *alive
    uint8_t *after
    int32_t *index  # states by the hash of what they are; -1: none
    int states, capacity, most, index_size
    # While it is at work.
    uint32_t *seen  # of each node, the round in which it was last
    uint32_t round
    Branch *stack
    uint64_t *fresh
    uint64_t *edges  # the states at the ends of blocks
    uint8_t *edges_after
    size_t edges_capacity
    uint32_t rows[BLOCK + 1]  # of the places of the block that was read last
    int64_t steps

cdef struct Search:
    const uint8_t *text
    size_t size
    size_t place  # where the next match may start
    size_t loaded  # the block in `rows`
    size_t blocks

cdef bytes _holds = HOLDS
cdef const char *_edge_holds = _holds


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


cdef int set_bytes(uint8_t **to, bytes octets) except -1:
    to[0] = <uint8_t *> array_of(len(octets), 1)
    memcpy(to[0], <const char *> octets, len(octets))
    return 0


cdef int set_bits(uint64_t *to, object bits, int words) except -1:
    cdef bytes octets = bits.to_bytes(8 * words, sys.byteorder)
    cdef int i
    for i in range(words):  # where the machine is big-endian, the first word is the last one
        memcpy(to + i, <const char *> octets + 8 * (i if _little else words - 1 - i), 8)
    return 0

cdef bint _little = sys.byteorder == "little"


cdef int make_machine(Machine *m, object program) except -1:
    # Of zeroed memory; free_machine() also takes one that was not completed.
    cdef Py_ssize_t i
    cdef bytes classes = program.classes, sides = program.sides
    m.nodes, m.bits = len(program.kinds), len(program.nodes_of_bits)
    m.classes, m.entries = len(program.takers), len(program.entries)
    m.words, m.width, m.looks = (m.bits + 63) // 64, m.classes + 1, len(sides) > 0
    memcpy(m.class_of, <const char *> classes, 256)
    set_bytes(&m.kinds, program.kinds)
    set_bytes(&m.sides, sides or bytes(m.classes))
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
    m.seen = <uint32_t *> array_of(m.nodes, sizeof(uint32_t))
    m.stack = <Branch *> array_of(2 * m.nodes + 2, sizeof(Branch))
    m.fresh = <uint64_t *> array_of(m.words, 8)
    m.most = max(2 * BLOCK + 4, TABLE_BYTES // (8 * m.words + 4 * m.width))
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


cdef void free_machine(Machine *m) noexcept:
    free(m.kinds)
    free(m.nexts)
    free(m.others)
    free(m.first)
    free(m.node_of_bit)
    free(m.takers)
    free(m.matching)
    free(m.sides)
    free(m.above_at)
    free(m.above)
    free(m.table)
    free(m.alive)
    free(m.after)
    free(m.index)
    free(m.seen)
    free(m.stack)
    free(m.fresh)
    free(m.edges)
    free(m.edges_after)


# --- states


cdef bint grow_states(Machine *m) noexcept nogil:
    # Room for more; False where there is no memory, and all is as it was.
    cdef int capacity = min(2 * m.capacity, m.most) if m.capacity else 64
    cdef int i, size = 128
    cdef void *grown
    while size < 2 * capacity:
        size *= 2
    grown = realloc(m.table, <size_t> capacity * m.width * sizeof(uint32_t))
    if grown == NULL:
        return False
    m.table = <uint32_t *> grown
    grown = realloc(m.alive, <size_t> capacity * m.words * sizeof(uint64_t) + 1)
    if grown == NULL:
        return False
    m.alive = <uint64_t *> grown
    grown = realloc(m.after, capacity)
    if grown == NULL:
        return False
    m.after = <uint8_t *> grown
    grown = realloc(m.index, size * sizeof(int32_t))
    if grown == NULL:
        return False
    m.index = <int32_t *> grown
    m.index_size, m.capacity = size, capacity
    memset(m.index, 0xFF, size * sizeof(int32_t))
    for i in range(m.states):
        m.index[index_of(m, m.alive + i * m.words, m.after[i])] = i
    return True


cdef int index_of(Machine *m, const uint64_t *alive, uint8_t after) noexcept nogil:
    # Where a state is in the index, or would be.
    cdef uint64_t hashed = after
    cdef int i, at, state
    for i in range(m.words):
        hashed = (hashed ^ alive[i]) * <uint64_t> 0x9E3779B97F4A7C15
        hashed ^= hashed >> 29
    at = <int> (hashed & (m.index_size - 1))
    while True:
        state = m.index[at]
        if state < 0 or m.after[state] == after and (
            memcmp(m.alive + state * m.words, alive, m.words * sizeof(uint64_t)) == 0
        ):
            return at
        at = (at + 1) & (m.index_size - 1)


cdef uint32_t row_of(Machine *m, const uint64_t *alive, uint8_t after) noexcept nogil:
    # The row of a state, a new one where it was not met; NOT_KNOWN where there is no memory. `alive` is not in
    # the machine's own table, which may move.
    cdef int at, state
    if m.states == m.capacity and not grow_states(m):
        return NOT_KNOWN
    at = index_of(m, alive, after)
    state = m.index[at]
    if state < 0:
        state = m.states
        m.states += 1
        m.index[at] = state
        m.after[state] = after
        memcpy(m.alive + state * m.words, alive, m.words * sizeof(uint64_t))
        memset(m.table + state * m.width, 0xFF, m.width * sizeof(uint32_t))
    return state * m.width


cdef inline bint forget_states(Machine *m) noexcept nogil:
    # Once there are too many for one more block. Whoever has a row has its state copied before.
    if m.most - m.states >= BLOCK + 4:
        return False
    m.states = 0
    memset(m.index, 0xFF, m.index_size * sizeof(int32_t))
    return True


cdef inline bint edge_holds(Machine *m, int32_t edge, int before, int after) noexcept nogil:
    return _edge_holds[(m.others[edge] * SIDES + before) * SIDES + after]


cdef inline void next_round(Machine *m) noexcept nogil:
    m.round += 1
    if m.round == 0:
        memset(m.seen, 0, m.nodes * sizeof(uint32_t))
        m.round = 1


cdef inline bint is_seen(Machine *m, int32_t node) noexcept nogil:
    return m.seen[node] == m.round


cdef void see_leading(Machine *m, int state, int before) noexcept nogil:
    # Every node that leads to one that is alive, at a place with that before it: they are seen in this round.
    cdef uint64_t bits
    cdef int i, count = 0
    cdef int32_t node, j, leading
    next_round(m)
    for i in range(m.words):
        bits = m.alive[state * m.words + i]
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
                m.kinds[leading] != EDGE_NODE or edge_holds(m, leading, before, m.after[state])
            ):
                m.seen[leading] = m.round
                m.stack[count].node = leading
                count += 1
                m.steps += 1


cdef uint32_t step(Machine *m, uint32_t row, int of_class) noexcept nogil:
    # Over a byte of the class, or over the start of the text, for the first time: what the table says from now
    # on. NOT_KNOWN where there is no memory.
    cdef int state = row // m.width
    cdef bint outside = of_class == m.classes
    cdef uint64_t bits
    cdef uint32_t found = row, starts = 0
    cdef uint8_t after = 0
    cdef int i, bit
    see_leading(m, state, OUTSIDE if outside else m.sides[of_class])
    for i in range(m.entries):
        if is_seen(m, m.first[i]):
            starts = MATCH_STARTS
            break
    if not outside:
        memcpy(m.fresh, m.matching, m.words * sizeof(uint64_t))
        for i in range(m.words):
            bits = m.takers[of_class * m.words + i]
            while bits:
                bit = lowest_bit(bits)
                bits &= bits - 1
                if is_seen(m, m.nexts[m.node_of_bit[64 * i + bit]]):
                    m.fresh[i] |= <uint64_t> 1 << bit
        if m.looks:
            after = m.sides[of_class]
            if after == NEW_LINE_SIDE and m.after[state] == OUTSIDE:
                after = LAST_NEW_LINE_SIDE
        found = row_of(m, m.fresh, after)
        if found == NOT_KNOWN:
            return NOT_KNOWN
    m.table[row + of_class] = found | starts
    return found | starts


# --- texts


cdef uint32_t read_block(
    Machine *m, const uint8_t *text, size_t low, size_t high, uint32_t row, bint *starts
) noexcept nogil:
    # The rows of the places from the one to the other, which is at `row`; those where a match starts are marked.
    # Returns the row of the first; NOT_KNOWN where there is no memory.
    cdef uint32_t found, any_found = 0
    cdef uint32_t *rows = m.rows
    cdef uint32_t *table = m.table
    cdef const uint8_t *at = text + low - 1
    cdef size_t i = high - low
    m.steps += i
    while i:
        found = table[row + m.class_of[at[i]]]
        if found >= MATCH_STARTS:
            if found == NOT_KNOWN:
                found = step(m, row, m.class_of[at[i]])
                if found == NOT_KNOWN:
                    return NOT_KNOWN
                table = m.table
            any_found |= found & MATCH_STARTS
            row |= found & MATCH_STARTS
            found &= MATCH_STARTS - 1
        rows[i] = row
        row = found
        i -= 1
    rows[0] = row
    if low == 0:
        found = table[row + m.classes]
        if found == NOT_KNOWN:
            found = step(m, row, m.classes)  # makes no state
        rows[0] |= found & MATCH_STARTS
        any_found |= found & MATCH_STARTS
    starts[0] = any_found != 0
    return row


cdef int read_text(Machine *m, Search *s) noexcept nogil:
    # From its end, all of it. OK where a match starts anywhere, with the first block that has one; BAIL: none.
    cdef size_t block = (s.size + BLOCK - 1) // BLOCK
    cdef size_t high = s.size
    cdef uint32_t row
    cdef bint starts = False, found = False
    s.blocks = block
    if block > m.edges_capacity and not grow_edges(m, block):
        return NO_MEMORY
    forget_states(m)
    row = row_of(m, m.matching, OUTSIDE if m.looks else 0)
    while row != NOT_KNOWN:
        if block == 0:
            return OK if found else BAIL
        block -= 1
        memcpy(m.edges + block * m.words, m.alive + row // m.width * m.words, m.words * sizeof(uint64_t))
        m.edges_after[block] = m.after[row // m.width]
        if forget_states(m):
            row = row_of(m, m.edges + block * m.words, m.edges_after[block])
            if row == NOT_KNOWN:
                break
        row = read_block(m, s.text, block * BLOCK, high, row, &starts)
        high = block * BLOCK
        s.loaded = block
        if starts:
            found = True
            s.place = high
    return NO_MEMORY


cdef bint grow_edges(Machine *m, size_t blocks) noexcept nogil:
    cdef void *grown = realloc(m.edges, 2 * blocks * m.words * sizeof(uint64_t))
    if grown == NULL:
        return False
    m.edges = <uint64_t *> grown
    grown = realloc(m.edges_after, 2 * blocks)
    if grown == NULL:
        return False
    m.edges_after = <uint8_t *> grown
    m.edges_capacity = 2 * blocks
    return True


cdef bint load_place(Machine *m, Search *s, size_t place) noexcept nogil:
    # Reads the block of a place again, unless it was the last one that was read. False: no memory.
    cdef size_t block = (place - 1) // BLOCK if place else 0
    cdef uint32_t row
    cdef bint starts
    if block == s.loaded:
        return True
    forget_states(m)
    row = row_of(m, m.edges + block * m.words, m.edges_after[block])
    if row == NOT_KNOWN:
        return False
    s.loaded = block
    return read_block(m, s.text, block * BLOCK, min(s.size, (block + 1) * BLOCK), row, &starts) != NOT_KNOWN


cdef int choose(Machine *m, Search *s, size_t place, Branch *at) noexcept nogil:
    # Goes on from a node without a byte, by the first way that leads to a match. BAIL: none does.
    cdef int state = (m.rows[place - s.loaded * BLOCK] & (MATCH_STARTS - 1)) // m.width
    cdef int before = m.sides[m.class_of[s.text[place - 1]]] if place else OUTSIDE
    cdef int count = 1, bit
    cdef Branch branch
    cdef Branch *stack = m.stack
    next_round(m)
    stack[0] = at[0]
    while count:
        count -= 1
        branch = stack[count]
        if is_seen(m, branch.node):
            continue
        m.seen[branch.node] = m.round
        m.steps += 1
        if m.kinds[branch.node] == FORK_NODE:
            stack[count] = stack[count + 1] = branch
            stack[count].node = m.others[branch.node]
            stack[count + 1].node = m.nexts[branch.node]
            count += 2
        elif m.kinds[branch.node] == MARK_NODE:
            if m.others[branch.node]:
                branch.secret_end = place
            else:
                branch.secret_start, branch.secret_end = place, 0
            branch.node = m.nexts[branch.node]
            stack[count] = branch
            count += 1
        elif m.kinds[branch.node] == EDGE_NODE:
            if edge_holds(m, branch.node, before, m.after[state]):
                branch.node = m.nexts[branch.node]
                stack[count] = branch
                count += 1
        else:
            bit = m.others[branch.node]
            if m.alive[state * m.words + bit // 64] >> (bit % 64) & 1:
                at[0] = branch
                return OK
    return BAIL


cdef int follow(Machine *m, Search *s, size_t start, int pattern, Match *match) noexcept nogil:
    # The match of a pattern that starts there. BAIL: there is none.
    cdef Branch at = Branch(m.first[pattern], 0, 0)
    cdef size_t place = start
    cdef int outcome
    while True:
        if not load_place(m, s, place):
            return NO_MEMORY
        outcome = choose(m, s, place, &at)
        if outcome != OK:
            return outcome
        if m.kinds[at.node] != TAKE_NODE:
            match[0] = Match(start, place, start, place, pattern)
            if at.secret_start < at.secret_end:
                match.secret_start, match.secret_end = at.secret_start, at.secret_end
            return OK
        at.node = m.nexts[at.node]
        place += 1


cdef int next_match(Machine *m, Search *s, const uint8_t *checks, Match *match) noexcept nogil:
    # The next one: at a place the first pattern that matches has it. BAIL: there is none.
    cdef int pattern, outcome
    cdef size_t end
    while s.place < s.size:
        if not load_place(m, s, s.place):
            return NO_MEMORY
        if m.rows[s.place - s.loaded * BLOCK] & MATCH_STARTS:
            for pattern in range(m.entries):
                outcome = follow(m, s, s.place, pattern, match)
                if outcome == OK and checks[pattern]:
                    end = card_end(s.text, s.place, s.size)
                    outcome = OK if end else BAIL
                    match[0] = Match(s.place, end, s.place, end, pattern)
                if outcome == OK:
                    s.place = match.end
                if outcome != BAIL:
                    return outcome
            if not load_place(m, s, s.place):
                return NO_MEMORY
        s.place += 1
    return BAIL


cdef int first_pattern(Machine *m, const uint8_t *text, size_t size) noexcept nogil:
    # The first pattern that matches at the start of a text; -1: none, NO_MEMORY.
    cdef Search s
    cdef int pattern
    s.text, s.size, s.loaded = text, size, 0
    if m.entries == 0:
        return -1
    if read_text(m, &s) == NO_MEMORY:
        return NO_MEMORY
    if size == 0:
        m.rows[0] = row_of(m, m.matching, OUTSIDE if m.looks else 0)
        if m.rows[0] == NOT_KNOWN:
            return NO_MEMORY
    see_leading(m, (m.rows[0] & (MATCH_STARTS - 1)) // m.width, OUTSIDE)
    for pattern in range(m.entries):
        if is_seen(m, m.first[pattern]):
            return pattern
    return -1


# --- card numbers


cdef inline bint is_digit(uint8_t byte) noexcept nogil:
    return c"0" <= byte <= c"9"


cdef inline bint is_word(uint8_t byte) noexcept nogil:
    return is_digit(byte) or c"a" <= (byte | 0x20) <= c"z" or byte == c"_"


cdef size_t card_end(const uint8_t *text, size_t start, size_t size) noexcept nogil:
    # Where the longest card number ends that starts there; 0: none. 13 to 19 digits by Luhn's formula, in groups
    # of three or more but for the last, and no word goes on.
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


cdef bint has_luhn(const uint8_t *digits, int count) noexcept nogil:
    cdef int i, value, total = 0
    for i in range(count):
        value = digits[count - 1 - i] << (i & 1)
        total += value - 9 if value > 9 else value
    return total % 10 == 0
