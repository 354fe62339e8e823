"""What is read from outside, with a few inputs of those that ``make fuzz`` tries for longer."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest
from hypothesis import settings

from .fuzz_targets import ANYTHING_GOES, TARGETS, as_test

FEW = settings(ANYTHING_GOES, max_examples=50, database=None, derandomize=True)


@pytest.fixture(autouse=True)
def _in_silence() -> Iterator[None]:
    logging.disable()
    yield
    logging.disable(logging.NOTSET)


@pytest.mark.parametrize("name", TARGETS)
def test_nothing_that_comes_from_outside_raises(name: str) -> None:
    as_test(name, FEW)()
