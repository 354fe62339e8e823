"""Samplers that go by the instrumentation scope: the SDK does not tell them which that is."""

from __future__ import annotations

import copy
from typing import Protocol, runtime_checkable

from opentelemetry.sdk.trace.sampling import ParentBased, Sampler


@runtime_checkable
class _Scoped(Protocol):
    def of_scope(self, name: str) -> Sampler: ...


_PARTS = (
    "_root",
    "_remote_parent_sampled",
    "_remote_parent_not_sampled",
    "_local_parent_sampled",
    "_local_parent_not_sampled",
)


def sampler_of_scope(sampler: Sampler, name: str) -> Sampler:
    """The sampler for the spans of a scope: mostly the same."""
    if isinstance(sampler, _Scoped):
        return sampler.of_scope(name)
    if not isinstance(sampler, ParentBased):
        return sampler
    parts = {part: getattr(sampler, part) for part in _PARTS}
    of_scope = {part: sampler_of_scope(asked, name) for part, asked in parts.items()}
    if all(of_scope[part] is parts[part] for part in _PARTS):
        return sampler
    made = copy.copy(sampler)
    vars(made).update(of_scope)
    return made
