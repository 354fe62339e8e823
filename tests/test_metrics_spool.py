"""What a spool tells: how full it is, how old, and what became of the spans in it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from otlpfast import BatchSpanProcessor, ExportOutcome, SpanBatch
from otlpfast.export import retry

from .metering import Meters, NewMeters, enabled_fixture, meters_fixture  # noqa: F401
from .pipeline import NEVER_MILLIS, Encoded, end_spans, until
from .spans import provider
from .spooling import posix

LOSSES = ("refused", "expired", "rejected", "undeliverable")
NONE_LOST = dict.fromkeys(LOSSES, 0)

pytestmark = [pytest.mark.usefixtures("enabled"), posix]


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A collector that failed is tried again at once, or nearly so."""
    monkeypatch.setattr(retry, "FIRST_PAUSE", 0.02)
    monkeypatch.setattr(retry, "LONGEST_PAUSE", 0.1)


class Collector(Encoded):
    """Is away until it is told how to answer."""

    def __init__(self) -> None:
        super().__init__(lambda batch: ExportOutcome(failed=batch.count))

    def is_back(self, **numbers: int) -> None:
        def answer(batch: SpanBatch) -> ExportOutcome:
            return ExportOutcome(**numbers) if numbers else ExportOutcome(exported=batch.count)

        self.answer = answer


@pytest.fixture(name="outage")
def outage_fixture(meters: NewMeters, tmp_path: Path, request: pytest.FixtureRequest) -> Any:
    """A processor with a spool, its exporter and its meters."""

    def new(**settings: Any) -> tuple[BatchSpanProcessor, Collector, Meters]:
        metered, collector = meters(), Collector()
        processor = BatchSpanProcessor(
            collector,
            schedule_delay_millis=NEVER_MILLIS,
            spool_dir=tmp_path / "spool",
            meter_provider=metered.provider,
            **settings,
        )
        request.addfinalizer(lambda: processor.shutdown(0))
        return processor, collector, metered

    return new


def value(metered: Meters, name: str) -> float:
    (point,) = metered.points(f"otlpfast.spool.{name}")
    return float(point.value)


def test_an_outage_and_its_end(outage: Any) -> None:
    processor, collector, metered = outage(spool_max_bytes=1_000_000)
    assert [value(metered, name) for name in ("spans", "usage", "capacity", "written", "oldest.age")] == [
        0,
        0,
        1_000_000,
        0,
        0,
    ]
    assert metered.values("otlpfast.spool.dropped") == NONE_LOST
    traced = provider(processor)
    end_spans(traced, 3)
    assert processor.force_flush()
    assert (value(metered, "spans"), value(metered, "written")) == (3, 3)
    assert value(metered, "usage") > len(collector.batches[0])
    assert value(metered, "oldest.age") > 0
    assert metered.values("otel.sdk.processor.span.queue.size") == {"": 0}
    collector.is_back()
    until(lambda: processor.stats()["exported"] == 3, "the replay")
    until(lambda: value(metered, "spans") == 0, "an empty spool")
    assert (value(metered, "replayed"), value(metered, "oldest.age")) == (3, 0)
    assert metered.values("otlpfast.spool.dropped") == NONE_LOST


def test_a_spool_that_is_full(outage: Any) -> None:
    processor, _, metered = outage(spool_max_bytes=100)
    end_spans(provider(processor), 3)
    processor.force_flush()
    assert metered.values("otlpfast.spool.dropped") == {**NONE_LOST, "refused": 3}
    assert (value(metered, "written"), value(metered, "spans")) == (0, 0)


def test_spans_that_the_collector_refuses_in_the_end(outage: Any) -> None:
    processor, collector, metered = outage()
    end_spans(provider(processor), 3)
    processor.force_flush()
    collector.is_back(exported=1, rejected=2)
    until(lambda: processor.stats()["rejected"] == 2, "the replay")
    assert metered.values("otlpfast.spool.dropped") == {**NONE_LOST, "rejected": 2}
    assert value(metered, "replayed") == 1


def test_spans_that_are_too_old(outage: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    processor, collector, metered = outage(spool_max_age=0.001)
    end_spans(provider(processor), 3)
    processor.force_flush()
    monkeypatch.setattr("otlpfast._spooling._HOUSEKEEPING", 0.01)
    processor._delivery.spooling._house_at = 0.0
    until(lambda: processor.stats()["spooled"] == 0, "the end of their time")
    assert metered.values("otlpfast.spool.dropped") == {**NONE_LOST, "expired": 3}
    assert collector.batches


def test_without_a_spool_there_is_nothing_to_tell(meters: NewMeters) -> None:
    metered = meters()
    processor = BatchSpanProcessor(Encoded(), meter_provider=metered.provider)
    assert not [name for name in metered.collect() if name.startswith("otlpfast.spool.")]
    assert metered.values("otlpfast.processor.queue.capacity") == {"": 64 * 1024 * 1024}
    end_spans(provider(processor), 1)
    assert metered.values("otlpfast.processor.queue.usage")[""] > 0
    processor.shutdown()
