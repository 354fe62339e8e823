"""otlpfast's TracerProvider does what the SDK's does, for whatever program.

``OTLPFAST_EXAMPLES=5000`` makes the search longer than a run of the whole suite can bear.
"""

from __future__ import annotations

import os

import pytest
from hypothesis import Phase, event, given, settings

from .differential import Compared, compare
from .differential.cast import cast
from .differential.drawing import programs
from .differential.ops import Program

EXAMPLES = int(os.environ.get("OTLPFAST_EXAMPLES", "0"))


def examples(number: int) -> settings:
    phases = (Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink)
    return settings(max_examples=EXAMPLES or number, phases=phases, report_multiple_bugs=False)


def same(program: Program) -> Compared:
    """Both providers do the same."""
    compared = compare(program, cast)
    if compared.cut:
        event(f"the SDK refused {compared.cut[:60]}")
    difference = compared.difference()
    if difference:
        pytest.fail(f"{program!r}\n{difference}", pytrace=False)
    return compared


@examples(100)
@given(programs(foreign=False))
def test_what_is_exported_is_the_same(program: Program) -> None:
    same(program)


@examples(100)
@given(programs())
def test_what_processors_see_and_change_is_the_same(program: Program) -> None:
    same(program)


@examples(100)
@given(programs(inside=True))
def test_underscore_fields_are_the_same_and_may_be_set(program: Program) -> None:
    same(program)
