"""Profiles made of others: what two have in common is added or subtracted, or only some samples are kept."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

from ._stacks import per_frame
from .profile import Frame, Label, Profile, Sample, Stack

# Labels of one request, thread or task: no other profile has the same ones.
_OF_ONE = frozenset(("trace_id", "span_id", "thread", "task"))
_ID_DIGITS = {"trace_id": 32, "span_id": 16}

Tally = dict[tuple[Stack, tuple[Label, ...]], list[int]]


def merge(profiles: Iterable[Profile]) -> Profile:
    """See ``Profile.merge``."""
    first, *others = profiles
    tally: Tally = {}
    for profile in (first, *others):
        _same_types(first, profile)
        _add(tally, profile.samples, 1, lambda labels: labels)
    return replace(
        first,
        samples=_samples(tally),
        time_unix_nano=min(profile.time_unix_nano for profile in (first, *others)),
        duration_nanos=first.duration_nanos + sum(profile.duration_nanos for profile in others),
        comments=tuple(dict.fromkeys(c for profile in (first, *others) for c in profile.comments)),
    )


def diff(profile: Profile, base: Profile) -> Profile:
    """See ``Profile.diff``."""
    _same_types(profile, base)
    tally: Tally = {}
    _add(tally, profile.samples, 1, _shared)
    _add(tally, base.samples, -1, _shared)
    comment = (
        f"a difference: this minus one of {base.duration_nanos / 1e9:g} s" if base.duration_nanos else ""
    )
    comments = (*profile.comments, comment or "a difference: this minus an earlier one")
    return replace(profile, samples=_samples(tally), comments=tuple(dict.fromkeys(comments)))


def focus(profile: Profile, function: str | None, labels: Mapping[str, str | int]) -> Profile:
    """See ``Profile.focus``."""
    samples: Iterable[Sample] = profile.samples
    wanted = {key: _label_text(key, value) for key, value in labels.items()}
    if wanted:
        samples = [sample for sample in samples if _has(sample, wanted)]
    said = [f"{key}={text}" for key, text in wanted.items()]
    if function is not None:
        samples = _in_function(list(samples), function)
        said.insert(0, f"function={function}")
    comments = (*profile.comments, f"only samples with {', '.join(said)}") if said else profile.comments
    return replace(profile, samples=tuple(samples), comments=comments)


def _same_types(one: Profile, other: Profile) -> None:
    if one.value_types != other.value_types:
        ours, theirs = (
            f"{profile.kind} ({', '.join('/'.join(pair) for pair in profile.value_types)})"
            for profile in (one, other)
        )
        raise ValueError(f"profiles of different kinds: {ours} and {theirs}")


def _add(
    tally: Tally,
    samples: Iterable[Sample],
    sign: int,
    labels_of: Callable[[tuple[Label, ...]], tuple[Label, ...]],
) -> None:
    for stack, values, labels in samples:
        key = stack, labels_of(labels)
        sums = tally.get(key)
        if sums is None:
            tally[key] = [sign * value for value in values]
        else:
            for at, value in enumerate(values):
                sums[at] += sign * value


def _shared(labels: tuple[Label, ...]) -> tuple[Label, ...]:
    return tuple(label for label in labels if label[0] not in _OF_ONE)


def _samples(tally: Tally) -> tuple[Sample, ...]:
    return tuple(Sample(stack, tuple(sums), labels) for (stack, labels), sums in tally.items() if any(sums))


def _label_text(key: str, value: str | int) -> str:
    """As the label has it: ids also as the ints that OpenTelemetry's API has."""
    if isinstance(value, int) and key in _ID_DIGITS:
        return f"{value:0{_ID_DIGITS[key]}x}"
    return str(value).lower() if key in _ID_DIGITS else str(value)


def _has(sample: Sample, wanted: Mapping[str, str]) -> bool:
    found = {key: str(value) for key, value in sample.labels if key in wanted}
    return found == wanted


def _in_function(samples: list[Sample], function: str) -> list[Sample]:
    try:
        pattern = re.compile(function)
    except re.error as error:
        raise ValueError(f"function={function!r}: no regular expression: {error}") from None

    def matches(frame: Frame) -> bool:
        return bool(pattern.search(frame.name) or pattern.search(frame.filename))

    matching = per_frame(samples, matches)
    return [sample for sample in samples if any(matching[id(frame)] for frame in sample.stack)]
