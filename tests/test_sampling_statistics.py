"""Shares and rates: what samplers keep of many, between services, over bursts, in threads and in forks."""

from __future__ import annotations

import itertools
import json
import random
import threading
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otlpfast._impl import RateLimiter

from .forks import in_child
from .starting import python

COUNT = 20_000

# Starts spans with the sampler for each line of headers that a file has, and tells what became of each: the
# headers that it would send on.
SERVICE = """
import json, sys
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.trace.sampling import ParentBased
from otlpfast import TracerProvider
from otlpfast.propagation import TraceContextTextMapPropagator
from otlpfast.sampling import ConsistentProbabilitySampler

ratio, came, sends = float(sys.argv[1]), sys.argv[2], sys.argv[3]
tracer = TracerProvider(sampler=ConsistentProbabilitySampler(ratio)).get_tracer("tests")
propagator = TraceContextTextMapPropagator()
with open(came) as requests, open(sends, "w") as sent:
    for line in requests:
        span = tracer.start_span("server", propagator.extract(json.loads(line), Context()))
        headers = {}
        propagator.inject(headers, trace.set_span_in_context(span, Context()))
        assert span.is_recording() == bool(int(headers["traceparent"][-2:], 16) & 1)
        print(json.dumps(headers), file=sent)
"""


def sends(folder: Path, ratio: float, requests: list[dict[str, str]]) -> list[dict[str, str]]:
    """What a service, a process of its own, makes of requests: the headers that it sends for each."""
    came, sent = folder / "came", folder / "sent"
    came.write_text("".join(json.dumps(request) + "\n" for request in requests))
    python(SERVICE, None, str(ratio), str(came), str(sent))
    return [json.loads(line) for line in sent.read_text().splitlines()]


def is_kept(headers: dict[str, str]) -> bool:
    return bool(int(headers["traceparent"][-2:], 16) & 1)


def check_share(headers: list[dict[str, str]], ratio: float) -> None:
    """Within six standard deviations: one failure in five hundred million runs."""
    kept = sum(map(is_kept, headers))
    assert abs(kept - len(headers) * ratio) <= 6 * (len(headers) * ratio * (1 - ratio)) ** 0.5


class TestConsistentProbability:
    def test_services_with_other_ratios_keep_parts_of_the_same_traces(self, tmp_path: Path) -> None:
        roots = sends(tmp_path, 0.1, [{}] * COUNT)
        check_share(roots, 0.1)
        assert {root.get("tracestate") for root in roots} == {None, "ot=th:e666"}
        less, more = (sends(tmp_path, ratio, roots) for ratio in (0.01, 0.5))
        for ratio, threshold, spans in ((0.01, "fd70a", less), (0.5, "8", more)):
            check_share(spans, ratio)
            assert {s.get("tracestate") for s in spans if is_kept(s)} == {f"ot=th:{threshold}"}
            assert {s.get("tracestate") for s in spans if not is_kept(s)} == {None}
        for root, few, many in zip(roots, less, more, strict=True):
            assert root["traceparent"][:35] == few["traceparent"][:35] == many["traceparent"][:35]
            assert is_kept(few) <= is_kept(root) <= is_kept(many)

    def test_a_randomness_that_came_decides_and_what_others_noted_stays(self, tmp_path: Path) -> None:
        numbers = random.Random(17)
        requests = []
        for _ in range(COUNT // 4):
            # Trace ids that would all be kept: it is not they that decide.
            ids = f"{numbers.getrandbits(64):016x}{'f' * 16}-{numbers.getrandbits(63) + 1:016x}"
            state = f"one=1,ot=x:y;rv:{numbers.getrandbits(56):014x};th:4,two=2"
            requests.append({"traceparent": f"00-{ids}-01", "tracestate": state})
        found = {ratio: sends(tmp_path, ratio, requests) for ratio in (0.01, 0.1, 0.5)}
        for ratio, threshold in ((0.01, "fd70a"), (0.1, "e666"), (0.5, "8")):
            check_share(found[ratio], ratio)
            for request, span in zip(requests, found[ratio], strict=True):
                randomness = request["tracestate"].split("rv:")[1][:14]
                # A changed entry goes to the front, as trace context has it.
                noted = (
                    f"ot=th:{threshold};rv:{randomness};x:y" if is_kept(span) else f"ot=rv:{randomness};x:y"
                )
                assert span["tracestate"] == f"{noted},one=1,two=2"
        for few, some, many in zip(*found.values(), strict=True):
            assert is_kept(few) <= is_kept(some) <= is_kept(many)


SECOND = 1_000_000_000


class Clock:
    """Time that passes by being looked at, for any number of threads."""

    def __init__(self, tick: int, start: int = 0) -> None:
        self.moments = itertools.count(start, tick)

    def saturate(self, limiter: RateLimiter, looks: int) -> int:
        """How often it is allowed, of so many times at which it is asked."""
        return sum(limiter.allow(next(self.moments)) for _ in range(looks))


class TestRateLimiter:
    @given(
        rate=st.sampled_from([1, 2, 5, 100, 1000, 1_000_000]),
        burst=st.integers(1, 8),
        gaps=st.lists(st.integers(0, 20), max_size=60),
    )
    def test_is_a_bucket_that_fills_at_its_rate(self, rate: int, burst: int, gaps: list[int]) -> None:
        limiter = RateLimiter(rate, burst)
        interval = SECOND // rate
        now, filled = SECOND, burst * interval  # in nanoseconds of filling
        for gap in gaps:
            passed = gap * interval // 7
            now += passed
            filled = min(filled + passed, burst * interval)
            allowed = filled >= interval
            assert limiter.allow(now) == allowed
            filled -= interval * allowed

    @pytest.mark.parametrize("rate", [10, 100, 1000])
    def test_keeps_within_five_percent_over_bursts(self, rate: int) -> None:
        limiter = RateLimiter(rate, rate / 10)
        tick = SECOND // (10 * rate)
        kept = seconds = 0
        for start in range(0, 100, 20):  # five times 10 s of ten times the rate, and 10 s of nothing
            kept += Clock(tick, start * SECOND).saturate(limiter, 100 * rate)
            seconds += 10
        assert rate * seconds * 0.95 <= kept <= rate * seconds * 1.05

    def test_keeps_within_five_percent_for_threads_that_share_it(self) -> None:
        rate, burst, looks = 1000, 100, 20_000
        limiter, clock = RateLimiter(rate, burst), Clock(SECOND // (10 * rate))
        kept: list[int] = []
        threads = [
            threading.Thread(target=lambda: kept.append(clock.saturate(limiter, looks))) for _ in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        allowed_by_rate = len(threads) * looks // 10
        assert allowed_by_rate * 0.95 <= sum(kept) <= allowed_by_rate + burst

    def test_keeps_within_five_percent_in_each_process(self) -> None:
        rate, looks = 1000, 40_000
        limiter = RateLimiter(rate, 100)
        tick = SECOND // (10 * rate)
        assert Clock(tick).saturate(limiter, looks) > 0
        # Where the parent's goes on, so do the children's.
        kept: list[Any] = [
            in_child(lambda: Clock(tick, looks * tick).saturate(limiter, looks)) for _ in range(2)
        ]
        kept.append(Clock(tick, looks * tick).saturate(limiter, looks))
        for found in kept:
            assert looks / 10 * 0.95 <= found <= looks / 10 + 100

    def test_a_child_does_not_wait_for_threads_that_it_has_not(self) -> None:
        limiter, done = RateLimiter(1e9, 1e9), threading.Event()

        def ask() -> None:
            while not done.is_set():
                limiter.allow()

        thread = threading.Thread(target=ask)
        thread.start()
        try:
            for _ in range(8):
                assert in_child(limiter.allow) is True
        finally:
            done.set()
            thread.join()
