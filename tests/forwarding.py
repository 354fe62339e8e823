"""Services that are processes of their own, in a row; at its end one that only answers what it got."""

from __future__ import annotations

import logging
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import NamedTuple

import pytest

from .collector import Collector
from .forwarding_service import Service, ask
from .starting import environment, under_way

SERVICE = str(Path(__file__).with_name("forwarding_service.py"))
Headers = list[tuple[str, str]]


@pytest.fixture(name="_quiet", autouse=True)
def quiet_fixture() -> Iterator[None]:
    """For a module that imports it: what the API says of wrong headers is not shown."""
    logging.getLogger("opentelemetry").setLevel(logging.ERROR)
    yield
    logging.getLogger("opentelemetry").setLevel(logging.NOTSET)


class Passed(NamedTuple):
    """What a service received, and what it then sent, once for each request that it made."""

    came: Headers
    sent: list[Headers]


def values(headers: Headers, name: str) -> list[str]:
    """Those of all headers of that name."""
    return [value for key, value in headers if key.lower() == name]


@contextmanager
def last_service() -> Iterator[str]:
    """The address of a service that asks no other one."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Service)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextmanager
def service(following: str, collector: Collector | None = None, **variables: str) -> Iterator[str]:
    """The address of a service that asks another one."""
    settings = {"OTLPFAST_QUIET": "true", "OTEL_BSP_SCHEDULE_DELAY": "50", **variables}
    if collector is None:
        settings["OTEL_TRACES_EXPORTER"] = "none"
    command = [sys.executable, SERVICE, following]
    with under_way(command, env=environment(collector, **settings), stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        port = process.stdout.readline().strip()
        assert port, f"the service ended: {process.wait()}"
        yield f"127.0.0.1:{port}"


def passed(address: str, headers: Headers, times: int = 1) -> Passed:
    """A request to a service that asks the last one so many times."""
    answer = ask(address, f"/{times}", headers)

    def pairs(found: list[list[str]]) -> Headers:
        return [(name, value) for name, value in found]

    return Passed(pairs(answer["came"]), [pairs(each["came"]) for each in answer["answers"]])
