"""Whether the collector takes spans: the name, the port, what listens there, and a real, empty export."""

from __future__ import annotations

import email.utils
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from time import monotonic
from typing import Any

from ...export import OTLPSpanExporter
from ...export.config import Settings, printable
from ...export.endpoint import Endpoint
from ...export.grpc_failure import Failure
from ...export.http import explain
from .examination import Finding

_HTTP_PORT, _GRPC_PORT = 4318, 4317
_LARGEST_OFFSET = 5.0  # seconds that our clock and the collector's may differ
_QUESTION = b"GET / HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n"
_PROTOCOL = "OTEL_EXPORTER_OTLP_PROTOCOL"
_ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"
_FIXES = {
    "HTTP 401": "set OTEL_EXPORTER_OTLP_HEADERS, for example authorization=Bearer%20…",
    "HTTP 403": "set OTEL_EXPORTER_OTLP_HEADERS, for example authorization=Bearer%20…",
    "HTTP 404": "the path is /v1/traces in most cases; OTEL_EXPORTER_OTLP_ENDPOINT gets it appended, "
    "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT does not",
    "gRPC UNAUTHENTICATED": "set OTEL_EXPORTER_OTLP_HEADERS, for example authorization=Bearer%20…",
    "gRPC UNIMPLEMENTED": f"{_ENDPOINT} has to be one for OTLP/gRPC, usually port {_GRPC_PORT}",
    "gRPC PERMISSION_DENIED": "set OTEL_EXPORTER_OTLP_HEADERS, for example authorization=Bearer%20…",
}


def reach(exporter: OTLPSpanExporter, timeout: float) -> Iterator[Finding]:
    """Looks the name up, connects, and exports nothing to the collector; stops at the first problem."""
    settings: Settings = exporter._exporter._settings
    deadline = monotonic() + timeout
    try:
        if settings.endpoint.socket is None and settings.endpoint.port:
            found = list(_connect(settings, deadline))
            yield from found
            if any(finding.level == "problem" for finding in found):
                return
        grpc = not exporter.destination.startswith("http")
        yield from (_export_grpc if grpc else _export_http)(exporter._exporter, settings, deadline)
    finally:
        exporter.shutdown(0)


def _connect(settings: Settings, deadline: float) -> Iterator[Finding]:
    place = settings.proxy or settings.endpoint
    what = "the proxy" if settings.proxy else "the collector"
    if settings.proxy:
        yield Finding("proxy", "hint", f"{settings.proxy.shown} is used", "NO_PROXY names exceptions")
    host, port = printable(place.host), place.port
    addresses = _look_up(place.host, port, deadline)
    if not addresses:
        fix = f"is {_ENDPOINT} right? Names of other containers are known in their network alone"
        yield Finding("dns", "problem", f"the host name {host!r} of {what} was not found", fix)
        return
    yield Finding("dns", "ok", f"{host} is {', '.join(addresses)}")
    error = _try(place.host, port, deadline)
    if error is None:
        yield Finding("port", "ok", f"{what} listens at port {port}")
        return
    yield Finding("port", "problem", f"{what} can't be reached at {host}:{port}: {error}", _elsewhere(place))


def _look_up(host: str, port: int, deadline: float) -> list[str]:
    """Addresses; none if there are none in time."""
    found: list[str] = []

    def ask() -> None:
        try:
            answers = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError):
            return
        found.extend(dict.fromkeys(str(address[4][0]) for address in answers))

    thread = threading.Thread(target=ask, daemon=True)  # it knows no time-out of its own
    thread.start()
    thread.join(max(0.0, deadline - monotonic()))
    return list(found)


def _try(host: str, port: int, deadline: float) -> str | None:
    """Why there is no connection, or None."""
    try:
        socket.create_connection((host, port), max(0.001, deadline - monotonic())).close()
    except TimeoutError:
        return "no answer in time (a firewall?)"
    except OSError as error:
        return (error.strerror or type(error).__name__).lower()
    return None


def _elsewhere(place: Any) -> str:
    other = {_HTTP_PORT: _GRPC_PORT, _GRPC_PORT: _HTTP_PORT}.get(place.port)
    if other and isinstance(place, Endpoint) and _try(place.host, other, monotonic() + 1) is None:
        name = "grpc" if other == _GRPC_PORT else "http/protobuf"
        url = f"{'https' if place.secure else 'http'}://{printable(place.host)}:{other}"
        return f"port {other} is open: set {_PROTOCOL}={name} and {_ENDPOINT}={url}"
    local = place.host in ("localhost", "127.0.0.1", "::1")
    where = "start a collector there" + (" (in a container, localhost is the container)" if local else "")
    return f"{where}, or set {_ENDPOINT} to where it is"


# --- the empty export


def _export_http(exporter: Any, settings: Settings, deadline: float) -> Iterator[Finding]:
    start, sent = monotonic(), time.time()
    try:
        with exporter._transport.turn(deadline) as connection:
            answer = connection.exchange(exporter._transport.request([b""]), deadline)
    except Exception as error:
        kind, reason = explain(error, settings, deadline - start)
        yield _failed(settings, f"an empty export failed: {reason}", _fix_for(kind, settings, "http/1"))
        return
    if not 200 <= answer.status < 300:
        fix = _FIXES.get(f"HTTP {answer.status}") or "see what the collector logs"
        if answer.status in (400, 404, 405, 415) and settings.endpoint.port == _GRPC_PORT:
            fix = f"port {_GRPC_PORT} is usually for gRPC: {_PROTOCOL}=grpc, or port {_HTTP_PORT}"
        text = f"{settings.endpoint.shown} answers an empty export with {exporter._status(answer)}"
        yield _failed(settings, text, fix)
        return
    took = (monotonic() - start) * 1e3
    text = f"{settings.endpoint.shown} took an empty export in {took:.1f} ms"
    yield Finding("collector", "ok", text)
    yield from _compare_clocks(answer.headers.get("date"), (sent + time.time()) / 2)


def _export_grpc(exporter: Any, settings: Any, deadline: float) -> Iterator[Finding]:
    start = monotonic()
    try:
        exporter._calls.export(b"", settings.metadata, exporter._compression, deadline)
    except Exception as error:
        if not isinstance(error, exporter._grpc.RpcError):
            yield _failed(settings, f"an empty export failed: {type(error).__name__}", "")
            return
        failure = Failure(error, settings.compression != "none")
        said = printable(settings.redact(failure.details))
        kind = failure.code
        text = f"an empty export failed with gRPC {failure.code} ({said})"
        if failure.hopeless:
            kind, reason = failure.hopeless
            text = f"an empty export failed: {reason.format(trust=settings.pem.trust)}"
        fix = _FIXES.get(f"gRPC {failure.code}") or _fix_for(kind, settings, "h2")
        yield _failed(settings, text, fix)
        return
    took = (monotonic() - start) * 1e3
    yield Finding("collector", "ok", f"{settings.endpoint.shown} took an empty export in {took:.1f} ms")


def _failed(settings: Settings, text: str, fix: str) -> Finding:
    return Finding("collector", "problem", settings.redact(text), fix or "see what the collector logs")


def _fix_for(kind: str, settings: Settings, ours: str) -> str:
    """By what the other end speaks, where that is not what we speak; else by the kind of failure."""
    endpoint = settings.endpoint
    spoken = "" if settings.proxy or endpoint.socket else _spoken(endpoint.host, endpoint.port)
    if spoken == "tls" and not endpoint.secure:
        return f"it speaks TLS: {_ENDPOINT} has to begin with https://"
    if spoken and spoken != "tls" and endpoint.secure:
        return f"it speaks no TLS: {_ENDPOINT} has to begin with http://"
    if spoken == "h2" and ours == "http/1":
        return f"it speaks HTTP/2, as gRPC does: {_PROTOCOL}=grpc, or the port for HTTP, usually {_HTTP_PORT}"
    if spoken == "http/1" and ours == "h2":
        return f"it speaks HTTP/1.1: {_PROTOCOL}=http/protobuf, or the port for gRPC, usually {_GRPC_PORT}"
    if kind == "tls":
        return "set OTEL_EXPORTER_OTLP_CERTIFICATE to the PEM file of the CA that signed its certificate"
    if kind == "proxy":
        return "set NO_PROXY to the collector's host, or the proxy's credentials in its URL"
    if kind in ("timeout", "DEADLINE_EXCEEDED"):
        return "is it overloaded, or a firewall in between? --timeout waits longer"
    return f"is it an OTLP endpoint? {_PROTOCOL} and {_ENDPOINT} have to fit each other"


def _spoken(host: str, port: int) -> str:
    """What a server speaks: "h2", "http/1", "tls", or nothing that is known."""
    answer = b""
    with suppress(OSError), socket.create_connection((host, port), 1) as connection:
        connection.sendall(_QUESTION)
        answer = connection.recv(1024)
    if answer.startswith(b"HTTP/1.") and b"HTTPS server" not in answer:  # as servers written in Go put it
        return "http/1"
    # A frame of HTTP/2: length (3 bytes), then its type, which is SETTINGS.
    if len(answer) >= 9 and answer[3] == 4:
        return "h2"
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE  # nothing is told to it
    with (
        suppress(OSError),
        socket.create_connection((host, port), 1) as connection,
        context.wrap_socket(connection, server_hostname=host),
    ):
        return "tls"
    return ""


def _compare_clocks(date: str | None, here: float) -> Iterator[Finding]:
    try:
        there = email.utils.parsedate_to_datetime(date or "").timestamp()
    except (TypeError, ValueError, OverflowError):
        return
    offset = here - there - 0.5  # it says whole seconds, rounded down
    if abs(offset) <= _LARGEST_OFFSET:
        yield Finding("clock", "ok", "agrees with the collector's")
        return
    text = f"the clock here is {abs(offset):.0f} s {'ahead of' if offset > 0 else 'behind'} the collector's"
    yield Finding("clock", "problem", text, "set both clocks (NTP): spans are filed by the time they say")
