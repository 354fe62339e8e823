# Matches of a pattern in a text. A long text is read from its end in blocks: of the first reading, the state
# at the end of each block is kept; those that have matches are read again.

cdef struct Match:
    size_t start, end, secret_start, secret_end
    int pattern

cdef struct Search:
    const uint8_t *text
    size_t size
    size_t place  # where the next match may start
    size_t loaded  # the block in the machine's rows


cdef uint32_t read_block(
    Machine *m, const uint8_t *text, size_t low, size_t high, uint32_t row, bint *starts
) noexcept nogil:
    # The rows of the places from one to another, which is at `row`; those where a match starts are marked.
    # Returns the row of the first; NOT_KNOWN where there is no memory.
    cdef uint32_t found, flags = 0
    cdef uint32_t *rows = m.rows
    cdef const uint32_t *table = m.behind.table
    cdef const uint8_t *before
    cdef size_t i = high - low
    m.steps += i
    while i:
        before = text + low + i - 1
        found = table[row + m.class_of[before[0]]]
        if found >= FLAG:
            if found == NOT_KNOWN:
                found = step_behind(m, row, m.class_of[before[0]])
                if found == NOT_KNOWN:
                    return NOT_KNOWN
                table = m.behind.table
            row |= found & FLAG
            flags |= found
            found &= FLAG - 1
        rows[i] = row
        row = found
        i -= 1
    rows[0] = row
    if low == 0:
        found = table[row + m.classes]
        if found == NOT_KNOWN:
            found = step_behind(m, row, m.classes)  # makes no state
        rows[0] |= found & FLAG
        flags |= found
    starts[0] = flags & FLAG != 0
    return row


cdef int read_text(Machine *m, Search *s) noexcept nogil:
    # All of it. OK where a match starts anywhere, with the first block that has one; BAIL: none does.
    cdef size_t block = (s.size + BLOCK - 1) // BLOCK, high = s.size
    cdef uint32_t row
    cdef bint starts, found = False
    if block > m.edges_capacity and not grow_edges(m, block):
        return NO_MEMORY
    forget_states(&m.behind, SPARE)
    row = m.rows[0] = start_row(&m.behind, m.matching, m.at_end)
    while row != NOT_KNOWN:
        if block == 0:
            return OK if found else BAIL
        block -= 1
        memcpy(m.edges + block * m.words, set_of(&m.behind, row), set_size(&m.behind))
        m.edges_after[block] = m.behind.after[row // m.behind.width]
        if forget_states(&m.behind, SPARE):
            row = edge_row(m, block)
            if row == NOT_KNOWN:
                break
        row = read_block(m, s.text, block * BLOCK, high, row, &starts)
        high = block * BLOCK
        s.loaded = block
        if starts:
            found = True
            s.place = high + (high > 0)
    return NO_MEMORY


cdef inline uint32_t edge_row(Machine *m, size_t block) noexcept nogil:
    if start_row(&m.behind, m.matching, m.at_end) == NOT_KNOWN:
        return NOT_KNOWN
    return row_of(&m.behind, m.edges + block * m.words, m.edges_after[block])


cdef bint grow_edges(Machine *m, size_t blocks) noexcept nogil:
    cdef void *grown = realloc(m.edges, 2 * blocks * set_size(&m.behind) + 1)
    if grown == NULL:
        return False
    m.edges = <uint64_t *> grown
    grown = realloc(m.edges_after, 2 * blocks)
    if grown == NULL:
        return False
    m.edges_after = <uint8_t *> grown
    m.edges_capacity = 2 * blocks
    return True


cdef void trim_edges(Machine *m) noexcept nogil:
    # What a very long text took is not kept.
    if m.edges_capacity * set_size(&m.behind) > BEHIND_BYTES:
        free(m.edges)
        free(m.edges_after)
        m.edges, m.edges_after, m.edges_capacity = NULL, NULL, 0


cdef bint load_place(Machine *m, Search *s, size_t place) noexcept nogil:
    # Reads the block of a place again, unless it was the last one that was read. False: no memory.
    cdef size_t block = (place - 1) // BLOCK if place else 0
    cdef uint32_t row
    cdef bint starts
    if block == s.loaded:
        return True
    forget_states(&m.behind, SPARE)
    row = edge_row(m, block)
    if row == NOT_KNOWN:
        return False
    s.loaded = block
    return read_block(m, s.text, block * BLOCK, min(s.size, (block + 1) * BLOCK), row, &starts) != NOT_KNOWN


cdef int choose(Machine *m, Search *s, size_t place, Branch *at) noexcept nogil:
    # Goes on from a node without a byte, by the first way that leads to a match. BAIL: none does.
    cdef uint32_t row = m.rows[place - s.loaded * BLOCK] & (FLAG - 1)
    cdef const uint64_t *alive = set_of(&m.behind, row)
    cdef uint8_t after = m.behind.after[row // m.behind.width]
    cdef int before = m.sides[m.class_of[s.text[place - 1]]] if place else OUTSIDE
    cdef int bit, count = 1
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
            stack[count].node = m.others[branch.node]
            stack[count + 1] = branch
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
            if edge_holds(m, branch.node, before, after):
                stack[count].node = m.nexts[branch.node]
                count += 1
        else:
            bit = m.others[branch.node]
            if alive[bit // 64] >> (bit % 64) & 1:
                at[0] = branch
                return OK
    return BAIL


cdef int follow(Machine *m, Search *s, Match *match) noexcept nogil:
    # The match of the machine's first pattern that starts at the place.
    cdef Branch at = Branch(m.first[0], 0, 0)
    cdef size_t start = s.place, place = start
    cdef int outcome
    while True:
        if not load_place(m, s, place):
            return NO_MEMORY
        outcome = choose(m, s, place, &at)
        if outcome != OK:
            return outcome
        if m.kinds[at.node] == MATCH_NODE:
            match[0] = Match(start, place, start, place, 0)
            if at.secret_start < at.secret_end:
                match.secret_start, match.secret_end = at.secret_start, at.secret_end
            return OK
        at.node = m.nexts[at.node]
        place += 1


cdef int seek_start(Machine *m, Search *s) noexcept nogil:
    # On to where the next match starts. BAIL: there is none.
    while s.place < s.size:
        if not load_place(m, s, s.place):
            return NO_MEMORY
        if m.rows[s.place - s.loaded * BLOCK] & FLAG:
            return OK
        s.place += 1
    return BAIL


cdef int first_pattern(Machine *m, const uint8_t *text, size_t size) noexcept nogil:
    # The first pattern that matches at the start of a text; -1: none. NO_MEMORY.
    cdef Search s = Search(text, size, 0, 0)
    cdef int pattern
    if m.entries == 0:
        return -1
    if read_text(m, &s) == NO_MEMORY:
        return NO_MEMORY
    see_leading(m, m.rows[0] & (FLAG - 1), OUTSIDE)
    for pattern in range(m.entries):
        if is_seen(m, m.first[pattern]):
            return pattern
    return -1
