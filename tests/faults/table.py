"""All rows of the table, in its order."""

from __future__ import annotations

import importlib.util
import re

from tests.faults import FAULTS, Fault, answers, hostile, load, network, processes, values

__all__ = ["FAULTS", "answers", "hostile", "load", "missing", "network", "processes", "values"]


def _place(row: str) -> tuple[bool, int, str]:
    found = re.fullmatch(r"(S?)(\d+)(\w?)", row)
    assert found, row
    return bool(found[1]), int(found[2]), found[3]


# Modules are by subject: their rows come in when they are imported.
for _row in sorted(FAULTS, key=_place):
    FAULTS[_row] = FAULTS.pop(_row)


def missing(fault: Fault) -> str:
    """What is not installed here and the fault can't be run without; nothing if it can."""
    return ", ".join(name for name in fault.needs if importlib.util.find_spec(name) is None)
