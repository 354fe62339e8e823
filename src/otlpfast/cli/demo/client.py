"""The demo's client: one fixed sequence of HTTP requests, the same in every run."""

from __future__ import annotations

import http.client
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from urllib.parse import quote

from otlpfast.cli.demo.children import Deadline, DemoError

TEAMS = ("atlas", "borealis")
"""Each team has a connection of its own; what a team is answered depends on its own requests alone."""

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


def sequence(team: str, count: int) -> Iterator[Request]:
    """The first ``count`` requests of a team, in order."""
    cycle = 0
    while count > 0:
        for request in _cycle(team, cycle)[:count]:
            yield request
            count -= 1
        cycle += 1


def _cycle(team: str, number: int) -> list[Request]:
    root, slug = f"/teams/{team}", f"note-{number:05d}"
    body = " ".join(_SAID[(number + place) % len(_SAID)] for place in range(6 + number % 24))
    note = {
        "title": f"Notiz №{number}: {_SAID[number % len(_SAID)]}",
        "body": body,
        "tags": ["demo", f"t{number % 7}"],
    }
    # As a gateway in front would send it: the service's spans then have a parent elsewhere.
    gateway = f"00-{TEAMS.index(team) + 1:016x}{number + 1:016x}-{number + 1:016x}-01"
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
        Request("DELETE", f"{root}/notes/note-{number - 3:05d}", 200),
    ]


class Client:
    """Talks to the service on ``port``, a connection per team: ``requests`` in all, ``send`` by ``send``."""

    def __init__(self, port: int, requests: int, deadline: Deadline) -> None:
        self._deadline = deadline
        self._failures: list[Exception] = []
        self._closed = False
        self._next = 0
        self._sequences = [
            sequence(team, len(range(place, requests, len(TEAMS)))) for place, team in enumerate(TEAMS)
        ]
        self._connections = [http.client.HTTPConnection("127.0.0.1", port, timeout=10) for _ in TEAMS]

    def send(self, count: int) -> None:
        """Sends the next ``count`` requests, all teams at once; raises DemoError for a wrong answer."""
        shares = [0] * len(TEAMS)
        for number in range(self._next, self._next + count):
            shares[number % len(TEAMS)] += 1
        self._next += count
        threads = [
            threading.Thread(target=self._send, args=(*share,), daemon=True) for share in enumerate(shares)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if self._failures:
            raise DemoError(f"the client failed: {self._failures[0]}") from self._failures[0]

    def close(self) -> None:
        self._closed = True
        for connection in self._connections:
            connection.close()

    def _send(self, place: int, count: int) -> None:
        try:
            for request in islice(self._sequences[place], count):
                if self._closed:
                    break
                self._deadline.check()
                _send(self._connections[place], request)
        except Exception as failure:
            self._failures.append(failure)


def _send(connection: http.client.HTTPConnection, request: Request) -> None:
    # A fixed host: the port differs from run to run, and would be found in the spans again.
    headers = {"Host": "notes.example", "User-Agent": "otlpfast-demo/1"}
    if request.traceparent:
        headers.update(traceparent=request.traceparent, tracestate="gateway=eu1,shop=7")
    connection.request(request.method, request.path, request.body, headers)
    answer = connection.getresponse()
    answer.read()
    if answer.status != request.status:
        raise DemoError(f"{request.method} {request.path} got status {answer.status}, not {request.status}")
