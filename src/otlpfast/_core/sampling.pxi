# The SDK's own samplers, without their Python code.

cdef enum:
    DROP, KEEP, BY_RATIO, ASK  # ask the sampler itself

cdef struct Rule:
    int kind
    uint64_t bound


cdef Rule rule_of(object sampler):
    # What one of the SDK's samplers would say; ASK for any other, and for subclasses.
    cdef Rule rule = Rule(ASK, 0)
    kind = type(sampler)
    if kind in _static_samplers:
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

_static_samplers = (StaticSampler, sampling._AlwaysOn, sampling._AlwaysOff)
_parent_samplers = (
    ParentBased, ParentBasedTraceIdRatio, sampling._ParentBasedAlwaysOn, sampling._ParentBasedAlwaysOff
)

cdef enum:  # which rule of a parent-based sampler
    ROOT, REMOTE_SAMPLED, REMOTE_NOT_SAMPLED, LOCAL_SAMPLED, LOCAL_NOT_SAMPLED


cdef inline int which_rule(bint has_parent, Context *parent) noexcept nogil:
    if not has_parent:
        return ROOT
    if parent.remote:
        return REMOTE_SAMPLED if parent.flags & 1 else REMOTE_NOT_SAMPLED
    return LOCAL_SAMPLED if parent.flags & 1 else LOCAL_NOT_SAMPLED
