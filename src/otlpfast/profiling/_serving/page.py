"""The page, and what it is made of."""

from __future__ import annotations

import html
from collections.abc import Mapping
from functools import cache
from importlib.resources import files

from .kinds import DUMPED, KINDS
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
    package = "otlpfast.web" if name in _SHARED else "otlpfast.profiling"
    kind = _TYPES.get(name[name.rfind(".") :])
    if kind is None or not name.replace(".", "").isalnum():
        raise Refused(404, "Unknown profile")
    try:
        return Answer(200, {"Content-Type": kind}, _read(package, name))
    except FileNotFoundError:
        raise Refused(404, "Unknown profile") from None


def index(counts: Mapping[str, int | None]) -> Answer:
    """The list of profiles with how many things each would show; it can be read without JavaScript."""
    rows = "\n".join(_row(name, counts[name]) for name in KINDS)
    page = _read("otlpfast.profiling", "index.html").decode().replace("<!--profiles-->", rows)
    return Answer(200, {"Content-Type": "text/html; charset=utf-8"}, page.encode())


def _row(name: str, count: int | None) -> str:
    """With what can be asked for without JavaScript; the page adds its own controls."""
    kind = KINDS[name]
    seconds = ("", "10")[kind.takes_time]
    query = "?seconds=10" if kind.takes_time else ""
    links = [f'<a href="{name}{query}" download>pprof</a>']
    if not kind.takes_time:
        links.append(f'<a href="{name}?debug=1">debug=1</a>')
    if name in DUMPED:
        links.append(f'<a href="{name}?debug=2">debug=2</a>')
    return f"""\
          <tr data-name="{name}">
            <th scope="row"><span class="strong">{name}</span> <span class="note">{html.escape(kind.text)}</span></th>
            <td class="number count">{"–" if count is None else count}</td>
            <td class="take" hidden>
              <input type="number" class="seconds" min="1" step="any" value="{seconds}" placeholder="now"
                aria-label="{name}: seconds">
              <button type="button" class="begin">Take<span class="hidden"> {name}</span></button>
            </td>
            <td class="links">{" ".join(links)}</td>
          </tr>"""
