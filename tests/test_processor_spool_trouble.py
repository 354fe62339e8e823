"""A spool in trouble: exporters that talk nonsense, disks that take no more, signals, crowds of orphans."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from otlpfast import ExportOutcome, SpanBatch
from otlpfast.export import retry

from .exporting import make_fixture  # noqa: F401
from .pipeline import (
    Batching,
    Encoded,
    account,
    batching_fixture,  # noqa: F401
    end_spans,
    until,
)
from .spans import provider


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
