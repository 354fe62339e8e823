"""Who may ask, and what there is to be asked for."""

from __future__ import annotations

import json
import logging
from urllib.parse import urlsplit

from ...web.answering import PROTECTION, TEXT
from ...web.guard import Guard
from . import page
from .forms import answer as in_form
from .kinds import DUMPED, KINDS, dump, take
from .parameters import parse
from .request import Answer, Refused, Request
from .status import Status, command_line

_logger = logging.getLogger(__name__)

PREFIX = "/debug/pprof"
MAX_SECONDS = 300.0
_MOST_SECONDS = 86_400.0
_TRACE = (
    "There is no execution trace of Python. Where threads spend their time: wall; where they and asyncio "
    "tasks are now: goroutine?debug=2"
)
_NEEDS_TOKEN = (
    "a token is needed: http://any:TOKEN@HOST/debug/pprof/, ?token=TOKEN or Authorization: Bearer TOKEN"
)


class Site:
    """Answers requests, of any number of threads at once.

    Args:
        guard: decides who may ask; None: whoever this is served by has decided.
        max_seconds: the longest that a profile may take.
    """

    def __init__(self, guard: Guard | None, max_seconds: float) -> None:
        self._guard = guard
        self._max_seconds = _checked(max_seconds)
        self._status = Status()

    def answer(self, request: Request) -> Answer:
        """What is to be sent. Never raises."""
        try:
            more = self._admit(request)
            found = self._route(request)
        except Refused as refusal:
            more, found = {}, refusal.answer()
        except Exception as error:
            _logger.warning("a request for a profile failed", exc_info=True)
            more, found = (
                {},
                Refused(500, f"failed to collect profile: {type(error).__name__}: {error}").answer(),
            )
        fields = {**PROTECTION, **found.headers, **more}
        if found.body or request.method != "HEAD":  # of a profile that was not taken the length is not known
            fields["Content-Length"] = str(len(found.body))
        return Answer(found.status, fields, b"" if request.method == "HEAD" else found.body)

    # --- who may ask

    def _admit(self, request: Request) -> dict[str, str]:
        """Header fields for the answer of a request that is allowed; Refused for others."""
        if _is_foreign(request):
            raise Refused(403, "another web site has asked for this")
        guard = self._guard
        if guard is None:
            return {}
        if not guard.knows_host(request.headers.get("host")):
            raise Refused(421, "this does not answer to that name: ask for localhost or 127.0.0.1")
        if guard.has_token(request.query):
            return {"Set-Cookie": guard.new_cookie}
        fields = request.headers
        if not guard.admits(fields.get("authorization", ""), fields.get("cookie", "")):
            raise Refused(401, _NEEDS_TOKEN, {"WWW-Authenticate": 'Bearer realm="otlpfast"'})
        return {}

    # --- what there is

    def _route(self, request: Request) -> Answer:
        path = request.path
        if path == "/symbol":
            _allow(request, "GET", "HEAD", "POST")
            return Answer(200, {"Content-Type": TEXT}, b"num_symbols: 0\n")  # a profile has its own
        _allow(request, "GET", "HEAD")
        if path in ("", "/"):
            return self._index(request)
        if path.startswith("/static/"):
            return page.static(path.removeprefix("/static/"))
        if path == "/cmdline":
            return Answer(
                200, {"Content-Type": TEXT}, "\0".join(command_line()).encode("utf-8", "surrogateescape")
            )
        if path == "/status":
            return Answer(200, {"Content-Type": "application/json"}, json.dumps(self._status.read()).encode())
        if path == "/trace":
            raise Refused(404, _TRACE)
        return self._profile(request)

    def _index(self, request: Request) -> Answer:
        is_welcome = self._guard is not None and self._guard.has_token(request.query)
        if request.path == "" or is_welcome:  # the token out of the address bar, the history and bookmarks
            return Answer(303, {"Location": f"{request.base}/"}, b"")
        return page.index(self._status.read()["counts"], self._max_seconds)

    def _profile(self, request: Request) -> Answer:
        name = request.path[1:]
        kind = KINDS.get(name)
        if kind is None:
            raise Refused(404, "Unknown profile")
        parameters = parse(request.query, self._max_seconds)
        if request.method == "HEAD":  # would take as long as the profile
            return Answer(200, {"Content-Type": "application/octet-stream"}, b"")
        if parameters.debug == 2 and name in DUMPED and parameters.seconds is None:
            return Answer(200, {"Content-Type": TEXT}, dump().encode("utf-8", "replace"))
        profile = take(kind, parameters, request.wait)
        is_delta = parameters.seconds is not None and not kind.takes_time
        return in_form(profile, f"{name}-delta" if is_delta else name, parameters.form, parameters.debug)


def _checked(max_seconds: object) -> float:
    if isinstance(max_seconds, bool) or not isinstance(max_seconds, (int, float)):
        raise TypeError(f"max_seconds={max_seconds!r}: a number is allowed")
    if not 0 < max_seconds <= _MOST_SECONDS:
        raise ValueError(
            f"max_seconds={max_seconds!r}: a number above 0, at most {_MOST_SECONDS:g}, is allowed"
        )
    return float(max_seconds)


def _is_foreign(request: Request) -> bool:
    """Whether a browser asks for another web site: its pictures and scripts must not begin anything here."""
    fields = request.headers
    origin = fields.get("origin")
    try:
        if origin is not None and urlsplit(origin).netloc.lower() != fields.get("host", "").lower():
            return True
    except ValueError:  # no URL
        return True
    if fields.get("sec-fetch-site", "none") in ("none", "same-origin"):
        return False
    is_link = fields.get("sec-fetch-mode") == "navigate" and fields.get("sec-fetch-dest") == "document"
    return not (is_link and request.path in ("", "/"))


def _allow(request: Request, *methods: str) -> None:
    if request.method not in methods:
        allowed = " and ".join(methods) if len(methods) == 2 else ", ".join(methods)
        raise Refused(405, f"{allowed} are allowed", {"Allow": ", ".join(methods)})
