"""Flame graphs as files: what they show, what they escape, how large they get."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

import pytest

from otlpfast.profiling import Frame, Profile, Sample
from otlpfast.profiling._flame import flame_graph

from .profiles import CPU, DECODE, GET, HOSTILE, HOSTILE_NAMES, MAIN, RENDER, SHOP, TRACE, cpu

NAMESPACE = {"svg": "http://www.w3.org/2000/svg"}


@dataclass
class Drawn:
    """A frame of a picture."""

    title: list[str]
    text: str
    kind: str
    x: float
    y: float
    width: float


def drawn(svg: str) -> dict[str, Drawn]:
    """The frames by name; of those that are there twice, the first."""
    found: dict[str, Drawn] = {}
    for group in ElementTree.fromstring(svg).iterfind(".//svg:g[@class='f']", NAMESPACE):
        title = (group.findtext("svg:title", "", NAMESPACE)).split("\n")
        rect = group.find("svg:rect", NAMESPACE)
        assert rect is not None
        x, y, width = (float(rect.attrib[name]) for name in ("x", "y", "width"))
        shown = group.findtext("svg:text", "", NAMESPACE)
        found.setdefault(title[0], Drawn(title, shown, rect.attrib["class"], x, y, width))
    return found


def test_a_caller_is_above_what_it_called() -> None:
    frames = drawn(SHOP.to_svg())
    main, get, render = (frames[name] for name in ("manage.main", "views.Orders.get", "views.render"))
    assert frames["all"].y < main.y < get.y < render.y
    assert frames["all"].width == pytest.approx(1180)
    assert render.width == pytest.approx(1180 * 623 / 751, abs=0.01)
    assert render.x == get.x == main.x == 10  # the widest first
    assert render.title == ["views.render", "6.23s, 82.96 %, 5s of that itself", "/srv/shop/views.py:50"]
    assert main.text == "manage.main"
    assert frames["views.<lambda>"].text == "views.<lambda>"


def test_colours_tell_whose_code_it_is() -> None:
    frames = drawn(SHOP.to_svg())
    kinds = {name: frame.kind[0] for name, frame in frames.items()}
    assert kinds["manage.main"] == kinds["views.render"] == "a"
    assert kinds["json.decoder.JSONDecoder.decode"] == "s"
    assert kinds["orm.query.Query.all"] == "l"


def test_a_difference_is_red_and_blue() -> None:
    later = cpu(((RENDER, MAIN), 70, ()), ((DECODE, MAIN), 5, ()), ((GET, MAIN), 8, ()))
    earlier = cpu(((RENDER, MAIN), 20, ()), ((DECODE, MAIN), 15, ()), ((GET, MAIN), 8, ()))
    svg = later.diff(earlier).to_svg()
    frames = drawn(svg)
    assert frames["views.render"].kind == "r4"
    assert frames["json.decoder.JSONDecoder.decode"].kind == "b4"
    assert "views.Orders.get" not in frames
    assert frames["manage.main"].kind == "r3"  # 500 more, 100 less
    assert frames["manage.main"].title[1] == "+400ms, 100.00 % of all change"
    assert "more than before" in svg


def test_value_title_and_focus() -> None:
    svg = SHOP.to_svg("samples", title="Orders & more", focus="Orders")
    frames = drawn(svg)
    assert "tree.walk" not in frames and frames["all"].title[1] == "740, 100.00 %"
    root = ElementTree.fromstring(svg)
    assert root.findtext("svg:title", "", NAMESPACE) == root.attrib["aria-label"] == "Orders & more"
    assert "only samples with function=Orders" in svg
    with pytest.raises(ValueError, match="a cpu profile has"):
        SHOP.to_svg("inuse_space")


def test_an_empty_profile_says_so() -> None:
    svg = SHOP.focus(trace_id=TRACE[::-1]).to_svg()
    assert set(drawn(svg)) == {"all"} and "no samples" in svg


def test_nothing_from_the_program_is_markup() -> None:
    svg = HOSTILE.to_svg(title=HOSTILE_NAMES[0])
    root = ElementTree.fromstring(svg.encode())  # also: no lone surrogates
    assert len(root.findall(".//svg:script", NAMESPACE)) == 1
    assert HOSTILE_NAMES[0] in drawn(svg)
    assert "[31m" in "".join(drawn(svg)) and "\x1b" not in svg
    assert "<script>alert" not in svg and "]]><" not in svg.replace("]]></", "")


def test_nothing_is_loaded_from_elsewhere() -> None:
    svg = SHOP.to_svg()
    addresses = set(re.findall(r"https?://[^\s\"'<>]+", svg))
    assert addresses == {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xhtml"}
    assert not re.search(r"@import|url\(|href|src=", svg)


def test_a_page_can_have_style_and_script_of_its_own() -> None:
    svg = flame_graph(SHOP, alone=False)
    assert "<script" not in svg and "<style" not in svg
    assert drawn(svg).keys() == drawn(SHOP.to_svg()).keys()


def wide(stacks: int, name: str = "f{}") -> Profile:
    """Stacks of which no two share more than half of their 40 frames."""
    frames = [Frame(name.format(n), f"/srv/shop/m{n % 50}.py", n + 1, n + 1) for n in range(1000)]

    def samples() -> Iterator[Sample]:
        for n in range(stacks):
            outer = (frames[n % 97 + level] for level in range(20))
            inner = (frames[(n * 31 + level * 17) % 1000] for level in range(20))
            yield Sample((*outer, *inner)[::-1], (1, 10_000_000))

    return Profile("cpu", CPU, tuple(samples()), 1)


def test_many_stacks_make_a_picture_of_bounded_size() -> None:
    svg = wide(50_000).to_svg()
    assert len(svg) < 5_000_000
    frames = drawn(svg)
    said = re.search(r"frames below ([\d.]+) % are merged", svg)
    assert said and float(said[1]) >= 0.05
    assert any(re.fullmatch(r"\(\d+ more\)", name) for name in frames)


def test_endless_names_make_fewer_frames_not_a_larger_file() -> None:
    name = "{}" + "&'" * 5_000
    svg = wide(3_000, name).to_svg()
    assert len(svg) < 5_000_000
    assert ElementTree.fromstring(svg).find(".//svg:g[@class='f']", NAMESPACE) is not None


def test_recursion_as_deep_as_it_gets() -> None:
    deep = cpu(*(((GET,) * depth, 1, ()) for depth in (10, 3_000)))
    frames = ElementTree.fromstring(deep.to_svg()).findall(".//svg:g[@class='f']", NAMESPACE)
    assert len(frames) == 3_001


@pytest.mark.parametrize("count", [1, 30])
def test_children_fit_below_their_caller(count: int) -> None:
    stacks = [
        ((frame, caller, MAIN), 1 + number, ())
        for number, (frame, caller) in enumerate(product([RENDER, DECODE] * count, [GET, RENDER]))
    ]
    frames = drawn(cpu(*stacks).to_svg())
    main = frames["manage.main"]
    for frame in frames.values():
        assert frame.x >= main.x - 0.001 and frame.x + frame.width <= main.x + main.width + 0.001
