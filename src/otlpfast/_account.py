"""The account: where every ended span is, or went. It balances at any quiet moment."""

from __future__ import annotations

from typing import Protocol, TypedDict

LOSSES = ("queue_full", "shutdown", "too_large", "export_failed", "encode_error", "fork")
"""Why spans are dropped that somebody wanted to have."""
DROP_REASONS = (*LOSSES, "sampled_out")
ACCOUNT = ("ended", "exported", "rejected", "spooled", *DROP_REASONS)
"""The names of the counters, in the order that the compiled core knows them by."""

VERDICTS = ("error", "slow", "rule", "ratio", "sampled_out", "early")
"""Why a tail sampler has kept traces, or has not; and on how many it had to decide before they ended."""


class Stats(TypedDict):
    """What ``BatchSpanProcessor.stats()`` gives.

    ``ended == exported + rejected + sum(dropped.values()) + spooled + queued``.
    """

    ended: int
    exported: int
    rejected: int
    dropped: dict[str, int]
    spooled: int
    queued: int


class _Counters(Protocol):
    def snapshot(self) -> dict[str, int]: ...


def stats(counters: _Counters, queued: int) -> Stats:
    """The account as a dict, from its counters and how many spans are queued now."""
    counts = counters.snapshot()
    return Stats(
        ended=counts["ended"],
        exported=counts["exported"],
        rejected=counts["rejected"],
        dropped={reason: counts[reason] for reason in DROP_REASONS if counts[reason]},
        spooled=counts["spooled"],
        queued=queued,
    )
