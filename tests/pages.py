"""Clients of the live page: requests and streams of events over real sockets."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import pytest

from otlpfast import web

from .collector import PATIENCE


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]  # names in lower case
    body: bytes

    @property
    def json(self) -> Any:
        assert self.headers["content-type"] == "application/json"
        return json.loads(self.body)


@pytest.fixture(name="page")
def page_fixture() -> Iterator[web.Server]:
    with web.serve() as served:
        yield served


def ask(url: str, path: str = "/", method: str = "GET", **headers: str) -> Answer:
    """One request on a connection of its own; ``http_host`` and so on are its headers."""
    where = urlsplit(url)
    connection = http.client.HTTPConnection(where.hostname or "", where.port, timeout=PATIENCE)
    try:
        fields = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method, path, headers=fields)
        response = connection.getresponse()
        return Answer(
            response.status,
            {name.lower(): value for name, value in response.getheaders()},
            response.read(),
        )
    finally:
        connection.close()


@contextmanager
def events(url: str) -> Iterator[Iterator[tuple[str, Any]]]:
    """The stream of events, as names and what came with them."""
    where = urlsplit(url)
    connection = http.client.HTTPConnection(where.hostname or "", where.port, timeout=PATIENCE)
    try:
        connection.request("GET", "/events")
        response = connection.getresponse()
        assert response.status == 200 and response.getheader("content-type") == "text/event-stream"
        yield _read(response)
    finally:
        connection.close()


def _read(response: http.client.HTTPResponse) -> Iterator[tuple[str, Any]]:
    name = ""
    for line in response:
        text = line.decode().rstrip("\n")
        if text.startswith("event: "):
            name = text.removeprefix("event: ")
        elif text.startswith("data: "):
            yield name, json.loads(text.removeprefix("data: "))


def processor_at(url: str, destination: str) -> dict[str, Any]:
    """The figures of the one processor that exports there: others of this process may be alive as well."""
    [found] = [
        processor
        for processor in ask(url, "/api/stats").json["processors"]
        if processor["destination"].endswith(destination)
    ]
    return dict(found)


def trace_names(url: str) -> list[str]:
    """The names of the recent traces, the newest first."""
    return [trace["name"] for trace in ask(url, "/api/traces").json["traces"]]
