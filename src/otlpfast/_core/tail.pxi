# Tail sampling: encoded spans wait with their trace until it is known whether that is to be kept.
#
# Python code (rules, copies of odd spans) runs before the traces are looked at, and again only when one has
# been taken out of them: then it is nobody else's.

cdef enum:  # why a trace is kept, or not: the counters of _Tail, in the order of _account.VERDICTS
    FOR_ERROR, FOR_SLOWNESS, FOR_RULE, FOR_RATIO, SAMPLED_AWAY, EARLY

cdef enum:  # what a span takes that is kept as it is: bytes, and how many for each when it is encoded
    OBJECT_BYTES = 3072
    OBJECT_FACTOR = 4

cdef enum:
    MAX_PLACES = 256
    MAX_STATE_ENTRY = 256  # characters of OpenTelemetry's entry in a tracestate

cdef object _state_key = "ot"


cdef struct Traits:  # what decisions are made by
    Context ids
    uint64_t randomness
    int64_t begun, lasted
    bint is_root, has_error


cdef int read_beginning(PyObject *span, Traits *traits) noexcept:
    # What is known of a span from its start on; BAIL as the encoder.
    cdef Context parent
    cdef PyObject *fields[SPAN_FIELDS]
    cdef int i
    cdef int outcome
    if is_own_span(span):
        if (<_NativeSpan> span).is_odd:
            return BAIL
        traits.ids = (<_NativeSpan> span).ids
        traits.is_root = not (<_NativeSpan> span).has_parent or (<_NativeSpan> span).parent_ids.remote
        traits.begun = (<_NativeSpan> span).begun_at
        traits.randomness = randomness_of(&traits.ids)
        return OK
    if not is_known_span(span):
        return BAIL
    for i in (F_CONTEXT, F_PARENT, F_START_TIME):
        fields[i] = field(span, i)
    outcome = read_context(fields[F_CONTEXT], &traits.ids)
    if outcome == OK:
        traits.is_root = read_context(fields[F_PARENT], &parent) != OK or parent.remote
        traits.begun = plain_nanoseconds(fields[F_START_TIME])
        traits.randomness = randomness_of(&traits.ids)
    for i in (F_CONTEXT, F_PARENT, F_START_TIME):
        drop(fields[i])
    return outcome


cdef int read_traits(PyObject *span, Traits *traits) noexcept:
    # The same of one that has ended, with what is known by then.
    cdef PyObject *status
    cdef PyObject *ended
    cdef int outcome = read_beginning(span, traits)
    if outcome != OK:
        return outcome
    if is_own_span(span):
        traits.lasted = (<_NativeSpan> span).ended_at - traits.begun
        return read_status(<PyObject *> (<_NativeSpan> span).span_status, traits)
    status, ended = field(span, F_STATUS), field(span, F_END_TIME)
    traits.lasted = plain_nanoseconds(ended) - traits.begun
    outcome = read_status(status, traits)
    drop(status)
    drop(ended)
    return outcome


cdef int64_t plain_nanoseconds(PyObject *value) noexcept:
    # 0 for what is no time: the encoder then has the span made plain, and this is asked again.
    cdef int64_t found = 0
    if value != NULL and is_int(value):
        otlpfast_nanoseconds(value, &found)
    return found


cdef int read_status(PyObject *status, Traits *traits) noexcept:
    cdef PyObject *code
    traits.has_error = False
    if status == NULL or status == _no_status or status == py_none:
        return OK
    if type_of(status) != _status_type:
        return BAIL
    code = field(status, F_STATUS_CODE)
    traits.has_error = code == _status_error
    drop(code)
    return OK


cdef uint64_t randomness_of(Context *ids) noexcept:
    # The 56 bits that a consistent decision is made by: _thresholds.Entry.of(), or those of the trace's id.
    cdef PyObject *entries
    cdef PyObject *key
    cdef PyObject *value
    cdef Py_ssize_t at = 0
    cdef uint64_t found = ids.trace_low & ((<uint64_t> 1 << RANDOMNESS_BITS) - 1)
    if ids.trace_state == _default_trace_state or type_of(ids.trace_state) != _trace_state_type:
        return found
    entries = field(ids.trace_state, F_DICT)
    if entries != NULL and is_exact_dict(entries):
        while dict_next(entries, &at, &key, &value):
            if type_of(key) == py_str_type and otlpfast_same_text(key, <PyObject *> _state_key):
                read_randomness(value, &found)
    drop(entries)
    return found


cdef void read_randomness(PyObject *entry, uint64_t *found) noexcept:
    # The last "rv" member's, where that has 14 hexadecimal digits.
    cdef uint8_t text[4 * MAX_STATE_ENTRY + 16]
    cdef size_t length, start = 0, end
    cdef uint64_t own = found[0]
    if not is_str(entry) or not otlpfast_ready(entry) or text_length(entry) > MAX_STATE_ENTRY:
        return
    length = otlpfast_utf8(entry, text)
    while start < length:
        end = start
        while end < length and text[end] != c";":
            end += 1
        if end - start >= 3 and text[start] == c"r" and text[start + 1] == c"v" and text[start + 2] == c":":
            found[0] = own
            read_digits(&text[start + 3], end - start - 3, found)
        start = end + 1


cdef void read_digits(uint8_t *text, size_t length, uint64_t *found) noexcept nogil:
    cdef uint64_t number = 0
    cdef size_t i
    if length != RANDOMNESS_BITS // 4:
        return
    for i in range(length):
        if c"0" <= text[i] <= c"9":
            number = number << 4 | text[i] - c"0"
        elif c"a" <= text[i] <= c"f":
            number = number << 4 | text[i] - c"a" + 10
        else:
            return
    found[0] = number


@cython.final
cdef class _Tail:
    # The traces of one queue that wait, and how a TailSampler decides on them.
    cdef object sampler, rules
    cdef Redactor redactor
    cdef PaddedCounters verdicts
    cdef _Traces traces
    cdef list places
    cdef _Group last
    cdef Py_ssize_t max_bytes, held  # of undecided traces, all that they take
    cdef Py_ssize_t spans  # that wait here
    cdef Py_ssize_t moving  # traces on their way to the batches
    cdef size_t usual_size
    cdef int64_t slow, patience, latest  # nanoseconds; when the last trace began
    cdef uint64_t threshold
    cdef uint64_t *rule_thresholds
    cdef bint errors, rules_are_of_roots
    cdef int32_t finished  # the trace of the span that came last, if nothing more is expected of that

    def __cinit__(self, sampler, Redactor redactor):
        cdef Py_ssize_t i
        self.sampler, self.redactor = sampler, redactor
        self.rules, self.rules_are_of_roots = sampler.match, sampler.rules_are_of_roots
        self.verdicts = PaddedCounters(VERDICTS)
        self.traces = _Traces(sampler.remembered_traces)
        self.places = []
        self.usual_size = 256
        self.max_bytes, self.errors = sampler.max_bytes, sampler.errors
        self.slow, self.patience = sampler.slow_nanoseconds, sampler.decision_nanoseconds
        self.threshold = sampler.threshold
        self.rule_thresholds = <uint64_t *> calloc(len(sampler.rules) + 1, sizeof(uint64_t))
        if self.rule_thresholds == NULL:
            raise MemoryError
        for i, rule in enumerate(sampler.rules):
            self.rule_thresholds[i] = rule.threshold

    def __dealloc__(self):
        free(self.rule_thresholds)

    # --- what runs Python code

    cdef int32_t first_rule(self, object span, bint is_root) except -2:
        if self.rules is None or self.rules_are_of_roots and not is_root:
            return NOWHERE
        return self.rules(span, is_root, attributes_of)

    cdef _Group place_of(self, PyObject *span):
        # Where a span belongs. A _Group without spans stands for it: resource, scope, and their entry.
        cdef PyObject *resource
        cdef PyObject *scope
        cdef _Origin origin
        if is_own_span(span):
            origin = (<_NativeSpan> span).origin
            return self.find_place(<PyObject *> origin.resource, <PyObject *> origin.scope)
        resource = field(span, F_RESOURCE)
        scope = field(span, F_SCOPE)
        try:
            return self.find_place(resource, scope)
        finally:
            drop(resource)
            drop(scope)

    cdef _Group find_place(self, PyObject *resource, PyObject *scope):
        cdef _Group place = self.last
        if place is not None and place.holds(resource, scope):
            return place
        for place in self.places:
            if place.holds(resource, scope):
                self.last = place
                return place
        place = _Group.__new__(_Group)
        place.resource = <object> resource if resource else None
        place.scope = <object> scope if scope else None
        if len(self.places) >= MAX_PLACES:  # those that are needed are held by the spans
            self.places = []
        self.places.append(place)
        self.last = place
        return place

    # --- what does not

    cdef void open(self, Traits *traits) noexcept:
        # A span of the trace has started. Where there is no memory to learn of it, the end of a root decides.
        cdef int32_t number = self.traces.find(traits.ids.trace_high, traits.ids.trace_low)
        cdef Trace *trace
        if number == NOWHERE and self.held + _trace_bytes <= self.max_bytes:
            number = self.begin(traits)
        if number == NOWHERE or self.traces.at[number].decision != UNDECIDED:
            return
        trace = self.traces.at[number].trace
        trace.open += 1
        if traits.is_root:
            trace.has_root = True
            trace.root_began = traits.begun

    cdef int32_t begin(self, Traits *traits) noexcept:
        cdef int32_t number = self.traces.add(traits.ids.trace_high, traits.ids.trace_low)
        if number != NOWHERE:
            self.traces.at[number].trace.began = self.latest = monotonic_ns()
            self.traces.at[number].trace.randomness = traits.randomness
            self.held += _trace_bytes
        return number

    cdef int add(
        self, int32_t number, Traits *traits, int32_t rule, PyObject *subject, PyObject *span, bint plain,
        Py_ssize_t kept_size,
    ) noexcept:
        # A span that has ended, as put_span() answers; nothing has happened where that is BAIL. With a
        # kept_size the subject is the span itself, and it stays as it is.
        cdef Trace *trace
        cdef int outcome
        if number == NOWHERE:
            number = self.begin(traits)
            if number == NOWHERE:
                self.finished = NOWHERE
                return NO_MEMORY
        trace = self.traces.at[number].trace
        self.held -= bytes_held(trace)
        outcome = self.write(trace, subject, span, plain, kept_size)
        self.held += bytes_held(trace)
        if outcome == BAIL:
            return outcome
        trace.has_error |= traits.has_error
        if traits.is_root:
            trace.is_slow |= traits.lasted >= self.slow
            trace.root_began = 0
        if rule != NOWHERE and (trace.rule == NOWHERE or rule < trace.rule):
            trace.rule = rule
        if trace.open > 0:
            trace.open -= 1
        self.finished = number if trace.open == 0 and (trace.has_root or traits.is_root) else NOWHERE
        return outcome

    cdef int write(
        self, Trace *trace, PyObject *subject, PyObject *span, bint plain, Py_ssize_t kept_size
    ) noexcept:
        cdef Writer *w = &trace.out
        cdef Record record = Record(subject, -kept_size)
        cdef size_t before = w.pos
        cdef int outcome = OK
        if not make_room(w, sizeof(Record) + (0 if kept_size else self.usual_size)):
            return NO_MEMORY
        w.pos += sizeof(Record)
        if not kept_size:
            outcome = put_span(w, span, plain, redactor_pointer(self.redactor))
            record.size = w.pos - before - sizeof(Record)
            if outcome != OK:
                w.pos = before
                return outcome
            self.usual_size = min(record.size, 2048) + 64  # the encoder wants some to spare
        memcpy(w.data + before, &record, sizeof(Record))
        keep(subject)
        trace.spans += 1
        self.spans += 1
        trace.nbytes += kept_size or record.size
        if kept_size:
            trace.kept_bytes += OBJECT_BYTES + OBJECT_FACTOR * kept_size
        return outcome

    cdef inline int reason_of(self, Traits *traits, int32_t rule) noexcept:
        # Why this span alone would have its trace kept; SAMPLED_AWAY where it would not.
        if traits.has_error and self.errors:
            return FOR_ERROR
        if traits.is_root and traits.lasted >= self.slow:
            return FOR_SLOWNESS
        if rule != NOWHERE and traits.randomness >= self.rule_thresholds[rule]:
            return FOR_RULE
        return SAMPLED_AWAY

    cdef int verdict(self, Trace *trace) noexcept:
        if trace.has_error and self.errors:
            return FOR_ERROR
        if trace.is_slow or trace.root_began and now_ns() - trace.root_began >= self.slow:
            return FOR_SLOWNESS
        if trace.rule != NOWHERE:
            return FOR_RULE if trace.randomness >= self.rule_thresholds[trace.rule] else SAMPLED_AWAY
        return FOR_RATIO if trace.randomness >= self.threshold else SAMPLED_AWAY

    cdef bint is_late(self, int32_t number, Traits *traits, int32_t rule, bint *is_kept) noexcept:
        # Whether it was decided on the trace, and how. What would have had it kept changes that from now on.
        if number == NOWHERE or self.traces.at[number].decision == UNDECIDED:
            return False
        if self.traces.at[number].decision == NOT_KEPT and self.reason_of(traits, rule) != SAMPLED_AWAY:
            self.traces.at[number].decision = KEPT
        is_kept[0] = self.traces.recall(number) == KEPT
        return True

    cdef Trace *take_out(self, int32_t number, bint early, bint *is_kept) noexcept:
        # Decides on a trace; what it had, which is the caller's.
        cdef Trace *trace = self.traces.at[number].trace
        cdef int verdict = self.verdict(trace)
        is_kept[0] = verdict != SAMPLED_AWAY
        self.traces.decide(number, KEPT if is_kept[0] else NOT_KEPT)
        self.held -= _trace_bytes + bytes_held(trace)
        self.verdicts.count(verdict)
        if early:
            self.verdicts.count(EARLY)
        return trace

    cdef int32_t most_pressing(self) noexcept:
        # The trace that has to go before its time: for room, or because it has waited for too long.
        cdef int32_t number = self.traces.waiting.oldest
        cdef Trace *trace
        while number != NOWHERE:
            trace = self.traces.at[number].trace
            if self.held > self.max_bytes:
                if trace.spans:
                    return number
                self.forget(number)
            elif trace.began > self.latest - self.patience:
                return NOWHERE
            elif trace.spans:
                return number
            else:
                self.wait_again(number, self.latest)
            number = self.traces.waiting.oldest
        return NOWHERE

    cdef void wait_again(self, int32_t number, int64_t now) noexcept:
        # A trace without spans, if some are open.
        if self.traces.at[number].trace.open:
            self.traces.wait_again(number, now)
        else:
            self.forget(number)

    cdef inline Py_ssize_t bytes_of(self, int32_t number) noexcept:
        return self.traces.at[number].trace.nbytes

    cdef int64_t next_decision(self) noexcept:
        # In how many nanoseconds. One that begins from now on is due no earlier than that.
        cdef int32_t number = self.traces.waiting.oldest
        if number == NOWHERE:
            return self.patience
        return self.patience + self.traces.at[number].trace.began - monotonic_ns()

    cdef void forget(self, int32_t number) noexcept:
        # Of a trace without spans: all that is lost is how many are open.
        self.held -= _trace_bytes
        drop_trace(self.traces.remove(number))

    cdef int32_t oldest_since(self, int64_t began) noexcept:
        # The oldest trace that has waited since then, with spans; those without wait on.
        cdef int32_t number = self.traces.waiting.oldest
        cdef int64_t now = monotonic_ns()
        cdef Py_ssize_t left = self.traces.waiting.count
        while left and number != NOWHERE and self.traces.at[number].trace.began <= began:
            if self.traces.at[number].trace.spans:
                return number
            self.wait_again(number, now)
            number = self.traces.waiting.oldest
            left -= 1
        return NOWHERE


def attributes_of(object span):
    """A span's attributes, for a look: of one of otlpfast's own without what makes them follow changes."""
    cdef _NativeSpan own
    cdef dict found
    if not is_own_span(<PyObject *> span) or (<_NativeSpan> span).attributes_object is not None:
        return span.attributes
    own = <_NativeSpan> span
    found = {}
    fill_dict(found, &own.slots)
    return found


cdef bint make_room(Writer *w, size_t more) noexcept:
    # A quarter more than there is, where the writer by itself takes twice as much: this waits for long.
    cdef void *data
    cdef size_t cap
    if w.cap - w.pos >= more:
        return True
    cap = w.cap + w.cap // 4
    if cap - w.pos < more:
        cap = w.pos + more
    data = realloc(w.data, cap)
    if data == NULL:
        return False
    w.data, w.cap = <uint8_t *> data, cap
    return True
