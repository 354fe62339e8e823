"""The text of an exception, by the standard library and from kept frames: most of record_exception."""

from __future__ import annotations

import json
import time
import traceback
from collections.abc import Callable
from typing import Any

import pytest

from otlpfast._stacktrace import format_exception

from .conftest import Measure

pytestmark = pytest.mark.benchmark(timer=time.thread_time, max_time=2.0)

PROMISED = 10


def _parsed(texts: list[Any]) -> list[object]:
    parsed = []
    for text in texts:
        parsed.append(
            json.loads(
                text,
            )
        )
    return parsed


def _handled(request: dict[str, Any]) -> int:
    return 1 + len(_parsed(request["texts"])) * int(request["weight"])


def _no_json() -> object:
    return _handled({"texts": ["{"], "weight": 2})


def _no_attribute() -> object:
    return _parsed.missing + 1  # type: ignore[attr-defined]


def _raised(work: Callable[[], object]) -> Exception:
    try:
        work()
    except Exception as error:
        return error
    raise AssertionError


CASES = {
    # Through two files of the standard library, with carets and a context that is not shown.
    "text of an exception, 7 frames in 3 files": (_raised(_no_json), PROMISED),
    # A kind that traceback makes suggestions for: from 3.12 on its last line is left to traceback.
    "text of an AttributeError, 2 frames": (_raised(_no_attribute), None),
}


@pytest.mark.parametrize("operation", CASES)
def test_standard_library(measure: Measure, operation: str) -> None:
    error, _ = CASES[operation]
    measure(operation, "traceback", lambda: "".join(traceback.format_exception(error)))


@pytest.mark.parametrize("operation", CASES)
def test_otlpfast(measure: Measure, operation: str) -> None:
    error, promised = CASES[operation]
    text = measure(operation, "otlpfast", lambda: format_exception(error), promised=promised)
    assert text == "".join(traceback.format_exception(error))
