"""What the documentation lists is what there is."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from otlpfast import environment_variables

CONFIGURATION = Path(__file__).parents[1] / "docs" / "configuration.md"


@pytest.mark.skipif(not CONFIGURATION.exists(), reason="the documentation is not here")
def test_the_configuration_page_has_each_variable_once_in_order() -> None:
    rows = re.findall(r"^\| `(OTLPFAST_\w+)` \| \S", CONFIGURATION.read_text(encoding="utf-8"), re.MULTILINE)
    known = [name for name in vars(environment_variables) if name.startswith("OTLPFAST_")]
    assert rows == known == sorted(known)


def test_each_variable_is_its_own_name() -> None:
    for name, value in vars(environment_variables).items():
        if name.isupper():
            assert name == value
