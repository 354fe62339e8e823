"""Samplers that go by the instrumentation scope: the SDK does not tell them which that is."""

from __future__ import annotations

import copy

from opentelemetry.sdk.trace.sampling import ParentBased, Sampler

_PARTS = (
    "_root",
    "_remote_parent_sampled",
    "_remote_parent_not_sampled",
    "_local_parent_sampled",
    "_local_parent_not_sampled",
)


def sampler_of_scope(sampler: Sampler, name: str) -> Sampler:
    """The sampler for the spans of a scope: mostly the same."""
    of_scope = getattr(type(sampler), "of_scope", None)  # of its own, not what a wrapper passes on
    if of_scope is not None:
        scoped: Sampler = of_scope(sampler, name)
        return scoped
    if not isinstance(sampler, ParentBased) or not all(hasattr(sampler, part) for part in _PARTS):
        return sampler
    parts = {part: getattr(sampler, part) for part in _PARTS}
    of_this = {part: sampler_of_scope(asked, name) for part, asked in parts.items()}
    if all(of_this[part] is parts[part] for part in _PARTS):
        return sampler
    made = copy.copy(sampler)
    vars(made).update(of_this)
    return made
