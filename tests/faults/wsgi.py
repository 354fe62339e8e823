"""A WSGI application that is traced by the side that the environment names: one span a request."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from typing import Any

from tests.faults.traced import Traced

_traced = Traced(os.environ["FAULTS_SIDE"])
_tracer = _traced.to(os.environ["FAULTS_ENDPOINT"])


def application(environment: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    with _tracer.start_as_current_span(f"request {environment['PATH_INFO']}"):
        start_response("200 OK", [("Content-Length", "3")])
        return [b"ok\n"]
