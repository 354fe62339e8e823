"""Every test runs on one implementation a run, ``OTLPFAST_IMPL=c`` or ``py``; the run says which it got."""

from __future__ import annotations

import concurrent.futures.thread  # noqa: F401  before any provider is made: see otlpfast/processor.py
import os
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

import otlpfast
from otlpfast import _impl

settings.register_profile(
    "default",
    deadline=None,
    max_examples=100,
    # A test that is run once more (--reruns) has another instance of its class.
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.differing_executors],
    print_blob=True,
)
# Where a change is judged, it meets the same examples each time; everywhere else, ever new ones.
settings.register_profile("ci", settings.get_profile("default"), derandomize=True)
chosen = "ci" if os.environ.get("CI") else "default"
# And few of them where the suite runs once more, for what another Python or a sanitizer says.
settings.register_profile("few", settings.get_profile(chosen), max_examples=25)
settings.load_profile(chosen)

WANTED = os.environ.get("OTLPFAST_IMPL", "auto")


def pytest_report_header() -> str:
    loaded = f"implementation {otlpfast.IMPLEMENTATION!r} (OTLPFAST_IMPL={WANTED})"
    return f"otlpfast {otlpfast.__version__}, {loaded}"


def pytest_sessionstart() -> None:
    if WANTED != "auto" and WANTED != otlpfast.IMPLEMENTATION:
        pytest.exit(f"OTLPFAST_IMPL={WANTED}, but {otlpfast.IMPLEMENTATION!r} was loaded", returncode=3)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Where failed tests are run once more (``--reruns``), how they failed the first time."""
    for report in terminalreporter.getreports("rerun"):
        terminalreporter.section(f"{report.nodeid} failed the first time", yellow=True)
        terminalreporter.line(report.longreprtext)


@pytest.fixture(autouse=True)
def _no_otel_variables(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No test depends on the environment it is started in."""
    for name in list(os.environ):
        if name.startswith("OTEL_") or name in ("OTLPFAST_DISABLED",):
            monkeypatch.delenv(name)
    yield


@pytest.fixture
def core() -> object:
    """The implementation under test."""
    return _impl.core
