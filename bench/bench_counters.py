"""False sharing: two real threads, each with a counter of its own, on one cache line and on two.

What is measured is processor time, which waiting for the other core's cache line costs and waiting for a turn
to run does not.
"""

from __future__ import annotations

import threading
import time

import pytest

from otlpfast import IMPLEMENTATION
from otlpfast._impl import PaddedCounters

from .conftest import Measure

TIMES = 5_000_000 if IMPLEMENTATION == "c" else 20_000  # plain Python counts with a lock, and holds the GIL


@pytest.mark.benchmark(timer=time.process_time, min_rounds=20)
@pytest.mark.parametrize("side", ["unpadded", "otlpfast"])
def test_two_threads(measure: Measure, side: str) -> None:
    counters = PaddedCounters(["count"], stripes=2, padded=side == "otlpfast")

    def work() -> None:
        start = threading.Barrier(2)

        def count(stripe: int) -> None:
            start.wait()
            counters.spin("count", TIMES, stripe)

        other = threading.Thread(target=count, args=(1,))
        other.start()
        count(0)
        other.join()

    measure("an addition, 2 threads, a counter each", side, work, 2 * TIMES, statistic="max")
    assert counters.get("count") % (2 * TIMES) == 0
