"""The forms that a profile is sent in."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable
from typing import Any

from ...web.answering import TEXT
from .._flame import inlined
from ..profile import Profile
from .request import Answer
from .text import text

_TOP_ROWS = 100


def answer(profile: Profile, name: str, form: str, debug: int) -> Answer:
    """A profile in the form that is wanted; ``name`` is what it is called as a file."""
    if debug:
        return _text(text(profile))
    return _FORMS[form](profile, name)


def _text(body: str) -> Answer:
    return Answer(200, {"Content-Type": TEXT}, body.encode("utf-8", "replace"))


def _file(kind: str, name: str, body: bytes) -> Answer:
    fields = {"Content-Type": kind, "Content-Disposition": f'attachment; filename="{name}"'}
    return Answer(200, fields, body)


def _pprof(profile: Profile, name: str) -> Answer:
    return _file("application/octet-stream", name, profile.to_pprof())


def _speedscope(profile: Profile, name: str) -> Answer:
    return _file("application/json", f"{name}.speedscope.json", _bytes(profile.to_speedscope()))


def _svg(profile: Profile, name: str) -> Answer:
    policy = (
        f"default-src 'none'; style-src {_inline('flame.css')}; script-src {_inline('flame.js')}; "
        "frame-ancestors 'none'; require-trusted-types-for 'script'"
    )
    fields = {"Content-Type": "image/svg+xml", "Content-Security-Policy": policy}
    return Answer(200, fields, _bytes(profile.to_svg()))


def _inline(name: str) -> str:
    """What a policy calls a style or script that is in the picture itself."""
    digest = hashlib.sha256(inlined(name).encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"


def _bytes(made: str | bytes) -> bytes:
    return made.encode("utf-8", "replace") if isinstance(made, str) else made


def _page(profile: Profile, name: str) -> Answer:
    """All that the page shows of one profile, and the files that it offers."""
    top = profile.top(_TOP_ROWS)
    shown: dict[str, Any] = {
        "name": name,
        "kind": profile.kind,
        "unit": top.value_type.unit,
        "type": top.value_type.type,
        "total": top.total,
        "samples": len(profile.samples),
        "duration_nanos": profile.duration_nanos,
        "time_unix_nano": str(profile.time_unix_nano),  # more than JavaScript can hold
        "comments": profile.comments,
        "top": [row._asdict() for row in top.rows],
        "pprof": base64.b64encode(profile.to_pprof()).decode(),
        "speedscope": profile.to_speedscope(),
        "svg": profile.to_svg(),
    }
    return Answer(200, {"Content-Type": "application/json"}, json.dumps(shown).encode())


_FORMS: dict[str, Callable[[Profile, str], Answer]] = {
    "pprof": _pprof,
    "svg": _svg,
    "speedscope": _speedscope,
    "folded": lambda profile, _: _text(profile.to_folded()),
    "top": lambda profile, _: _text(f"{profile.top(_TOP_ROWS)}\n"),
    "page": _page,
}
