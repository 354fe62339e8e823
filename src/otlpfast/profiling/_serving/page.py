"""The page, and what it is made of."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from html import escape
from importlib.resources import files

from .kinds import DUMPED, KINDS, Kind
from .request import Answer, Refused

_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
_SHARED = ("dom.js", "icon.svg", "page.css", "theme.js", "themes.js")  # with the live page


@cache
def _read(package: str, name: str) -> bytes:
    return (files(package) / "static" / name).read_bytes()


def static(name: str) -> Answer:
    """One of the files of the page; Refused for any other."""
    stem, dot, suffix = name.partition(".")
    kind = _TYPES.get(dot + suffix)
    if kind is not None and stem.isalnum():
        try:
            package = "otlpfast.web" if name in _SHARED else "otlpfast.profiling"
            return Answer(200, {"Content-Type": kind}, _read(package, name))
        except FileNotFoundError:
            pass
    raise Refused(404, "404 page not found")


def index(counts: Mapping[str, int | None], max_seconds: float) -> Answer:
    """The list of profiles with how much each would show; it can be read without JavaScript."""
    rows = "\n".join(_row(kind, counts[name]) for name, kind in KINDS.items())
    page = _read("otlpfast.profiling", "index.html").decode()
    page = page.replace("<!--profiles-->", rows).replace("<!--max_seconds-->", f"{max_seconds:g}")
    return Answer(200, {"Content-Type": "text/html; charset=utf-8"}, page.encode())


def _row(kind: Kind, count: int | None) -> str:
    name, seconds = kind.name, "10" if kind.takes_time else ""
    links = {"pprof": f"{name}?seconds=10" if kind.takes_time else name}
    if not kind.takes_time:
        links["debug=1"] = f"{name}?debug=1"
    if name in DUMPED:
        links["debug=2"] = f"{name}?debug=2"
    shown = " ".join(f'<a href="{escape(link)}">{text}</a>' for text, link in links.items())
    return f"""\
          <tr data-name="{name}">
            <th scope="row"><span class="strong">{name}</span>
              <span class="note">{escape(kind.text)}</span></th>
            <td class="number count">{"&ndash;" if count is None else count}</td>
            <td class="take" hidden>
              <input type="number" class="seconds" min="0" step="any" value="{seconds}" placeholder="now"
                aria-label="{name}: seconds">
              <button type="button" class="begin">Take<span class="hidden"> {name}</span></button>
            </td>
            <td class="links">{shown}</td>
          </tr>"""
