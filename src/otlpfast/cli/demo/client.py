"""The demo's client: one fixed sequence of HTTP requests, the same in every run, on one connection.

One request at a time: with several, the threads' fights for the interpreter would be most of what differs
between two measurements.
"""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count, islice
from urllib.parse import quote

from otlpfast.cli.demo.children import Deadline, DemoError

_TEAMS = ("atlas", "borealis")
_TEXT = "the quick brown fox jumps over the lazy dog while Grüße aus Zürich arrive and 東京 sleeps"
_SAID = _TEXT.split()


@dataclass(frozen=True)
class Request:
    """One request and the status that a healthy service answers it with."""

    method: str
    path: str
    status: int
    body: bytes | None = None
    traceparent: str | None = None


def sequence() -> Iterator[Request]:
    """The requests, without end."""
    for number in count():
        yield from _cycle(number)


def _cycle(number: int) -> list[Request]:
    root, slug = f"/teams/{_TEAMS[number % len(_TEAMS)]}", f"note-{number:05d}"
    body = " ".join(_SAID[(number + place) % len(_SAID)] for place in range(6 + number % 24))
    title = f"Notiz №{number}: {_SAID[number % len(_SAID)]}"
    note = {"title": title, "body": body, "tags": ["demo", f"t{number % 7}"]}
    # As a gateway in front would send it: the service's spans then have a parent elsewhere.
    gateway = f"00-{number + 1:032x}-{number + 1:016x}-01"
    return [
        Request("PUT", f"{root}/notes/{slug}", 201, json.dumps(note).encode(), gateway),
        Request("GET", f"{root}/notes/{slug}", 200),
        Request("GET", f"{root}/notes", 200),
        Request("PUT", f"{root}/notes/{slug}", 201, json.dumps({**note, "body": ""}).encode()),
        Request("GET", f"{root}/search?q={quote(_SAID[number % 4])}", 200),
        Request("GET", f"{root}/notes/{slug}", 200, traceparent=gateway),
        Request("PUT", f"{root}/notes/long", 422, json.dumps({**note, "title": "long " * 20}).encode()),
        Request("GET", f"{root}/notes/missing", 404),
        Request("GET", f"{root}/digest", 200),
        Request("DELETE", f"{root}/notes/note-{number - 2 * len(_TEAMS):05d}", 200),
    ]


class Client:
    """Talks to the service on ``port``."""

    def __init__(self, port: int, deadline: Deadline) -> None:
        self._deadline = deadline
        self._requests = sequence()
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)

    def send(self, number: int) -> None:
        """Sends the next ``number`` requests, one after the other; raises DemoError for a wrong answer."""
        for request in islice(self._requests, number):
            self._deadline.check()
            try:
                status = self._status(request)
            except (OSError, http.client.HTTPException) as failure:
                raise DemoError(f"{request.method} {request.path} failed: {failure!r}") from failure
            if status != request.status:
                raise DemoError(f"{request.method} {request.path} got status {status}, not {request.status}")

    def _status(self, request: Request) -> int:
        # A fixed host: the port differs from run to run, and would be found in the spans again.
        headers = {"Host": "notes.example", "User-Agent": "otlpfast-demo/1"}
        if request.traceparent:
            headers.update(traceparent=request.traceparent, tracestate="gateway=eu1,shop=7")
        self._connection.request(request.method, request.path, request.body, headers)
        answer = self._connection.getresponse()
        answer.read()
        return answer.status

    def close(self) -> None:
        self._connection.close()
