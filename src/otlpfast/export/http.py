"""The OTLP/HTTP span exporter: what answers and failures mean for the spans, and how a user hears of them."""

from __future__ import annotations

import http
import http.client
import importlib.metadata
import math
import os
import socket
import ssl
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import replace
from time import monotonic
from typing import TYPE_CHECKING

from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from .._checks import check_meter_provider
from .._log import RateLimitedLog
from .._threads import are_real
from ..batch import ExportOutcome
from .answer import (
    CUT_SHORT,
    MAX_RESPONSE,
    OVERSIZED,
    Answer,
    TooLarge,
    read_error_text,
    read_partial_success,
    speaks_of_size,
)
from .config import Settings, logger, mask_url, printable, resolve
from .connection import Connection, Late
from .operations import NoOperations, operations
from .pieces import Sending, SpanList, as_result, described, read_limit, spelled
from .proxy import ProxyRefused
from .retry import RETRYABLE, Ending, Retry, is_transient, is_unreached, read_retry_after
from .session import choose_session
from .transport import LONGEST_WAIT, Transport

if TYPE_CHECKING:
    import enum

    import requests
    from opentelemetry.metrics import MeterProvider
    from opentelemetry.sdk.trace import ReadableSpan

    from .._impl import BatchBuilder, SpanQueue
    from ..batch import SpanBatch
    from .pieces import Piece
    from .session import SessionConnection

_GRPC_PORT = 4317
_DEFAULT_LIMIT = 64 * 1024 * 1024  # specification: what a receiver should take at least
_NOT_REFUSED = (407, 408, 429)  # among the 4xx: the fault of the moment, not of the spans
_WRONG_SERVICE = (400, 404, 405, 415)  # what something that is no OTLP/HTTP receiver may say
_PROXY_HINT = "are the credentials in the proxy's URL right?"
_HINTS = {
    401: "are the credentials in the headers right?",
    403: "are the credentials in the headers right?",
    404: "is the path right? OTLP/HTTP collectors usually listen at /v1/traces",
    407: _PROXY_HINT,
    405: "is the path right? OTLP/HTTP collectors usually listen at /v1/traces",
    415: "is it an OTLP/HTTP endpoint, and does it take this compression?",
    429: "the collector limits the rate",
    503: "the collector is overloaded or not ready",
}


class OTLPSpanExporter(SpanExporter):
    """Sends spans to a collector by OTLP over HTTP, as binary protobuf.

    endpoint: URL that is used as it is, `http://localhost:4318/v1/traces` by default. Credentials in it
        become a Basic Authorization header, unless headers have one. `unix:///path/of/socket` and
        `http+unix://%2Fpath%2Fof%2Fsocket/v1/traces` go to a unix socket.
    headers: sent with each request; names replace those of the variable.
    timeout: seconds for one export, all in all: name lookup, connection, request, answer. 10 by default.
    compression: "none" (default), "gzip", "deflate" or "zstd", or a member of the official exporter's
        `Compression`. "zstd" takes Python 3.14 or `pip install otlpfast[zstd]`, and a collector that knows
        it; gzip and deflate take less CPU with `pip install otlpfast[isal]`.
    certificate_file: PEM file of CAs to trust in place of the system's.
    client_key_file, client_certificate_file: PEM files for mutual TLS.
    max_request_bytes: a larger request, before compression, is sent as several smaller ones. 64 MiB by
        default, 0 for no limit.
    session: a requests.Session that sends the requests in place of otlpfast's own connection, for example one
        that adds credentials. `OTEL_PYTHON_EXPORTER_OTLP_HTTP_[TRACES_]CREDENTIAL_PROVIDER` names an entry
        point of `opentelemetry_otlp_credential_provider` that makes one.
    meter_provider: where `otel.sdk.exporter.*` metrics go, if `OTEL_PYTHON_SDK_INTERNAL_METRICS_ENABLED` is
        true.

    What is not given comes from `OTEL_EXPORTER_OTLP_TRACES_*` and `OTEL_EXPORTER_OTLP_*` (ENDPOINT, HEADERS,
    TIMEOUT in seconds, COMPRESSION, CERTIFICATE, CLIENT_KEY, CLIENT_CERTIFICATE). A wrong argument raises
    ValueError or TypeError; a wrong variable gets one warning and the default.

    One connection is kept and reused; a kept one that turns out to be dead is replaced at once. HTTP 429,
    502, 503, 504 and failed connections are retried within the timeout, after a growing pause or the one
    that `Retry-After` asks for; one that does not end in time is not waited for. A request that the collector
    finds too large (413, or 400 and a text that says so) is sent again in halves, down to single spans.
    Redirects are errors, `.netrc` is not read. `HTTP_PROXY`, `HTTPS_PROXY`, `ALL_PROXY` and `NO_PROXY` (also
    in lower case) name HTTP proxies and exceptions from them.
    Thread-safe, re-entrant, usable after fork. Trouble is logged to `otlpfast.export`, each kind at most once
    a minute.

    Specification: "OTLP/HTTP", "OpenTelemetry Protocol Exporter".
    """

    def __init__(
        self,
        endpoint: str | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float | None = None,
        compression: str | enum.Enum | None = None,
        certificate_file: str | os.PathLike[str] | None = None,
        client_key_file: str | os.PathLike[str] | None = None,
        client_certificate_file: str | os.PathLike[str] | None = None,
        *,
        max_request_bytes: int | None = None,
        session: requests.Session | None = None,
        meter_provider: MeterProvider | None = None,
    ) -> None:
        check_meter_provider(meter_provider)
        self._limit = read_limit(max_request_bytes, _DEFAULT_LIMIT)
        self._settings = resolve(
            endpoint,
            headers,
            timeout,
            compression,
            certificate_file,
            client_key_file,
            client_certificate_file,
        )
        self._endpoint = self._settings.endpoint.url  # other code reads it, as from the official exporter
        session = choose_session(
            session, self._settings, certificate_file, client_key_file, client_certificate_file
        )
        self._transport = Transport(
            self._settings, f"OTel-OTLP-Exporter-Python/{_version()} (otlpfast)", session
        )
        self._warnings = RateLimitedLog(logger)
        self._stop = Ending()
        self._closed = False
        self._operations = operations(
            "otlp_http_span_exporter", "http.response.status_code", self._settings.endpoint, meter_provider
        )

    def __repr__(self) -> str:
        settings = self._settings
        return (
            f"{type(self).__name__}(endpoint={settings.endpoint.shown!r}, timeout={settings.timeout:g}, "
            f"compression={settings.compression!r})"
        )

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Encode and send spans. SUCCESS when the collector took them, also if it refused a part of them."""
        if self._closed:
            self._refuse_after_shutdown()
            return SpanExportResult.FAILURE
        start = monotonic()
        try:
            encoded = SpanList(spans)
        except Exception as error:  # it takes any span; what is no sequence is the caller's mistake
            self._warn("encode", f"could not encode {described(spans)}: {type(error).__name__}")
            return SpanExportResult.FAILURE
        return as_result(self._deliver(encoded, self._settings.timeout - (monotonic() - start)))

    def export_batch(self, batch: SpanBatch, timeout: float | None = None) -> ExportOutcome:
        """Send an encoded batch; what became of its spans, which sum up to `batch.count`.

        timeout: seconds, which can shorten the exporter's own and not lengthen it. Raises nothing for trouble
        with the network or the collector and leaves `batch.release()` to the caller.
        """
        if self._closed:
            self._refuse_after_shutdown()
            return ExportOutcome(failed=batch.count)
        own = self._settings.timeout
        return self._deliver(batch, own if timeout is None else min(own, timeout))

    def hurry(self) -> None:
        """Say that `shutdown()` is near: where nobody answers, one more attempt is made, and that soon."""
        self._stop.haste.set()

    def send_full(
        self,
        waiting: SpanQueue,
        timeout: float,
        until: float,
        wanted: Callable[[], bool],
        finish: Callable[[BatchBuilder, int, int, Callable[[SpanBatch, float | None], ExportOutcome]], None],
    ) -> None:
        """Have a queue send what gets full by itself, where that is possible: see `SpanQueue.send_full`.

        finish: gets what is left, and what exports it in place of `export_batch`.
        """
        head = self._transport.plain_head
        is_counted = not isinstance(self._operations, NoOperations)
        if self._closed or head is None or is_counted or not are_real():
            return
        timeout = min(self._settings.timeout, timeout, LONGEST_WAIT)
        with suppress(Late), self._transport.turn(monotonic(), waiting.interrupt) as connection:
            if not isinstance(connection, Connection):
                return
            left = connection.send_full(
                lambda descriptor: waiting.send_full(
                    descriptor,
                    head,
                    self._limit,
                    timeout,
                    until,
                    lambda: wanted() and not self._transport.is_awaited(),
                )
            )
            if left is None:
                return
            taken, count, nbytes, deadline = left
            turn = nullcontext(connection)
            finish(taken, count, nbytes, lambda batch, _: self._send_all(turn, batch, deadline, timeout))

    def shutdown(self, timeout_millis: float = 30000) -> None:
        """Close the connection; an export under way in another thread gets `timeout_millis` to end.

        One that waits to try again ends at once.
        """
        self._closed = True
        self._stop.set()
        self._transport.close(timeout_millis / 1000)

    def force_flush(self, timeout_millis: int = 30000) -> bool:
        """Nothing is kept here: wait for the export under way, if any. False when that takes longer."""
        return self._transport.wait_idle(timeout_millis / 1000)

    def _deliver(self, batch: Piece, timeout: float) -> ExportOutcome:
        deadline = monotonic() + min(timeout, LONGEST_WAIT)
        return self._send_all(self._transport.turn(deadline), batch, deadline, timeout)

    def _send_all(
        self,
        turn: AbstractContextManager[Connection | SessionConnection],
        batch: Piece,
        deadline: float,
        timeout: float,
    ) -> ExportOutcome:
        """Send all of it, in as many requests as the limits of both sides want, in one turn."""
        sending = Sending(batch, self._limit, self._warn)
        with self._operations.of(sending):
            try:
                if batch.count:
                    with turn as connection:
                        sending.run(lambda piece: self._send(connection, sending, piece, deadline, timeout))
            except Exception as error:  # whatever it is: a fault of tracing never reaches the application
                sending.broke_off(error)
                self._warn_undelivered(error, sending.undelivered, timeout, "")
        return sending.outcome()

    def _send(
        self,
        connection: Connection | SessionConnection,
        sending: Sending,
        piece: Piece,
        deadline: float,
        timeout: float,
    ) -> ExportOutcome | str:
        """Send a piece until it is taken, refused or given up; the answer, where it is one of too large."""
        request = self._transport.request(piece.buffers)
        retry = Retry(deadline, self._stop)
        while True:
            try:
                answer = connection.exchange(request, deadline)
            except Exception as error:
                sending.broke_off(error)
                if is_transient(error) and retry.pause(unreached=is_unreached(error)):
                    continue
                self._warn_undelivered(error, piece.count, timeout, retry.why_not)
                return ExportOutcome(failed=piece.count)
            sending.answered(answer.status, _error_type(answer))
            if _finds_too_large(answer):
                return f"{self._shown()} answers {self._status(answer)}"
            retryable = answer.status in RETRYABLE and answer.flaw != OVERSIZED
            if not (retryable and retry.pause(read_retry_after(answer.headers.get("retry-after")))):
                return replace(self._judge(answer, piece.count, retry.why_not), retry_after=retry.retry_after)

    def _warn_undelivered(self, error: Exception, count: int, timeout: float, why: str) -> None:
        kind, reason = explain(error, self._settings, timeout)
        hint = self._port_hint()
        if (proxy := self._settings.proxy) is not None:
            hint += f"; it went to the proxy {proxy.shown}"
        self._warn(kind, f"could not deliver {spelled(count)} to {self._shown()}: {reason}{hint}{why}")

    def _judge(self, answer: Answer, count: int, why_not: str = "") -> ExportOutcome:
        """What the answer means for the spans; `why_not` says why it is the last one.

        Specification: "OTLP/HTTP Response".
        """
        if answer.flaw == OVERSIZED:  # the specification: an error, and not one to retry
            limit = f"{MAX_RESPONSE // 2**20} MiB"
            self._warn(
                "oversized", f"{self._shown()} answered with more than {limit}; {spelled(count)} given up"
            )
            return ExportOutcome(rejected=count)
        if not 200 <= answer.status < 300:
            refused = 400 <= answer.status < 500 and answer.status not in _NOT_REFUSED
            verb = "refused" if refused else "did not take"
            text = f"{self._shown()} {verb} {spelled(count)}: {self._status(answer)}{why_not}"
            self._warn(f"status {answer.status}", text)
            return ExportOutcome(rejected=count) if refused else ExportOutcome(failed=count)
        if answer.flaw == CUT_SHORT:  # the status stands: they were taken
            self._warn("cut short", f"the answer of {self._shown()} broke off after status {answer.status}")
        rejected, message = read_partial_success(answer.body)
        rejected = min(rejected, count)
        said = f": {self._quote(message)}" if message else ""
        if rejected:
            self._warn("partial success", f"{self._shown()} rejected {rejected} of {spelled(count)}{said}")
        elif said:
            self._warn("remark", f"{self._shown()} took the spans with a remark{said}")
        return ExportOutcome(exported=count - rejected, rejected=rejected)

    def _status(self, answer: Answer) -> str:
        """Status, what the collector says to it, and what may help."""
        try:
            text = f"HTTP {answer.status} {http.HTTPStatus(answer.status).phrase}"
        except ValueError:
            text = f"HTTP {answer.status} {self._quote(answer.reason)}"
        if said := self._quote(read_error_text(answer)):
            text += f" ({said})"
        if 300 <= answer.status < 400:
            target = self._quote(mask_url(answer.headers.get("location") or "nowhere"))
            text += f": redirects are not followed; it points to {target}"
        elif hint := _HINTS.get(answer.status):
            text += f": {hint}"
        return text + (self._port_hint() if answer.status in _WRONG_SERVICE else "")

    def _quote(self, text: str) -> str:
        """Text of the other end, made fit for a log."""
        return printable(self._settings.redact(text))

    def _shown(self) -> str:
        return self._settings.endpoint.shown

    def _port_hint(self) -> str:
        if self._settings.endpoint.port != _GRPC_PORT:
            return ""
        return f"; port {_GRPC_PORT} is usually for OTLP/gRPC, OTLP/HTTP usually has 4318"

    def _warn(self, kind: str, text: str) -> None:
        self._warnings.warning(kind, "%s", text)

    def _refuse_after_shutdown(self) -> None:
        text = f"the exporter to {self._shown()} is shut down; spans that still come are lost"
        self._warnings.warning("shutdown", "%s", text, interval=math.inf)


def explain(error: Exception, settings: Settings, timeout: float) -> tuple[str, str]:
    """Kind and reason of a failure, in words that tell a user what to look at."""
    if isinstance(error, TimeoutError):
        return "timeout", f"timed out after {max(timeout, 0):.3g} s {error}".rstrip()
    if isinstance(error, ProxyRefused):
        hint = f": {_PROXY_HINT}" if error.status == 407 else ""
        return "proxy", f"the proxy refused to connect, with HTTP {error.status}{hint}"
    if isinstance(error, ConnectionRefusedError):
        return "refused", "connection refused (is the collector running and listening there?)"
    if isinstance(error, socket.gaierror):
        host = printable((settings.proxy or settings.endpoint).host)
        return "lookup", f"the host name {host!r} was not found ({error.strerror})"
    if isinstance(error, ssl.SSLCertVerificationError):
        trust = settings.tls.trust if settings.tls else "nothing"
        return "tls", f"TLS: certificate verify failed ({error.verify_message}); trusted: {trust}"
    if isinstance(error, ssl.SSLError) and not isinstance(error, (ssl.SSLEOFError, ssl.SSLZeroReturnError)):
        reason = str(error.reason or "unknown error").replace("_", " ").lower()
        plain = (
            " (does the endpoint speak http:// rather than https://?)" if "version number" in reason else ""
        )
        return "tls", f"TLS failed: {reason}{plain}"
    if isinstance(error, ConnectionAbortedError) and error.errno is None:
        return "cut off", str(error)  # not by the network: the transport's own words
    if isinstance(error, (ConnectionError, ssl.SSLError)):
        mutual = ", and does it want a client certificate" if settings.tls else ""
        return "closed", f"the connection was closed without an answer (is it an OTLP/HTTP port{mutual}?)"
    if isinstance(error, TooLarge):
        return "oversized-head", "the head of the answer is too large"
    if isinstance(error, http.client.HTTPException):
        return (
            "not-http",
            "the answer is not HTTP/1.1 (is it an OTLP/HTTP port, and http:// or https:// right?)",
        )
    if isinstance(error, OSError):
        text = os.strerror(error.errno) if error.errno else type(error).__name__
        return f"os-{error.errno}", f"{text[:1].lower()}{text[1:]}"
    return "internal", f"unexpected {type(error).__name__}"


def _error_type(answer: Answer) -> str:
    """For the metrics: "" where the spans were taken, though perhaps not all of them."""
    if answer.flaw == OVERSIZED:
        return "response_too_large"
    return "" if 200 <= answer.status < 300 else str(answer.status)


def _finds_too_large(answer: Answer) -> bool:
    """Whether it refuses the request for its size; the official Collector does so by 400 and its text."""
    if answer.flaw or answer.status not in (400, 413):
        return False
    return answer.status == 413 or speaks_of_size(read_error_text(answer))


def _version() -> str:
    try:
        return importlib.metadata.version("otlpfast")
    except importlib.metadata.PackageNotFoundError:  # run from a source tree
        return "0+unknown"
