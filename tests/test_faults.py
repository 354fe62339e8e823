"""Whatever happens, otlpfast keeps what docs/reliability.md promises: all of its rows, with short outages."""

from __future__ import annotations

import os

import pytest

from .faults import Fault, Pipeline
from .faults.table import FAULTS, missing

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="the scenarios are those of POSIX systems")

# Those that the SDK fails quickly: a scenario that nothing fails would show nothing.
FAILED_BY_THE_SDK = ("7b", "8", "20", "21", "22", "24", "25", "26", "36", "S1")


def run(fault: Fault, side: str) -> list[str]:
    """The promises that were broken."""
    absent = missing(fault)
    if absent:
        pytest.skip(f"needs {absent}")
    outcome = fault.scenario(Pipeline(side))
    print(outcome)
    return outcome.broken


@pytest.mark.parametrize("fault", FAULTS.values(), ids=str)
def test_otlpfast_keeps_its_promise(fault: Fault) -> None:
    assert run(fault, "otlpfast") == []


@pytest.mark.parametrize("row", FAILED_BY_THE_SDK)
def test_the_scenario_can_tell(row: str) -> None:
    assert run(FAULTS[row], "SDK") != []


def test_every_fault_has_its_row() -> None:
    assert {str(number) for number in range(1, 37)} <= set(FAULTS)
