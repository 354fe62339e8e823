"""Flame graphs: one SVG with all that it needs, for a browser or any viewer of pictures."""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator
from functools import lru_cache
from importlib.resources import files

from ._names import module_of, place_of
from ._tree import MAX_NODES, Node, Tree, grow
from ._units import amount
from .profile import Profile

WIDTH = 1200
"""Before the script fits it to the window."""
MARGIN = 10
ROW = 18
MAX_TEXTS = 4 << 20
"""Characters of all frames; where names are so long that it is more, fewer frames are shown."""
_MAX_NAME = 160
_CHARACTER = 7.3
_COMMENTS = 8
_MAX_COMMENT = 1000
# What XML has no way to say, and what would turn a line round.
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff\u2028-\u202e\u2066-\u2069]")
_ENTITIES = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;"})
_FAMILIES = {"application": ("a", 5), "library": ("l", 5), "standard": ("s", 3)}


def flame_graph(
    profile: Profile,
    value: str | None = None,
    title: str | None = None,
    focus: str | None = None,
    alone: bool = True,
) -> str:
    """See ``Profile.to_svg``. Not alone, it has no style and script: those of ``static/`` are the page's."""
    if focus is not None:
        profile = profile.focus(function=focus)
    index = profile.value_index(value)
    kind, unit = profile.value_types[index]
    heading = _text(title if title is not None else f"{profile.kind} profile: {kind}")
    label = heading.replace('"', "&quot;")
    comments = profile.comments[:_COMMENTS]
    top = 60 + 18 * len(comments)
    for most in (MAX_NODES, MAX_NODES // 5, MAX_NODES // 40):
        tree = grow(profile, index, most)
        frames = "".join(_frames(tree, unit, top + 76))
        if len(frames) < MAX_TEXTS:
            break
    height = top + 72 + ROW * (tree.depth + 1) + MARGIN
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" class="otlpfast-flame" width="{WIDTH}" height="{height}"',
        f' viewBox="0 0 {WIDTH} {height}" role="group" aria-label="{label}">\n',
        f"<title>{heading}</title>\n",
        f"<style><![CDATA[{inlined('flame.css')}]]></style>\n" if alone else "",
        '<rect class="ground" width="100%" height="100%"/>\n',
        _line("heading line", 24, heading),
        _line("note line", 44, _text(_summary(profile, tree, unit))),
        *(
            _line("note line", 62 + 18 * at, _text(comment[:_MAX_COMMENT]))
            for at, comment in enumerate(comments)
        ),
        *_legend(tree, top + 12),
        f'<rect class="controls" x="{MARGIN}" y="{top + 20}" width="0" height="36"/>\n',
        f'<text class="detail" x="{MARGIN}" y="{top + 68}"></text>\n',
        frames,
        f"<script><![CDATA[{inlined('flame.js')}]]></script>\n" if alone else "",
        "</svg>\n",
    ]
    return "".join(parts)


def _summary(profile: Profile, tree: Tree, unit: str) -> str:
    root = tree.root
    said = [f"{_amount(tree, root.value, unit)} in all" if root.weight else "no samples"]
    if tree.signed:
        said[0] += f", of {amount(root.weight, unit)} that changed"
    if profile.duration_nanos:
        said[0] += f", over {amount(profile.duration_nanos, 'nanoseconds')}"
    if _has_merged(root):
        said.append(f"frames below {tree.least:.2%} are merged".replace("%", " %"))
    return "; ".join(said)


def _has_merged(root: Node) -> bool:
    return any(node.merged for node in _preorder(root))


def _preorder(root: Node) -> Iterator[Node]:
    waiting = [root]
    while waiting:
        node = waiting.pop()
        yield node
        waiting += reversed(node.children)


def _line(kind: str, y: int, text: str) -> str:
    return f'<text class="{kind}" x="{MARGIN}" y="{y}">{text}</text>\n'


def _legend(tree: Tree, y: int) -> Iterator[str]:
    if tree.signed:
        entries = [("r3", "more than before"), ("b3", "less"), ("m", "as much")]
    else:
        entries = [("a0", "application"), ("l0", "library"), ("s0", "standard library, native")]
    x = MARGIN
    for colour, meaning in entries:
        yield f'<rect class="{colour}" x="{x}" y="{y - 10}" width="12" height="12"/>'
        yield f'<text class="note" x="{x + 18}" y="{y}">{meaning}</text>\n'
        x += 18 + int(len(meaning) * _CHARACTER) + 20


def _frames(tree: Tree, unit: str, top: int) -> Iterator[str]:
    total = tree.root.weight
    scale = (WIDTH - 2 * MARGIN) / total if total else 0.0
    for node in _preorder(tree.root):
        x, y = MARGIN + node.start * scale, top + ROW * node.depth
        width = node.weight * scale if total else WIDTH - 2 * MARGIN
        name, own = _names(node)
        title = _text("\n".join((name, *_facts(tree, node, unit))))
        yield f'<g class="f" role="button" data-own="{own}"><title>{title}</title><rect x="{x:.4f}" y="{y}"'
        yield f' width="{width:.4f}" height="{ROW - 1}" class="{_colour(tree, node)}"/>'
        room = (width - 8) / _CHARACTER
        if shown := name if len(name) <= room else _cut(name[own:], room):
            yield f'<text x="{x + 4:.1f}" y="{y + 13}">{_text(shown)}</text>'
        yield "</g>\n"


def _names(node: Node) -> tuple[str, int]:
    """A function's name, and where in it the module's has ended."""
    if node.merged:
        return f"({node.merged} more)", 0
    name, filename, _ = node.place
    module = module_of(filename)
    own = len(module) + 1 if module and name.startswith(f"{module}.") else 0
    return _cut(_printable(name), _MAX_NAME), min(own, _MAX_NAME)


def _facts(tree: Tree, node: Node, unit: str) -> Iterator[str]:
    total = tree.root.weight
    share = f"{100 * node.weight / total:.2f} %" if total else "0 %"
    itself = f", {_amount(tree, node.own, unit)} of that itself" if node.own and not node.merged else ""
    yield f"{_amount(tree, node.value, unit)}, {share}{' of all change' if tree.signed else ''}{itself}"
    _, filename, line = node.place
    if filename:
        place = _printable(f"{filename}:{line}" if line else filename)
        yield place if len(place) <= _MAX_NAME else f"…{place[1 - _MAX_NAME :]}"


def _amount(tree: Tree, value: int, unit: str) -> str:
    sign = "+" if tree.signed and value > 0 else ""
    return sign + amount(value, unit)


def _colour(tree: Tree, node: Node) -> str:
    if node.merged:
        return "m merged"
    if not node.depth:
        return "m"
    if tree.signed:
        share = node.value / node.weight
        strength = min(int(abs(share) * 4) + 1, 4)
        return f"{'r' if share > 0 else 'b'}{strength}" if share else "m"
    _, filename, _ = node.place
    letter, shades = _FAMILIES[place_of(filename)]
    module = module_of(filename).rpartition(".")[0] or filename
    return f"{letter}{zlib.crc32(module.encode('utf-8', 'replace')) % shades}"


def _cut(text: str, room: float) -> str:
    if len(text) <= room:
        return text
    return text[: int(room) - 1] + "…" if room >= 3 else ""


def _printable(text: str) -> str:
    return _UNPRINTABLE.sub("\ufffd", text)


def _text(text: str) -> str:
    """As XML and HTML both understand it; line ends stay."""
    return "\n".join(map(_printable, text.split("\n"))).translate(_ENTITIES)


@lru_cache(maxsize=2)
def inlined(name: str) -> str:
    """A style or script of the picture, as it is in there."""
    return "\n" + (files(__package__) / "static" / name).read_text("utf-8")
