"""A spool in trouble: exporters that talk nonsense, disks that take no more, signals, crowds of orphans."""

from __future__ import annotations

import signal
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import otlpfast.processor
from otlpfast import ExportOutcome, SpanBatch, _spooling
from otlpfast._account import ACCOUNT
from otlpfast._impl import PaddedCounters
from otlpfast._spool import Spool
from otlpfast.export import retry

from .collector import PATIENCE
from .exporting import batch, make_fixture  # noqa: F401
from .pipeline import (
    Batching,
    Encoded,
    Held,
    account,
    batching_fixture,  # noqa: F401
    end_spans,
    in_threads,
    names,
    soon,
    until,
)
from .spans import provider
from .spooling import Spooling, directory_fixture, fill, segments, spooling_fixture  # noqa: F401


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A collector that failed is tried again after a moment."""
    monkeypatch.setattr(retry, "FIRST_PAUSE", 0.02)
    monkeypatch.setattr(retry, "LONGEST_PAUSE", 0.1)


@pytest.fixture(name="folder")
def folder_fixture(tmp_path: Path) -> Path:
    return tmp_path / "spool"


def failed(batch: SpanBatch) -> ExportOutcome:
    return ExportOutcome(failed=batch.count)


# --- exporters


@pytest.mark.parametrize("retry_after", [None, "soon", float("nan")])
def test_a_wish_that_is_no_number_is_no_wish(batching: Batching, folder: Path, retry_after: Any) -> None:
    half = ExportOutcome(exported=3, failed=2, retry_after=retry_after)
    exporter = Encoded(lambda batch: half)
    processor = batching(exporter, spool_dir=folder)
    end_spans(provider(processor), 5)
    processor.force_flush()
    assert processor.stats() == account(5, exported=3, export_failed=2)


def test_what_an_exporter_raises_is_no_reason_to_hurry(batching: Batching, folder: Path) -> None:
    exporter = Encoded(failed)
    processor = batching(exporter, spool_dir=folder)
    end_spans(provider(processor), 5)
    assert processor.force_flush()

    def leave(batch: SpanBatch) -> ExportOutcome:
        raise SystemExit

    exporter.answer = leave
    before = len(exporter.batches)
    until(lambda: len(exporter.batches) >= before + 5, "further attempts")
    assert processor._delivery.spooling._replay.failures >= 4  # type: ignore[union-attr]
    exporter.answer = lambda batch: ExportOutcome(exported=batch.count)
    until(lambda: processor.stats() == account(5, exported=5), "the record")


@pytest.mark.parametrize("remains", [(SimpleNamespace(count=9, buffers=(b"x",)),), "remains", None])
def test_remains_of_a_record_that_are_none(batching: Batching, folder: Path, remains: Any) -> None:
    exporter = Encoded(failed)
    processor = batching(exporter, spool_dir=folder)
    end_spans(provider(processor), 5)
    assert processor.force_flush()
    exporter.answer = lambda batch: ExportOutcome(exported=3, failed=2, remains=remains)
    until(lambda: processor.stats()["spooled"] == 0, "the end of the record")
    assert processor.stats() == account(5, exported=3, export_failed=2)


def test_what_can_not_be_encoded_says_nothing_of_the_collector(batching: Batching, folder: Path) -> None:
    exporter = Encoded(failed)
    processor = batching(exporter, spool_dir=folder)
    end_spans(provider(processor), 5)
    assert processor.force_flush()
    spooling = processor._delivery.spooling
    assert spooling is not None
    failures, spooling._live.next = spooling._live.failures, 0.0  # it is time to try again
    processor._delivery.deliver([], 0, 1.0)  # as where none of the spans taken has valid ids
    assert spooling._live.failures == failures > 0
    assert processor.stats() == account(5, spooled=5)


def test_a_record_that_moves_on_leaves_its_strikes_to_nobody(batching: Batching, folder: Path) -> None:
    exporter = Encoded(failed)
    processor = batching(exporter, spool_dir=folder, max_export_batch_size=64)
    end_spans(provider(processor), 64)
    assert processor.force_flush()
    spooling = processor._delivery.spooling
    assert spooling is not None
    strikes = []

    def halve(batch: SpanBatch) -> ExportOutcome:
        strikes.append(spooling._strikes)
        spooling._is_healthy = True  # as after a new batch that was taken
        if batch.count == 1:
            return ExportOutcome(exported=1)
        first, rest = batch.split()
        return ExportOutcome(exported=first.count, failed=rest.count, remains=(rest,))

    exporter.answer = halve
    until(lambda: processor.stats() == account(64, exported=64), "all of it, half by half")
    assert set(strikes) == {0}


def test_an_exporter_that_shuts_down_its_processor_loses_nothing(batching: Batching, folder: Path) -> None:
    def export(batch: SpanBatch) -> ExportOutcome:
        processor.shutdown()
        return failed(batch)

    exporter = Encoded(export)
    processor = batching(exporter, spool_dir=folder, max_export_batch_size=5)
    end_spans(provider(processor), 5)
    until(lambda: processor.stats()["queued"] == 0, "the end of the export")
    assert processor.stats() == account(5, spooled=5)


# --- a disk that takes no more


def test_a_flush_in_vain_drops_nothing_where_the_disk_is_full(batching: Batching, folder: Path) -> None:
    exporter = Held()
    processor = batching(exporter, spool_dir=folder, spool_max_bytes=100, max_export_batch_size=10)
    end_spans(provider(processor), 35)
    assert exporter.entered.wait(PATIENCE)
    assert processor.force_flush(50) is False
    assert processor.stats() == account(35, queued=35)
    exporter.let_go.set()
    assert processor.force_flush()
    assert processor.stats() == account(35, exported=35)
    assert names(exporter.spans) == [f"span {n}" for n in range(35)]


def test_half_a_queue_is_not_dropped_where_the_disk_is_full(batching: Batching, folder: Path) -> None:
    exporter = Held()
    processor = batching(
        exporter, spool_dir=folder, spool_max_bytes=100, max_queue_size=100, max_export_batch_size=10
    )
    traced = provider(processor)
    end_spans(traced, 10, "under way")
    assert exporter.entered.wait(PATIENCE)
    end_spans(traced, 90)
    assert not processor._spill_when_half_full()
    exporter.let_go.set()
    assert processor.force_flush()
    assert processor.stats() == account(100, exported=100)


def test_who_waits_for_room_goes_on_when_the_disk_has_made_some(batching: Batching, folder: Path) -> None:
    exporter = Held()
    processor = batching(
        exporter,
        spool_dir=folder,
        max_queue_size=10,
        max_export_batch_size=5,
        on_full="block",
        block_timeout_millis=60_000,
    )
    traced = provider(processor)
    end_spans(traced, 5, "under way")
    assert exporter.entered.wait(PATIENCE)
    with soon():
        in_threads(2, lambda number: end_spans(traced, 200))
    stats = processor.stats()
    assert stats == account(405, queued=stats["queued"], spooled=stats["spooled"])
    exporter.let_go.set()


# --- signals


@pytest.mark.parametrize("shut", [False, True])
def test_a_handler_flushes_in_the_middle_of_writing(
    batching: Batching, folder: Path, monkeypatch: pytest.MonkeyPatch, shut: bool
) -> None:
    exporter = Held()
    processor = batching(exporter, spool_dir=folder, max_queue_size=10, max_export_batch_size=5)
    traced = provider(processor)
    end_spans(traced, 5, "under way")
    assert exporter.entered.wait(PATIENCE)
    handled = threading.Event()

    def handle(*_: object) -> None:
        handled.set()
        exporter.let_go.set()
        with soon():
            if shut:
                processor.shutdown(60_000)
            else:
                processor.force_flush(60_000)

    append = Spool.append

    def interrupted(self: Spool, *args: Any) -> bool:
        if not handled.is_set():
            signal.raise_signal(signal.SIGUSR1)
        return append(self, *args)

    monkeypatch.setattr(Spool, "append", interrupted)
    old = signal.signal(signal.SIGUSR1, handle)
    try:
        while not handled.is_set():
            end_spans(traced, 1)
    finally:
        signal.signal(signal.SIGUSR1, old)
    if not shut:
        assert processor.force_flush()
        until(lambda: processor.stats()["spooled"] == 0, "what was written")
    stats = processor.stats()
    assert stats == account(stats["ended"], exported=stats["exported"], **stats["dropped"])
    assert stats["dropped"] == {} or shut


# --- crowds


def test_a_crowd_of_orphans_is_delivered_without_a_break(batching: Batching, folder: Path) -> None:
    for number in range(50):
        dead = batching(Encoded(failed), spool_dir=folder)
        end_spans(provider(dead), 1, f"of {number}:")
        dead.shutdown()
    exporter = Encoded()
    end_spans(provider(batching(exporter, spool_dir=folder)), 1, "later")
    until(lambda: len(exporter.batches) == 50, "what 50 processes left")


# --- another thread spools


@pytest.mark.parametrize("damaged", [False, True])
def test_a_record_that_comes_just_as_there_was_none_is_sent_at_once(
    spooling: Spooling, directory: Path, monkeypatch: pytest.MonkeyPatch, damaged: bool
) -> None:
    """Not with the next look after the house, half a minute later."""
    spool, request = spooling(), bytes(batch())
    delivery = _spooling.Spooling(spool, PaddedCounters(ACCOUNT))
    sent: list[bytes] = []

    def send(batch: SpanBatch) -> ExportOutcome:
        sent.append(bytes(batch))
        return ExportOutcome(exported=batch.count)

    if damaged:
        fill(spool, request)
        (segment,) = segments(directory)
        segment.write_bytes(segment.read_bytes()[:-1] + b"?")
    oldest = Spool.oldest

    def overtaken(self: Spool) -> Any:
        record = oldest(self)
        if record is None:
            fill(self, request)
        return record

    monkeypatch.setattr(Spool, "oldest", overtaken)
    assert not delivery.replay(send, False)
    assert delivery.next_replay() <= time.monotonic()
    assert delivery.replay(send, False)
    assert sent == [request]


def test_the_export_thread_is_woken_for_what_another_thread_spools(
    batching: Batching, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No batch is full, no time is up: it has no other reason to wake."""
    monkeypatch.setattr(_spooling, "_HOUSEKEEPING", 86400.0)
    exporter = Encoded()
    processor = batching(exporter, spool_dir=folder, max_queue_bytes=50_000)
    tracer = provider(processor).get_tracer("tests")
    end_spans(tracer, 1)
    until(lambda: processor._delivery.next_replay() > time.monotonic(), "a thread that sleeps")
    for number in range(3):  # the third one finds no room
        tracer.start_span(f"large {number}", attributes={"text": "x" * 20_000}).end()
    until(lambda: processor.stats() == account(4, exported=3, queued=1), "what this thread has spooled")
    assert names(exporter.spans) == ["span 0", "large 0", "large 1"]


# --- the end


def test_shutdown_keeps_its_deadline_with_a_spool_too(
    batching: Batching, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The time for bringing to the disk what was cut off is a part of it."""
    monkeypatch.setattr(otlpfast.processor, "_LAST_WORDS", 86400.0)
    exporter = Held()
    processor = batching(exporter, spool_dir=folder, max_export_batch_size=10)
    end_spans(provider(processor), 35)
    assert exporter.entered.wait(PATIENCE)
    with soon():
        processor.shutdown(500)
    assert processor.stats() == account(35, queued=10, spooled=25)
    exporter.let_go.set()


def test_an_export_that_outlives_shutdown_still_brings_its_batch_to_the_disk(
    batching: Batching, folder: Path
) -> None:
    def hold(batch: SpanBatch) -> ExportOutcome:
        exporter._hold(batch)
        return failed(batch)

    exporter = Held()
    exporter.answer = hold
    processor = batching(exporter, spool_dir=folder, max_export_batch_size=10)
    end_spans(provider(processor), 35)
    assert exporter.entered.wait(PATIENCE)
    processor.shutdown(0)
    exporter.let_go.set()
    until(lambda: processor.stats() == account(35, spooled=35), "the batch that was under way")
    spool = processor._spool
    assert spool is not None
    until(lambda: spool.closed, "the end of the spool")
