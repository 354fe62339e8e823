"""Outages with a spool: what the collector does not take is kept on disk, and arrives when it is back."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.sdk.trace.export import ConsoleSpanExporter

from otlpfast import BatchSpanProcessor, ExportOutcome, OTLPSpanExporter, SpanBatch
from otlpfast.export import retry

from .collector import Collector, Reply
from .exporting import SECRET, collector_fixture, free_port, make_fixture  # noqa: F401
from .forks import in_child
from .pipeline import (
    NEVER_MILLIS,
    Batching,
    Encoded,
    Held,
    account,
    batching_fixture,  # noqa: F401
    end_spans,
    in_threads,
    names,
    run,
    soon,
    spans_of,
    until,
)
from .spans import provider

DEAD = ExportOutcome(failed=3)


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A collector that failed is tried again at once, or nearly so."""
    monkeypatch.setattr(retry, "FIRST_PAUSE", 0.02)
    monkeypatch.setattr(retry, "LONGEST_PAUSE", 0.1)


@pytest.fixture(name="folder")
def folder_fixture(tmp_path: Path) -> Path:
    return tmp_path / "spool"


class Unreliable(Encoded):
    """A collector that is away, unless it is told to be there."""

    def __init__(self, *, up: bool = False) -> None:
        super().__init__(self._answer)
        self.up = up
        self.delivered: list[bytes] = []

    def _answer(self, batch: SpanBatch) -> ExportOutcome:
        if not self.up:
            return ExportOutcome(failed=batch.count)
        self.delivered.append(bytes(batch))
        return ExportOutcome(exported=batch.count)

    @property
    def arrived(self) -> list[str]:
        return names([span for request in list(self.delivered) for span in spans_of(request)])


def span_names(count: int, start: int = 0) -> list[str]:
    return [f"span {n}" for n in range(start, start + count)]


def files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def test_nothing_is_written_while_all_is_well(batching: Batching, collector: Collector, folder: Path) -> None:
    processor = batching(collector, spool_dir=folder)
    end_spans(provider(processor), 10)
    assert processor.force_flush()
    assert processor.stats() == account(10, exported=10)
    processor.shutdown()
    assert files(folder) == []


def test_an_outage_loses_nothing(batching: Batching, folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    exporter = Unreliable()
    processor = batching(exporter, spool_dir=folder, max_export_batch_size=10)
    traced = provider(processor)
    end_spans(traced, 95)
    assert processor.force_flush() is True  # delivered or spooled
    assert processor.stats() == account(95, spooled=95)
    exporter.up = True
    until(lambda: processor.stats()["spooled"] == 0, "the spans that were spooled")
    assert sorted(exporter.arrived) == sorted(span_names(95))
    assert exporter.arrived == span_names(95)  # oldest first
    assert processor.stats() == account(95, exported=95)
    (warning,) = [r.getMessage() for r in caplog.records if r.name.startswith("otlpfast.")]
    assert str(folder) in warning and "kept" in warning
    processor.shutdown()
    assert files(folder) == []


def test_a_real_collector_that_restarts(batching: Batching, folder: Path) -> None:
    port = free_port()
    exporter = OTLPSpanExporter(f"http://127.0.0.1:{port}/v1/traces", timeout=2)
    processor = batching(exporter, spool_dir=folder, max_export_batch_size=100)
    traced = provider(processor)
    with Collector(port=port) as first:
        end_spans(traced, 100)
        first.wait_for_spans(100)
    end_spans(traced, 1000)
    assert processor.force_flush() is True
    assert processor.stats() == account(1100, exported=100, spooled=1000)
    with Collector(port=port) as second:
        second.wait_for_spans(1000)
        until(lambda: processor.stats() == account(1100, exported=1100), "all of it")
        assert sorted(names(second.spans)) == sorted(span_names(1000))


def test_a_collector_that_hangs_fills_no_queue(batching: Batching, folder: Path) -> None:
    exporter = Held()
    processor = batching(exporter, spool_dir=folder, max_queue_size=200, max_export_batch_size=50)
    traced = provider(processor)
    end_spans(traced, 50, "under way")
    assert exporter.entered.wait(20)
    in_threads(4, lambda number: end_spans(traced, 2500, f"of {number}:"))
    stats = processor.stats()
    assert stats == account(10_050, queued=stats["queued"], spooled=stats["spooled"])
    assert stats["queued"] <= 250 and stats["spooled"] >= 9800
    exporter.let_go.set()
    assert processor.force_flush()
    until(lambda: processor.stats() == account(10_050, exported=10_050), "all of it")
    assert len(set(names(exporter.spans))) == 10_050


def test_the_thread_empties_a_queue_that_fills_up_during_an_export(batching: Batching, folder: Path) -> None:
    exporter = Held()
    processor = batching(
        exporter, spool_dir=folder, max_queue_size=100, max_export_batch_size=10, on_full="drop_newest"
    )
    traced = provider(processor)
    end_spans(traced, 10, "under way")
    assert exporter.entered.wait(20)
    for _ in range(20):
        end_spans(traced, 49)  # at most half the queue, and then half of that waits for the thread
        until(lambda: processor._queue.waiting < 50, "a queue that is half empty")
    stats = processor.stats()
    assert stats == account(990, queued=stats["queued"], spooled=stats["spooled"])
    exporter.let_go.set()


def test_a_full_spool_drops_and_counts(
    batching: Batching, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    processor = batching(Unreliable(), spool_dir=folder, spool_max_bytes=2000, max_export_batch_size=5)
    end_spans(provider(processor), 100)
    assert processor.force_flush() is False
    stats = processor.stats()
    failed = stats["dropped"]["export_failed"]
    assert stats == account(100, spooled=100 - failed, export_failed=failed)
    assert 0 < failed < 100
    assert any("no more" in record.getMessage() for record in caplog.records)


def test_shutdown_brings_to_the_disk_what_it_can_not_deliver(batching: Batching, folder: Path) -> None:
    processor = batching(Unreliable(), spool_dir=folder, max_export_batch_size=10)
    end_spans(provider(processor), 25)
    processor.shutdown()
    assert processor.stats() == account(25, spooled=25)
    exporter = Unreliable(up=True)
    later = batching(exporter, spool_dir=folder)
    end_spans(provider(later), 1, "later")
    until(lambda: len(exporter.arrived) == 25, "what another processor left")
    assert exporter.arrived == span_names(25)
    assert later.stats() == account(1, queued=1)  # its own span only
    later.shutdown()
    assert files(folder) == []


def test_shutdown_during_an_export_that_hangs(folder: Path) -> None:
    with Collector() as collector:
        collector.script(then=Reply(delay=float("inf")))
        processor = BatchSpanProcessor(
            OTLPSpanExporter(collector.endpoint, timeout=60),
            schedule_delay_millis=NEVER_MILLIS,
            max_export_batch_size=10,
            spool_dir=folder,
        )
        end_spans(provider(processor), 35)
        collector.wait_for_request()
        with soon():
            processor.shutdown(500)
        until(lambda: processor.stats() == account(35, spooled=35), "the batch that was under way")


def test_a_flush_in_vain_brings_to_the_disk_what_waits(batching: Batching, folder: Path) -> None:
    exporter = Held()
    processor = batching(exporter, spool_dir=folder, max_export_batch_size=10)
    end_spans(provider(processor), 35)
    assert exporter.entered.wait(20)
    assert processor.force_flush(50) is False
    assert processor.stats() == account(35, queued=10, spooled=25)
    exporter.let_go.set()
    until(lambda: processor.stats() == account(35, exported=35), "all of it")


def test_a_short_process_sends_what_it_finds_before_it_ends(batching: Batching, folder: Path) -> None:
    dead = batching(Unreliable(), spool_dir=folder, max_export_batch_size=5)
    end_spans(provider(dead), 100)
    dead.shutdown()
    exporter = Unreliable(up=True)
    processor = batching(exporter, spool_dir=folder)
    end_spans(provider(processor), 1, "later")
    processor.shutdown()
    assert sorted(exporter.arrived) == sorted([*span_names(100), "later 0"])
    assert files(folder) == []


# --- processes that are gone


def is_killed(endpoint: str, folder: str) -> None:
    processor = BatchSpanProcessor(
        OTLPSpanExporter(endpoint, timeout=0.3),
        schedule_delay_millis=NEVER_MILLIS,
        max_export_batch_size=100,
        spool_dir=folder,
    )
    end_spans(provider(processor), 1000)
    assert processor.force_flush()
    os.kill(os.getpid(), signal.SIGKILL)


def test_what_was_spooled_survives_a_kill(batching: Batching, folder: Path) -> None:
    finished = run(is_killed, f"http://127.0.0.1:{free_port()}/v1/traces", str(folder))
    assert finished.returncode == -signal.SIGKILL
    exporter = Unreliable(up=True)
    end_spans(provider(batching(exporter, spool_dir=folder)), 1, "later")
    until(lambda: len(exporter.arrived) == 1000, "what a process left that was killed")
    assert sorted(exporter.arrived) == sorted(span_names(1000))
    until(lambda: files(folder) == [], "an empty directory")


def test_a_child_neither_sends_nor_loses_what_its_parent_spooled(batching: Batching, folder: Path) -> None:
    exporter = Unreliable()
    processor = batching(exporter, spool_dir=folder, max_export_batch_size=10)
    traced = provider(processor)
    end_spans(traced, 20, "of the parent")
    assert processor.force_flush()

    def work() -> Any:
        exporter.up = True
        end_spans(traced, 5, "of the child")
        processor.force_flush()
        processor.shutdown()
        return [exporter.arrived, processor.stats()]

    assert in_child(work) == [[f"of the child {n}" for n in range(5)], account(5, exported=5)]
    assert processor.stats() == account(20, spooled=20)
    exporter.up = True
    until(lambda: processor.stats() == account(20, exported=20), "the parent's own")


# --- collectors that are particular


def test_a_record_that_is_too_large_is_split(batching: Batching, collector: Collector, folder: Path) -> None:
    collector.script(Reply(500), Reply(413), then=Reply())
    processor = batching(collector, spool_dir=folder)
    end_spans(provider(processor), 10)
    assert processor.force_flush()
    until(lambda: processor.stats() == account(10, exported=10), "both halves")
    assert [len(request.spans) for request in collector.requests] == [10, 10, 5, 5]


def test_what_the_collector_rejects_later_is_counted(
    batching: Batching, collector: Collector, folder: Path
) -> None:
    collector.script(Reply(500), Reply.partial_success(4))
    processor = batching(collector, spool_dir=folder)
    end_spans(provider(processor), 10)
    assert processor.force_flush()
    until(lambda: processor.stats() == account(10, exported=6, rejected=4), "the answer")


def test_a_collector_is_left_alone_for_as_long_as_it_asks(
    batching: Batching, collector: Collector, folder: Path
) -> None:
    collector.script(Reply(429, headers={"Retry-After": "2"}), then=Reply())
    processor = batching(OTLPSpanExporter(collector.endpoint, timeout=0.5), spool_dir=folder)
    traced = provider(processor)
    end_spans(traced, 3)
    assert processor.force_flush()
    asked = time.monotonic()
    end_spans(traced, 3, "meanwhile")
    assert processor.force_flush()
    assert processor.stats() == account(6, spooled=6)
    collector.wait_for_spans(9)
    assert time.monotonic() - asked > 1.8
    until(lambda: processor.stats() == account(6, exported=6), "all of it")


def test_only_the_rest_of_a_batch_is_kept(batching: Batching, collector: Collector, folder: Path) -> None:
    collector.script(Reply(413), Reply(200), Reply(500), then=Reply())
    processor = batching(collector, spool_dir=folder)
    end_spans(provider(processor), 10)
    assert processor.force_flush()
    until(lambda: processor.stats() == account(10, exported=10), "the second half")
    assert [len(request.spans) for request in collector.requests] == [10, 5, 5, 5]


class Dislikes(Unreliable):
    """Takes everything but one kind of span."""

    def _answer(self, batch: SpanBatch) -> ExportOutcome:
        if any("poison" in span.name for span in spans_of(bytes(batch))):
            return ExportOutcome(failed=batch.count)
        return super()._answer(batch)


def test_a_batch_that_no_collector_takes_does_not_keep_the_others(batching: Batching, folder: Path) -> None:
    exporter = Dislikes(up=True)
    processor = batching(exporter, spool_dir=folder, max_export_batch_size=5)
    traced = provider(processor)
    end_spans(traced, 5, "poison")
    end_spans(traced, 20)

    def is_over() -> bool:
        end_spans(traced, 5)
        return processor.stats()["dropped"].get("export_failed") == 5

    until(is_over, "the end of the poison")
    assert processor.force_flush() is False
    until(lambda: processor.stats()["spooled"] == 0, "the others")
    stats = processor.stats()
    assert stats == account(stats["ended"], exported=stats["ended"] - 5, export_failed=5)


# --- what is on the disk


def test_damaged_records_are_counted(batching: Batching, folder: Path) -> None:
    exporter = Unreliable()
    processor = batching(exporter, spool_dir=folder, max_export_batch_size=10)
    end_spans(provider(processor), 30)
    assert processor.force_flush()
    (segment,) = [path for path in files(folder) if path.stat().st_size > 1000]
    data = bytearray(segment.read_bytes())
    data[len(data) // 2] ^= 1  # in the second of three records
    segment.write_bytes(data)
    exporter.up = True
    until(lambda: processor.stats()["queued"] == processor.stats()["spooled"] == 0, "the others")
    assert processor.stats() == account(30, exported=20, export_failed=10)


def test_what_is_too_old_is_dropped_and_counted(batching: Batching, folder: Path) -> None:
    processor = batching(Unreliable(), spool_dir=folder, spool_max_age=0.01)
    end_spans(provider(processor), 3)
    processor.force_flush()
    processor._delivery.spooling._house_at = 0.0  # type: ignore[union-attr]
    until(lambda: processor.stats() == account(3, export_failed=3), "the end of their time")


def test_no_secret_is_on_the_disk(batching: Batching, folder: Path) -> None:
    with Collector() as collector:
        endpoint = collector.endpoint.replace("http://", f"http://user:{SECRET}@")
    exporter = OTLPSpanExporter(endpoint, headers={"api-key": SECRET}, timeout=0.2)
    processor = batching(exporter, spool_dir=folder)
    end_spans(provider(processor), 10)
    assert processor.force_flush()
    written = b"".join(path.read_bytes() for path in files(folder))
    assert b"span 9" in written
    assert SECRET.encode() not in written and b"api-key" not in written
    for path in [folder, *folder.rglob("*")]:
        assert path.stat().st_mode & 0o077 == 0


# --- arguments


def test_the_variable_names_the_directory(
    batching: Batching, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTLPFAST_SPOOL_DIR", str(folder))
    processor = batching(Unreliable())
    end_spans(provider(processor), 3)
    assert processor.force_flush()
    assert processor.stats() == account(3, spooled=3)


def test_a_wrong_variable_is_one_warning(
    batching: Batching, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("OTLPFAST_SPOOL_DIR", str(tmp_path / "file"))
    processor = batching(Unreliable())
    end_spans(provider(processor), 3)
    assert processor.force_flush() is False
    assert processor.stats() == account(3, export_failed=3)
    (warning,) = [r.getMessage() for r in caplog.records if r.name == "otlpfast._arguments"]
    assert "OTLPFAST_SPOOL_DIR" in warning and str(tmp_path / "file") in warning


@pytest.mark.parametrize(
    ("settings", "error", "words"),
    [
        ({"spool_dir": 5}, TypeError, "spool_dir|directory"),
        ({"spool_dir": "x", "spool_max_bytes": 0}, ValueError, "spool_max_bytes=0"),
        ({"spool_dir": "x", "spool_max_age": -1}, ValueError, "spool_max_age=-1"),
    ],
)
def test_wrong_arguments(
    settings: dict[str, Any],
    error: type[Exception],
    words: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(error, match=words):
        BatchSpanProcessor(Encoded(), **settings)


def test_an_exporter_of_spans_has_no_use_for_a_spool(folder: Path) -> None:
    with pytest.raises(ValueError, match="spool_dir"):
        BatchSpanProcessor(ConsoleSpanExporter(), spool_dir=folder)
