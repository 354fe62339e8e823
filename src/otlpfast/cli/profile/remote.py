"""``otlpfast profile --url``: profiles of a server that has ``/debug/pprof/``, of otlpfast or of Go."""

from __future__ import annotations

import argparse
import base64
import http.client
import os
import socket
import sys
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import NamedTuple
from urllib.parse import unquote, urlencode, urlsplit

from ...environment_variables import OTLPFAST_PPROF_TOKEN
from ...export.endpoint import mask_url, printable
from ...profiling.config import KINDS
from ...profiling.profile import Profile
from ..console import Console
from . import FULL, fail, seconds_of
from .output import Nothing, Output

_PREFIX = "/debug/pprof"
_ROUTES = {"cpu": ("profile",), "threads": ("threads", "goroutine")}  # Go has no threads to show
_MAX_BYTES = 256 << 20
_CONNECT_SECONDS = 10.0
_PATIENCE = 30.0  # seconds for an answer beyond those that the profile takes
_SECONDS_INSTEAD = 10.0  # of a profile where there is nothing to look at now
_END_PATIENCE = 10.0  # seconds for the answer after Ctrl-C


class Problem(Exception):
    """Why a profile can't be had from a server, and what to do."""


class Server(NamedTuple):
    """Where to ask."""

    url: str
    """As it may be shown."""
    secure: bool
    host: str
    port: int | None
    path: str
    headers: Mapping[str, str]

    @classmethod
    def of(cls, url: str, token: str | None) -> Server:
        """Problem for what is no URL of a server."""
        try:
            parts = urlsplit(url if "://" in url else f"http://{url}")
            host, port = parts.hostname, parts.port
        except ValueError:
            host = None
        if not host or parts.scheme not in ("http", "https"):
            raise Problem(
                f"{mask_url(url)!r} is no URL of a server; allowed: http://HOST:PORT, https://HOST:PORT"
            )
        before, found, _ = parts.path.partition(_PREFIX)
        path = f"{before if found else parts.path.rstrip('/')}{_PREFIX}"
        headers = {"Accept-Encoding": "identity", "User-Agent": "otlpfast"}
        if parts.username is not None:
            user = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
            headers["Authorization"] = "Basic " + base64.b64encode(user.encode()).decode()
        elif token is not None:
            headers["Authorization"] = f"Bearer {token}"
        shown = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{path}"
        return cls(shown, parts.scheme == "https", host, port, path, headers)

    def connect(self, timeout: float) -> http.client.HTTPConnection:
        """A connection; OSError where there is none."""
        kind = http.client.HTTPSConnection if self.secure else http.client.HTTPConnection
        connection = kind(self.host, self.port, timeout=_CONNECT_SECONDS)
        connection.connect()
        connection.sock.settimeout(timeout)
        return connection


class Fetch:
    """A profile that is on its way, in a thread that signals don't interrupt."""

    def __init__(self, server: Server, kind: str, seconds: float | None) -> None:
        self.done = threading.Event()
        self._server = server
        self._routes = _ROUTES.get(kind, (kind,))
        self._seconds = seconds
        self.seconds_instead: float | None = None
        """How long it takes, where the server has nothing to look at now."""
        self._connection: http.client.HTTPConnection | None = None
        self._profile: Profile | None = None
        self._error: Exception | None = None
        threading.Thread(target=self._run, name=f"otlpfast-fetch-{kind}", daemon=True).start()

    def end_early(self) -> None:
        """Has the server send what there is: for that it is enough that nothing more comes from here."""
        connection = self._connection
        if connection is not None and not self._server.secure:
            with suppress(OSError, AttributeError):  # it has answered
                connection.sock.shutdown(socket.SHUT_WR)

    def result(self) -> Profile:
        """What has come, once it is done; Problem where that is none."""
        if self._profile is not None:
            return self._profile
        if isinstance(self._error, Problem):
            raise self._error
        raise Problem(f"{self._server.url}: {_why(self._error)}")

    def _run(self) -> None:
        try:
            try:
                self._profile = self._fetch_first()
            except _Off:
                if self._seconds is not None:
                    raise
                self.seconds_instead = self._seconds = _SECONDS_INSTEAD
                self._profile = self._fetch_first()
        except Exception as error:
            self._error = error
        finally:
            self.done.set()

    def _fetch_first(self) -> Profile:
        *others, last = self._routes
        for route in others:
            with suppress(_Missing):
                return self._fetch(route)
        return self._fetch(last)

    def _fetch(self, route: str) -> Profile:
        query = (
            "" if self._seconds is None else "?" + urlencode({"seconds": f"{max(self._seconds, 0.001):g}"})
        )
        self._connection = connection = self._server.connect((self._seconds or 0) + _PATIENCE)
        try:
            connection.request("GET", f"{self._server.path}/{route}{query}", headers=self._server.headers)
            with connection.getresponse() as response:
                body = response.read(_MAX_BYTES + 1)
        finally:
            connection.close()
        if response.status != 200:
            raise _refusal(self._server, route, response.status, body)
        if len(body) > _MAX_BYTES:
            raise Problem(f"{self._server.url}/{route}: more than {_MAX_BYTES >> 20} MiB: that is no profile")
        try:
            return Profile.from_pprof(body)
        except ValueError as error:
            raise Problem(f"{self._server.url}/{route}: no profile was sent: {error}") from None


class _Missing(Problem):
    """The server does not know it."""


class _Off(Problem):
    """It is off, and can be had of some time only."""


def _refusal(server: Server, route: str, status: int, body: bytes) -> Problem:
    said = printable(body[:500].decode("utf-8", "replace").strip().partition("\n")[0])
    where = f"{server.url}/{route}"
    if status in (401, 403):
        return Problem(f"{where}: not allowed ({status}): {said} (--token, or {OTLPFAST_PPROF_TOKEN})")
    if 300 <= status < 400:
        return Problem(
            f"{where}: sends elsewhere ({status}), where otlpfast does not go: give the right --url"
        )
    if status == 404:
        return _Missing(f"{where}: there is no such profile ({status}): {said}")
    if status == 412:
        return _Off(f"{where}: {said}")
    return Problem(f"{where}: {status}: {said}")


def _why(error: Exception | None) -> str:
    if isinstance(error, ConnectionRefusedError):
        return "nobody listens there: does it run, with OTLPFAST_PPROF=HOST:PORT or enable_pprof_http()?"
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, (http.client.HTTPException, ConnectionError)):
        return f"the connection was lost: {error or type(error).__name__}"
    if isinstance(error, OSError):
        return error.strerror or str(error)
    return f"{type(error).__name__}: {error}"


def profile_server(arguments: argparse.Namespace, output: Output) -> int:
    """Takes a profile of the server of --url; returns the exit status."""
    token = arguments.token or os.environ.get(OTLPFAST_PPROF_TOKEN, "").strip() or None
    try:
        return fetch_and_give(Server.of(arguments.url, token), arguments, output)
    except Problem as problem:
        return fail(problem)


def fetch_and_give(server: Server, arguments: argparse.Namespace, output: Output) -> int:
    """Takes a profile of a server and shows or writes it; Problem where there is none."""
    kind, seconds = arguments.kind, seconds_of(arguments)
    kinds = KINDS if kind == FULL else (kind,)
    begun = time.time_ns()
    fetches = {
        each: Fetch(server, each, None if kind == FULL and each in ("threads", "tasks") else seconds)
        for each in kinds
    }
    _await(list(fetches.values()), f"{kind} profile of {server.url}", seconds)
    if kind == FULL:
        return _give_full(server, fetches, begun, output)
    try:
        path = output.give(fetches[kind].result())
    except (Nothing, OSError) as error:
        return fail(error)
    if path is not None:
        print(path)
    return 0


def _await(fetches: list[Fetch], what: str, seconds: float | None) -> None:
    """Until all are done; Ctrl-C ends them early."""
    console = Console()
    console.step(what)
    begun, deadline = time.monotonic(), None
    try:
        while not all(fetch.done.is_set() for fetch in fetches):
            try:
                if seconds is None and (seconds := fetches[0].seconds_instead) is not None:
                    begun = time.monotonic()
                    console.note(f"it is off there: what happens in the next {seconds:g} s")
                if seconds is not None and deadline is None:
                    console.update(f"{min(time.monotonic() - begun, seconds):.0f} of {seconds:g} s")
                next(fetch for fetch in fetches if not fetch.done.is_set()).done.wait(0.25)
            except KeyboardInterrupt:
                if deadline is not None:
                    raise
                console.note("ending early; Ctrl-C once more gives up")
                deadline = time.monotonic() + _END_PATIENCE
                for fetch in fetches:
                    fetch.end_early()
            if deadline is not None and time.monotonic() > deadline:
                raise KeyboardInterrupt
    finally:
        console.clear()


def _give_full(server: Server, fetches: Mapping[str, Fetch], begun: int, output: Output) -> int:
    from ...profiling.full import FullProfile

    profiles, missing = {}, {}
    for kind, fetch in fetches.items():
        try:
            profiles[kind] = fetch.result()
        except Problem as problem:
            missing[kind] = str(problem)
    if not profiles:
        raise Problem(next(iter(missing.values())))
    full = FullProfile(
        id="of a server",
        time_unix_nano=begun,
        seconds=(time.time_ns() - begun) / 1e9,
        profiles=profiles,
        missing=missing,
        stacks="",
        leaks="",
        runtime={},
        about={"server": server.url},
    )
    for kind, reason in missing.items():
        print(f"otlpfast profile: no {kind} profile: {reason}", file=sys.stderr)
    try:
        path = output.give_archive(full.to_bytes(), full.summary)
    except OSError as error:
        return fail(error)
    if path is not None:
        print(path)
    return 0
