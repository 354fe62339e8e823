"""Profiles as text: ``debug=1``, equal stacks together, the largest first."""

from __future__ import annotations

import json

from ..profile import Label, Profile, Stack


def text(profile: Profile) -> str:
    """Close to what Go writes: numbers, ``@``, labels, and a line for each frame, the innermost first."""
    groups: dict[Stack, list[int]] = {}
    labels: dict[Stack, list[tuple[Label, ...]]] = {}
    for sample in profile.samples:
        sums = groups.setdefault(sample.stack, [0] * len(profile.value_types))
        for index, value in enumerate(sample.values):
            sums[index] += value
        labels.setdefault(sample.stack, []).append(sample.labels)
    shown = profile.value_index()
    totals = [sum(column) for column in zip(*groups.values(), strict=True)] or [0] * len(profile.value_types)
    lines = [_heading(profile, totals), *(f"# {comment}" for comment in profile.comments), ""]
    for stack, sums in sorted(groups.items(), key=lambda item: -abs(item[1][shown])):
        lines.append(f"{' '.join(map(str, sums))} @")
        lines += [f"# labels: {_labels(one)}" for one in dict.fromkeys(labels[stack]) if one]
        lines += [f"#\t{frame.name}\t{frame.filename}:{frame.line}" for frame in stack]
        lines.append("")
    return "\n".join(lines)


def _heading(profile: Profile, totals: list[int]) -> str:
    if len(totals) == 1:
        return f"{profile.kind} profile: total {totals[0]}"
    columns = (
        f"{kind}/{unit} {total}" for (kind, unit), total in zip(profile.value_types, totals, strict=True)
    )
    return f"{profile.kind} profile: {', '.join(columns)}"


def _labels(labels: tuple[Label, ...]) -> str:
    return json.dumps(dict(labels), ensure_ascii=False, separators=(",", ":"))
