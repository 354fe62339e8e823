# Redaction of keys and of texts that were just written, by compiled rules.

cdef enum:  # as in _patterns.plans.Verdict
    VERDICT_KEEP, VERDICT_SCAN, VERDICT_MASK, VERDICT_HASH, VERDICT_DROP, VERDICT_OTHER

cdef enum:
    CHANGED = 1
    KNOWN_KEYS = 1024  # a power of two
    LONGEST_KNOWN = 256  # characters
    PROBES = 8
    LARGEST_KEPT = 1 << 20  # bytes of memory for texts
    HASH_SIZE = 16  # plans.HASH_DIGITS

cdef struct Known:
    PyObject *key
    Py_hash_t hashed
    int verdict


@cython.final
cdef class Redactor:
    """Says what becomes of attributes, and cleans texts; made by ``RedactionRules.redactor()``.

    Nothing here raises for whatever text it is given, and the time it takes is linear in its length.
    """

    cdef Machine keys
    cdef Machine texts  # all patterns, to tell which may match
    cdef Machine *patterns  # each
    cdef Search *searches  # of each, in the text at hand
    cdef uint8_t *wanted  # which have a match ahead; none but while a text is searched
    cdef Known *known
    cdef Writer out  # what a text becomes; and a key's UTF-8
    cdef Hmac hash_key
    cdef bytes held  # what the pointers below point to
    cdef const uint8_t *verdicts
    cdef const uint8_t *actions
    cdef const uint8_t *checks
    cdef const uint8_t *mask_octets
    cdef size_t mask_size
    cdef readonly int otherwise
    cdef object scope_table  # see batch.pxi
    cdef readonly str mask
    cdef readonly bint span_names, events, exceptions, statuses, links

    def __cinit__(self, plan):
        cdef bytes hash_key = plan.hash_key
        make_machine(&self.keys, plan.keys)
        make_machine(&self.texts, plan.texts)
        self.make_patterns(plan.patterns)
        self.known = <Known *> array_of(KNOWN_KEYS + PROBES, sizeof(Known))
        self.otherwise, self.mask = plan.otherwise, plan.mask
        mask = utf8_octets(self.mask)
        self.mask_size = len(mask)
        self.held = plan.verdicts + plan.actions + plan.checks + mask
        self.verdicts = <const uint8_t *> <const char *> self.held
        self.actions = self.verdicts + self.keys.entries
        self.checks = self.actions + self.texts.entries
        self.mask_octets = self.checks + self.texts.entries
        hmac_key(&self.hash_key, <const uint8_t *> <const char *> hash_key, len(hash_key))
        self.span_names, self.events, self.exceptions = plan.span_names, plan.events, plan.exceptions
        self.statuses, self.links = plan.statuses, plan.links

    cdef int make_patterns(self, tuple programs) except -1:
        cdef int i
        if len(programs) != self.texts.entries:
            raise ValueError("a program for each pattern")
        self.searches = <Search *> array_of(self.texts.entries, sizeof(Search))
        self.wanted = <uint8_t *> array_of(self.texts.entries, 1)
        self.patterns = <Machine *> array_of(self.texts.entries, sizeof(Machine))
        for i in range(self.texts.entries):
            make_machine(&self.patterns[i], programs[i])
        return 0

    def __dealloc__(self):
        cdef int i
        if self.patterns != NULL:
            for i in range(self.texts.entries):
                free_machine(&self.patterns[i])
            free(self.patterns)
        free(self.searches)
        free(self.wanted)
        free_machine(&self.keys)
        free_machine(&self.texts)
        free(self.out.data)
        if self.known != NULL:
            for i in range(KNOWN_KEYS + PROBES):
                drop(self.known[i].key)
            free(self.known)

    # --- for the encoder: none of these runs Python code or makes an object

    cdef inline int verdict(self, PyObject *key) noexcept:
        # Of a str; OTHER: no rule names it. Fails safe: what can't be told, for want of memory, is masked.
        cdef Py_hash_t hashed = text_hash(key)
        cdef Known *at = &self.known[<size_t> hashed & (KNOWN_KEYS - 1)]
        if at.key == key:
            return at.verdict
        return self.look_up(key)

    cdef int look_up(self, PyObject *key) noexcept:
        cdef Py_hash_t hashed
        cdef Known *home
        cdef Known *at
        cdef PyObject *old
        cdef int i, found
        if type_of(key) != py_str_type or not otlpfast_ready(key) or text_length(key) > LONGEST_KNOWN:
            found = self.find_out(key)
            return found if found >= 0 else VERDICT_MASK
        hashed = PyObject_Hash(key)
        home = at = &self.known[<size_t> hashed & (KNOWN_KEYS - 1)]
        for i in range(PROBES):
            if at.key == NULL:
                break
            if at.hashed == hashed and (at.key == key or otlpfast_same_text(at.key, key)):
                return at.verdict
            at += 1
        else:
            at = home
        found = self.find_out(key)
        if found >= 0:
            keep(key)
            old = at.key
            at[0] = Known(key, hashed, found)
            drop(old)
        return found if found >= 0 else VERDICT_MASK

    cdef int find_out(self, PyObject *key) noexcept:
        cdef const uint8_t *text
        cdef size_t size
        cdef int rule, found
        if not otlpfast_ready(key):
            return NO_MEMORY
        size = text_length(key)
        if is_ascii(key):
            text = <const uint8_t *> text_data(key)
        else:
            self.out.pos, self.out.failed = 0, False
            if not room(&self.out, size * otlpfast_widest(key)):
                return NO_MEMORY
            size = otlpfast_utf8(key, self.out.data)
            text = self.out.data
        rule = first_pattern(&self.keys, text, size)
        trim_edges(&self.keys)
        if rule == NO_MEMORY:
            return NO_MEMORY
        found = self.verdicts[rule] if rule >= 0 else VERDICT_OTHER
        return found if found == VERDICT_KEEP else self.unless_secret(found, text, size)

    cdef int unless_secret(self, int verdict, const uint8_t *text, size_t size) noexcept:
        # A key in which a pattern finds something goes, whatever its value is.
        cdef int outcome = self.finds(text, size)
        return VERDICT_DROP if outcome == OK else NO_MEMORY if outcome == NO_MEMORY else verdict

    cdef int redact(self, Writer *w, size_t start) noexcept:
        # Cleans the UTF-8 from there to the writer's end. OK, CHANGED or NO_MEMORY: then it is as it was.
        cdef Match match
        cdef size_t done = 0
        cdef int outcome
        if not self.may_find(w.data + start, w.pos - start):
            return OK
        outcome = self.begin_search(w.data + start, w.pos - start)
        self.out.pos, self.out.failed = 0, False
        while outcome == OK:
            outcome = self.next_match(&match)
            if outcome == OK:
                outcome = OK if self.put_instead(w.data + start, done, &match) else NO_MEMORY
                done = match.secret_end
        outcome = self.replace(w, start, done) if outcome != NO_MEMORY else NO_MEMORY
        self.end_search()
        return outcome

    cdef int finds(self, const uint8_t *text, size_t size) noexcept:
        # OK: a pattern finds something in that UTF-8; BAIL: none does. NO_MEMORY.
        cdef Match match
        cdef int outcome
        if not self.may_find(text, size):
            return BAIL
        outcome = self.begin_search(text, size)
        if outcome == OK:
            outcome = self.next_match(&match)
        self.end_search()
        return outcome

    cdef inline bint may_find(self, const uint8_t *text, size_t size) noexcept:
        return self.texts.entries and size >= self.texts.least and (
            sift(&self.texts, text, size, self.wanted)
        )

    cdef int begin_search(self, const uint8_t *text, size_t size) noexcept:
        # Where each pattern that may match does so first; the others are wanted no more.
        cdef int i, outcome
        for i in range(self.texts.entries):
            if self.wanted[i]:
                self.searches[i] = Search(text, size, 0, 0)
                outcome = read_text(&self.patterns[i], &self.searches[i])
                if outcome == OK:
                    outcome = seek_start(&self.patterns[i], &self.searches[i])
                if outcome == NO_MEMORY:
                    return NO_MEMORY
                self.wanted[i] = outcome == OK
        return OK

    cdef int next_match(self, Match *match) noexcept:
        # The next one: at a place the first pattern that matches has it. BAIL: there is none.
        cdef int i, best, outcome
        cdef Search *s
        while True:
            best = -1
            for i in range(self.texts.entries):
                if self.wanted[i] and (best < 0 or self.searches[i].place < self.searches[best].place):
                    best = i
            if best < 0:
                return BAIL
            s = &self.searches[best]
            outcome = follow(&self.patterns[best], s, match)
            if outcome == OK and self.checks[best]:
                match.end = match.secret_end = card_end(s.text, s.place, s.size)
            if outcome != OK:
                return outcome
            match.pattern = best
            if match.end:
                return self.go_on(match.end)
            s.place += 1  # no card number
            outcome = seek_start(&self.patterns[best], s)
            if outcome == NO_MEMORY:
                return NO_MEMORY
            self.wanted[best] = outcome == OK

    cdef int go_on(self, size_t place) noexcept:
        # All patterns, from there. OK or NO_MEMORY.
        cdef int i, outcome
        for i in range(self.texts.entries):
            if self.wanted[i] and self.searches[i].place < place:
                self.searches[i].place = place
                outcome = seek_start(&self.patterns[i], &self.searches[i])
                if outcome == NO_MEMORY:
                    return NO_MEMORY
                self.wanted[i] = outcome == OK
        return OK

    cdef void end_search(self) noexcept:
        # Nothing is wanted any more; and what a very long text took is not kept.
        cdef int i
        memset(self.wanted, 0, self.texts.entries)
        for i in range(self.texts.entries):
            trim_edges(&self.patterns[i])
        if self.out.cap > LARGEST_KEPT:
            free(self.out.data)
            self.out = Writer(NULL, 0, 0, False)

    cdef int replace(self, Writer *w, size_t start, size_t done) noexcept:
        # The text with what was put together, which stands for all before `done`.
        cdef size_t size = w.pos - start
        if not done:
            return OK
        if not put_part(&self.out, w.data + start + done, size - done):
            return NO_MEMORY
        if self.out.pos > size and not room(w, self.out.pos - size):
            return NO_MEMORY
        if self.out.pos:
            memcpy(w.data + start, self.out.data, self.out.pos)
        w.pos = start + self.out.pos
        return CHANGED

    cdef bint put_instead(self, const uint8_t *text, size_t done, Match *match) noexcept:
        # What is before a match, and what stands for it.
        cdef int action = self.actions[match.pattern]
        cdef size_t start = match.secret_start
        if not put_part(&self.out, text + done, start - done):
            return False
        if action == VERDICT_MASK:
            return self.put_mask(&self.out)
        if action == VERDICT_HASH:
            return put_digest(&self.out, &self.hash_key, text + start, match.secret_end - start)
        return True

    cdef int put_hash(self, Writer *w, size_t start) noexcept:
        # The keyed hash in the place of all from there to the writer's end. OK or NO_MEMORY.
        cdef size_t end = w.pos
        if not room(w, HASH_SIZE):
            return NO_MEMORY
        w.pos = start
        put_digest(w, &self.hash_key, w.data + start, end - start)
        return OK

    cdef bint put_mask(self, Writer *w) noexcept:
        # What stands for what is masked. False where there is no memory.
        return put_part(w, self.mask_octets, self.mask_size)

    # --- the same for Python

    @property
    def steps(self):
        """Bytes read and nodes visited so far: what the time is proportional to."""
        cdef int64_t steps = self.keys.steps + self.texts.steps
        cdef int i
        for i in range(self.texts.entries):
            steps += self.patterns[i].steps
        return steps

    def action(self, key):
        """The Verdict for an attribute's key."""
        cdef int found = self.rule(key)
        return self.otherwise if found == VERDICT_OTHER else found

    def rule(self, key):
        """The same, but OTHER where no rule names the key."""
        check_text("key", key)
        return self.verdict(<PyObject *> key)

    def clean(self, text):
        """The text without what the patterns find in it."""
        check_text("text", text)
        return self.clean_bytes(utf8_octets(text)).decode("utf-8", "replace")

    def clean_bytes(self, data):
        """The same of UTF-8."""
        cdef bytes octets = bytes(data)
        cdef Writer w = Writer(NULL, 0, 0, False)
        try:
            if not put_part(&w, <const char *> octets, len(octets)) or self.redact(&w, 0) == NO_MEMORY:
                raise MemoryError
            return PyBytes_FromStringAndSize(<const char *> w.data, w.pos)
        finally:
            free(w.data)

    def hash(self, value):
        """The keyed hash of a text, or of bytes: 16 hexadecimal digits of HMAC-SHA256."""
        cdef bytes octets = utf8_octets(value) if isinstance(value, str) else bytes(value)
        cdef Writer w = Writer(NULL, 0, 0, False)
        try:
            if not put_digest(&w, &self.hash_key, <const uint8_t *> <const char *> octets, len(octets)):
                raise MemoryError
            return PyBytes_FromStringAndSize(<const char *> w.data, w.pos).decode()
        finally:
            free(w.data)


cdef inline bint put_part(Writer *w, const void *data, size_t size) noexcept nogil:
    if not room(w, size):
        return False
    if size:
        put_bytes(w, data, size)
    return True


cdef bint put_digest(Writer *w, const Hmac *key, const uint8_t *data, size_t size) noexcept nogil:
    cdef uint8_t digest[32]
    cdef int i
    hmac_of(key, data, size, digest)
    if not room(w, HASH_SIZE):
        return False
    for i in range(HASH_SIZE):
        put_byte(w, b"0123456789abcdef"[digest[i // 2] >> (0 if i & 1 else 4) & 15])
    return True


cdef int check_text(str name, object text) except -1:
    if not isinstance(text, str):
        raise TypeError(f"{name}={text!r}: a str is allowed")
    return 0


cdef bytes utf8_octets(object text):
    # With U+FFFD for surrogates.
    cdef bytes made = PyBytes_FromStringAndSize(NULL, text_length(<PyObject *> text) * 4)
    cdef size_t size = otlpfast_utf8(<PyObject *> text, <uint8_t *> <char *> made)
    return made[:size]
