# Samplers without their Python code: the SDK's own, and those of otlpfast.sampling.

NATIVE_SAMPLERS = {}  # otlpfast.sampling says which class is "rate", which "threshold" and which "rules"

cdef enum:
    DROP, KEEP, BY_RATIO, ASK, BY_RATE, BY_THRESHOLD, BY_RULES  # ASK: the sampler itself

cdef enum:
    RANDOMNESS_BITS = 56

cdef struct Rule:
    int kind
    uint64_t bound
    PyObject *state  # a RateLimiter, or the TraceState of what is kept, see _states; or a _RuleTable

cdef dict _states = {}  # what rules have; never let go, for a span that starts may be about to take it


@cython.final
cdef class RateLimiter:
    """Allows so many a second, in the long run, and a burst after a quiet time.

    Args:
        rate: a second; positive.
        burst: as many at once; at least 1.
    """

    cdef double interval, tolerance  # nanoseconds
    cdef double due  # when the next one would come at an even pace

    def __cinit__(self, double rate, double burst=1.0):
        if not rate > 0 or not burst >= 1:
            raise ValueError(f"rate={rate}, burst={burst}: more than 0, and at least 1")
        self.interval = 1e9 / rate
        self.tolerance = (burst - 1) * self.interval
        self.due = 0

    cdef inline bint take(self, double now) noexcept:
        cdef double due = self.due if self.due > now else now
        if due - now > self.tolerance:
            return False
        self.due = due + self.interval
        return True

    def allow(self, now=None) -> bool:
        """Whether one more is allowed now, in nanoseconds of a monotonic clock; then it counts."""
        return self.take(monotonic_ns() if now is None else now)


cdef Rule rule_of(object sampler, int which, list tables):
    # What a sampler would say; ASK for those of others, and for subclasses. Who takes it keeps the tables.
    cdef Rule rule = Rule(ASK, 0, NULL)
    kind = type(sampler)
    if kind in _parent_samplers:
        return rule_of(getattr(sampler, _parts[which]), which, tables)
    if kind in NATIVE_SAMPLERS:
        if NATIVE_SAMPLERS[kind] == "rules":
            set_rules(&rule, sampler, which, tables)
        elif which == ROOT:  # where there is a parent, its tracestate has a say
            set_own_rule(&rule, sampler, NATIVE_SAMPLERS[kind])
    elif kind in _static_samplers:
        if sampler._decision is Decision.DROP:
            rule.kind = DROP
        elif sampler._decision is Decision.RECORD_AND_SAMPLE:
            rule.kind = KEEP
    elif kind is TraceIdRatioBased:
        bound = sampler.bound
        if bound >= 1 << 64:
            rule.kind = KEEP
        elif bound >= 0:
            rule.kind = BY_RATIO
            rule.bound = bound
    return rule


cdef int set_own_rule(Rule *rule, object sampler, str how) except -1:
    if how == "rate":
        rule.kind, state = BY_RATE, sampler._limiter
        if type(state) is not RateLimiter:
            raise TypeError(f"a RateLimiter, not {type(state).__name__}")
    else:
        rule.kind, rule.bound = BY_THRESHOLD, sampler.threshold
        state = sampler._of_root or DEFAULT_TRACE_STATE
    state = _states.setdefault(id(state), state)
    rule.state = <PyObject *> state
    return 0


cdef int set_rules(Rule *rule, object sampler, int which, list tables) except -1:
    # The sampler keeps what is made of it: all tracers of a provider have the same one.
    made = sampler._tables.get(which)
    if made is None:
        plan = sampler._plan()
        if plan is None:
            return 0
        made = sampler._tables.setdefault(which, rule_table(plan, which))
    if type(made) is not _RuleTable:
        raise TypeError(f"a table of rules, not {type(made).__name__}")
    tables.append(made)
    rule.kind, rule.state = BY_RULES, <PyObject *> made
    return 0


cdef bint decides(Rule *rule, Context *ids) noexcept:
    # Of a rule that is neither DROP, KEEP nor ASK: whether a root with these ids is kept.
    if rule.kind == BY_RATIO:
        return ids.trace_low < rule.bound
    if rule.kind == BY_RATE:
        return (<RateLimiter> rule.state).take(<double> monotonic_ns())
    if ids.trace_low & ((<uint64_t> 1 << RANDOMNESS_BITS) - 1) < rule.bound:
        return False
    ids.trace_state = rule.state
    return True

_static_samplers = (StaticSampler, sampling._AlwaysOn, sampling._AlwaysOff)
_parent_samplers = (
    ParentBased, ParentBasedTraceIdRatio, sampling._ParentBasedAlwaysOn, sampling._ParentBasedAlwaysOff
)

cdef enum:  # which rule of a parent-based sampler
    ROOT, REMOTE_SAMPLED, REMOTE_NOT_SAMPLED, LOCAL_SAMPLED, LOCAL_NOT_SAMPLED

cdef tuple _parts = (
    "_root", "_remote_parent_sampled", "_remote_parent_not_sampled", "_local_parent_sampled",
    "_local_parent_not_sampled"
)


cdef inline int which_rule(bint has_parent, Context *parent) noexcept nogil:
    if not has_parent:
        return ROOT
    if parent.remote:
        return REMOTE_SAMPLED if parent.flags & 1 else REMOTE_NOT_SAMPLED
    return LOCAL_SAMPLED if parent.flags & 1 else LOCAL_NOT_SAMPLED
