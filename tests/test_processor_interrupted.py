"""Deliveries that are interrupted: by Ctrl-C, SystemExit, a signal handler, a fork in the exporter."""

from __future__ import annotations

import os
import signal
import threading
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from otlpfast import BatchSpanProcessor, ExportOutcome, SpanBatch
from otlpfast._spool.segments import Segment
from otlpfast._worker import _Flush

from .collector import PATIENCE
from .exporting import make_fixture  # noqa: F401
from .forks import die_in
from .pipeline import (
    NEVER_MILLIS,
    Batching,
    Encoded,
    account,
    batching_fixture,  # noqa: F401
    end_spans,
    soon,
    until,
)
from .spans import provider

LONG_MILLIS = 600_000


@pytest.fixture(name="folder")
def folder_fixture(tmp_path: Path) -> Path:
    return tmp_path / "spool"


class Failing(Encoded):
    """Holds each batch until it is let go, or shut down, and then does not deliver it."""

    def __init__(self) -> None:
        super().__init__(self._hold)
        self.entered, self.let_go = threading.Event(), threading.Event()

    def _hold(self, batch: SpanBatch) -> ExportOutcome:
        self.entered.set()
        self.let_go.wait(PATIENCE)
        return ExportOutcome(failed=batch.count)

    def shutdown(self) -> None:
        super().shutdown()
        self.let_go.set()


# --- Ctrl-C and SystemExit


@pytest.mark.parametrize("spooled", [False, True])
def test_ctrl_c_ends_the_wait_of_a_shutdown_and_nothing_else(
    folder: Path, monkeypatch: pytest.MonkeyPatch, spooled: bool
) -> None:
    """Its threads end, what waits goes to the spool or is counted, the exporter is shut down."""
    before = set(threading.enumerate())
    exporter = Failing()
    processor = BatchSpanProcessor(
        exporter, schedule_delay_millis=NEVER_MILLIS, spool_dir=folder if spooled else None
    )

    def wait(self: _Flush, timeout: float) -> bool:
        assert exporter.entered.wait(PATIENCE)
        raise KeyboardInterrupt  # as Python's handler does, wherever the thread waits

    monkeypatch.setattr(_Flush, "wait", wait)
    end_spans(provider(processor), 35)
    with soon(), pytest.raises(KeyboardInterrupt):
        processor.shutdown(LONG_MILLIS)
    assert exporter.shut == 1
    lost = account(35, spooled=35) if spooled else account(35, export_failed=35)
    until(lambda: processor.stats() == lost, "the batch that was under way")
    until(lambda: not ours(before), "the end of the threads")
    end_spans(provider(processor), 1)
    assert processor.stats()["dropped"]["shutdown"] == 1


def ours(before: set[threading.Thread]) -> list[str]:
    left = set(threading.enumerate()) - before
    return [thread.name for thread in left if thread.name.startswith("otlpfast")]


@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt])
def test_a_batch_in_which_an_exporter_leaves_goes_to_the_spool(
    batching: Batching, folder: Path, error: type[BaseException]
) -> None:
    def leave(batch: SpanBatch) -> ExportOutcome:
        raise error

    exporter = Encoded(leave)
    processor = batching(exporter, spool_dir=folder)
    end_spans(provider(processor), 5)
    processor.force_flush()
    assert processor.stats() == account(5, spooled=5)
    exporter.answer = lambda batch: ExportOutcome(exported=batch.count)
    until(lambda: processor.stats() == account(5, exported=5), "the record")


# --- a signal handler in the middle of writing to the spool


@pytest.mark.parametrize("shut", [False, True])
def test_a_handler_does_not_wait_for_a_thread_that_waits_for_its_own(
    batching: Batching, folder: Path, monkeypatch: pytest.MonkeyPatch, shut: bool
) -> None:
    """The main thread has its turn at the spool; the export thread lines up for it."""
    exporter = Failing()
    processor = batching(exporter, spool_dir=folder, max_export_batch_size=5)
    traced, spool = provider(processor), processor._spool
    assert spool is not None
    answers: list[bool] = []

    def handle(*_: object) -> None:
        exporter.let_go.set()
        until(lambda: bool(spool.lined_up), "the export thread, which has to keep its batch")
        end_spans(traced, 3)
        with soon():
            if shut:
                processor.shutdown(LONG_MILLIS)
            else:
                answers.append(processor.force_flush(LONG_MILLIS))

    append = Segment.append

    def interrupted(self: Segment, *args: Any) -> None:
        if threading.current_thread() is threading.main_thread() and not exporter.let_go.is_set():
            signal.raise_signal(signal.SIGUSR1)
        append(self, *args)

    end_spans(traced, 5, "under way")
    assert exporter.entered.wait(PATIENCE)
    end_spans(traced, 3)
    monkeypatch.setattr(Segment, "append", interrupted)
    old = signal.signal(signal.SIGUSR1, handle)
    try:
        assert processor.force_flush(0) is False  # in vain: this thread brings to the disk what waits
    finally:
        signal.signal(signal.SIGUSR1, old)
    assert answers == [False] * (not shut)
    processor.force_flush()
    end = account(11, spooled=8, shutdown=3) if shut else account(11, spooled=11)
    until(lambda: processor.stats() == end, "the end of what was under way")


# --- a fork in the exporter


def exits() -> None:
    os._exit(0)


def goes_on() -> None:
    """As if nothing had happened."""


def leaves() -> None:
    raise SystemExit


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
@pytest.mark.parametrize("child", [exits, goes_on, leaves])
@pytest.mark.parametrize("spooled", [False, True])
def test_a_fork_in_the_exporter(
    batching: Batching, folder: Path, child: Callable[[], None], spooled: bool
) -> None:
    """The child has nothing to export, and ends; the parent's spans are counted, once."""
    children: list[int] = []

    def export(batch: SpanBatch) -> ExportOutcome:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            pid = os.fork()
        if pid:
            children.append(pid)
        else:
            die_in(PATIENCE)
            child()
        return ExportOutcome(exported=batch.count)

    exporter = Encoded(export)
    processor = batching(exporter, max_export_batch_size=5, spool_dir=folder if spooled else None)
    end_spans(provider(processor), 20)
    assert processor.force_flush() is True
    assert processor.stats() == account(20, exported=20)
    assert len(children) == 4
    assert all(os.WIFEXITED(os.waitpid(pid, 0)[1]) for pid in children)
