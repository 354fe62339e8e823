"""What the handlers of requests have in common: how they answer, and what every answer forbids."""

from __future__ import annotations

from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler
from typing import Any

PROTECTION = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Cache-Control": "no-store",
}
TEXT = "text/plain; charset=utf-8"


class Answering(BaseHTTPRequestHandler):
    """One connection, with a thread of its own."""

    protocol_version = "HTTP/1.1"
    timeout = 30  # seconds that a client may be silent
    disable_nagle_algorithm = True

    def send(self, status: int, body: bytes, fields: Mapping[str, str]) -> None:
        """A whole answer; these header fields win over those that every answer has."""
        self.head(status, {"Content-Length": str(len(body)), **fields})
        if self.command != "HEAD":
            self.wfile.write(body)

    def head(self, status: int, fields: Mapping[str, str]) -> None:
        """The head of an answer."""
        self.send_response(status)
        for name, value in {**PROTECTION, **fields}.items():
            self.send_header(name, value)
        if self.close_connection and "Connection" not in fields:
            self.send_header("Connection", "close")
        self.end_headers()

    def refuse(self, status: int, text: str) -> None:
        """Says why not."""
        self.send(status, f"{status}: {text}\n".encode(), {"Content-Type": TEXT})

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """What the standard library can't read."""
        self.close_connection = True
        self.refuse(code, "the request is not understood")

    def version_string(self) -> str:
        """The Server header."""
        return "otlpfast"

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: a request may have a token in it."""
