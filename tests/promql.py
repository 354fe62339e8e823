"""What Prometheus expressions ask for, and promtool's word on them."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

PROMTOOL = shutil.which("promtool")
needs_promtool = pytest.mark.skipif(
    PROMTOOL is None, reason="promtool is not here: Debian's package prometheus"
)

_GROUPING = re.compile(r"\b(?:by|without|on|ignoring|group_left|group_right)\s*\([^)]*\)")
_TOKEN = re.compile(
    r"""\[[^\]]*\] | "[^"]*" | \d[\w.]*
        | (?P<name> [A-Za-z_:][\w:]* ) (?P<labels> \{[^}]*\} )? (?P<call> \s*\( )?""",
    re.VERBOSE,
)
_OPERATORS = {"and", "or", "unless", "bool", "offset"}


def selectors(expression: str) -> Iterator[tuple[str, str]]:
    """The metrics that an expression names, each with its label matchers in braces, or "" without."""
    for token in _TOKEN.finditer(_GROUPING.sub(" ", expression)):
        name = token["name"]
        if name and not token["call"] and name not in _OPERATORS:
            yield name, token["labels"] or ""


def promtool(*arguments: str | Path, cwd: Path | None = None) -> str:
    assert PROMTOOL is not None
    command = [PROMTOOL, *map(str, arguments)]
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def evaluate(folder: Path, rules: Iterable[Path], series: dict[str, str], expressions: Iterable[str]) -> None:
    """Fails with the expressions that give nothing when promtool evaluates them over the series.

    ``series``: values in promtool's notation for each series; one value a minute.
    """
    absent = [
        {"alert": f"nothing {number}", "expr": f"absent({expression})", "annotations": {"of": expression}}
        for number, expression in enumerate(expressions)
    ]
    assert absent
    asked = folder / "asked.yaml"  # JSON is YAML, too
    asked.write_text(json.dumps({"groups": [{"name": "absent", "rules": absent}]}))
    promtool("check", "rules", asked)
    test = {
        "interval": "1m",
        "input_series": [{"series": name, "values": values} for name, values in series.items()],
        "alert_rule_test": [{"eval_time": "20m", "alertname": rule["alert"]} for rule in absent],
    }
    unit = folder / "unit.yaml"
    unit.write_text(
        json.dumps(
            {
                "rule_files": [*map(str, rules), str(asked)],
                "evaluation_interval": "1m",
                "tests": [test],
            }
        )
    )
    promtool("test", "rules", unit)
