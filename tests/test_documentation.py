"""What the documentation lists is what there is, and its links lead somewhere."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from otlpfast import environment_variables

from .documents import PAGES, ROOT

CONFIGURATION = ROOT / "docs" / "configuration.md"

pytestmark = pytest.mark.skipif(not CONFIGURATION.exists(), reason="the documentation is not here")


def test_the_configuration_page_has_each_variable_once_in_order() -> None:
    rows = re.findall(r"^\| `(OTLPFAST_\w+)` \| \S", CONFIGURATION.read_text(encoding="utf-8"), re.MULTILINE)
    known = [name for name in vars(environment_variables) if name.startswith("OTLPFAST_")]
    assert rows == known == sorted(known)


def test_each_variable_is_its_own_name() -> None:
    for name, value in vars(environment_variables).items():
        if name.isupper():
            assert name == value


def test_the_configuration_page_has_each_extra() -> None:
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    section = project.partition("[project.optional-dependencies]\n")[2].partition("\n[")[0]
    rows = re.findall(
        r"^\| `otlpfast\[(\w+)\]` \| \S", CONFIGURATION.read_text(encoding="utf-8"), re.MULTILINE
    )
    assert sorted(rows) == sorted(re.findall(r"^(\w+) = \[", section, re.MULTILINE))


def anchors(page: Path) -> set[str]:
    """Of its headings, as forges make them."""
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    titles = re.findall(r"^#+ (.*)", text, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title.lower()).strip().replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES)
def test_links_within_the_repository_lead_to_something(page: str) -> None:
    here = ROOT / page
    text = re.sub(r"`[^`\n]*`", "", here.read_text(encoding="utf-8"))
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        file = here.parent / path if path else here
        assert file.exists(), f"{page}: {target}"
        assert not anchor or anchor in anchors(file), f"{page}: {target}"


def test_each_page_is_in_the_navigation_of_the_site() -> None:
    navigation = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    for page in PAGES:
        if page.startswith("docs/"):
            name = re.escape(page.removeprefix("docs/"))
            assert re.search(rf"(- |: ){name}$", navigation, re.MULTILINE), f"mkdocs.yml has no {page}"


def test_the_readme_fits_on_a_few_screens() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) < 150
