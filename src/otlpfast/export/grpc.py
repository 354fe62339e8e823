"""The OTLP/gRPC span exporter: raw request bytes through a channel of grpcio, and what the answers mean."""

from __future__ import annotations

import enum
import importlib
import math
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from time import monotonic
from typing import TYPE_CHECKING, Any

from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from .._checks import check_meter_provider
from .._log import RateLimitedLog
from ..batch import ExportOutcome
from .answer import MAX_RESPONSE, read_partial_success
from .config import logger, printable
from .grpc_channel import Calls
from .grpc_failure import Failure
from .grpc_settings import resolve_grpc
from .operations import operations
from .pieces import Sending, SpanList, as_result, described, read_limit, spelled
from .retry import Retry
from .transport import LONGEST_WAIT

if TYPE_CHECKING:
    from opentelemetry.metrics import MeterProvider
    from opentelemetry.sdk.trace import ReadableSpan

    from ..batch import SpanBatch
    from .pieces import Piece

_HTTP_PORT = 4318
_DEFAULT_LIMIT = 4 * 1024 * 1024 - 1024  # what most servers take, less what framing may add
_HINTS = {
    "UNAUTHENTICATED": "are the credentials in the headers right?",
    "PERMISSION_DENIED": "are the credentials in the headers right?",
    "UNIMPLEMENTED": "is it an OTLP/gRPC port, and does it take this compression?",
    "RESOURCE_EXHAUSTED": "too large a batch for the collector, or answer for us, or too high a rate",
}


class GRPCSpanExporter(SpanExporter):
    """Sends spans to a collector by OTLP over gRPC. Needs grpcio: `pip install otlpfast[grpc]`.

    endpoint: `http://` (insecure) or `https://` (TLS) URL, `http://localhost:4317` by default; or `host:port`
        or a target of gRPC such as `unix:///path`, which are secure unless `insecure`. Credentials in a URL
        become Basic authorization metadata, unless headers have one.
    headers: metadata of each request; names replace those of the variable. Names end in "-bin" for binary
        ones, of which the UTF-8 of the value is sent.
    timeout: seconds for one export, all in all, retries included. 10 by default.
    compression: "none" (default), "gzip" or "deflate", or a member of `grpc.Compression`.
    certificate_file: PEM file of CAs to trust in place of gRPC's own.
    client_key_file, client_certificate_file: PEM files for mutual TLS.
    insecure: no TLS, where the endpoint has no scheme that says so.
    credentials: `grpc.ChannelCredentials` in place of those made of the files.
    channel_options: pairs for the gRPC channel, which win over the exporter's own.
    max_request_bytes: a larger request, before compression, is sent as several smaller ones. 1 KiB less than
        4 MiB by default, which is what most servers take; 0 for no limit.
    meter_provider: where `otel.sdk.exporter.*` metrics go, if `OTEL_PYTHON_SDK_INTERNAL_METRICS_ENABLED` is
        true.

    What is not given comes from `OTEL_EXPORTER_OTLP_TRACES_*` and `OTEL_EXPORTER_OTLP_*` (ENDPOINT, HEADERS,
    TIMEOUT in seconds, COMPRESSION, CERTIFICATE, CLIENT_KEY, CLIENT_CERTIFICATE, INSECURE), the credentials
    from `OTEL_PYTHON_EXPORTER_OTLP_GRPC[_TRACES]_CREDENTIAL_PROVIDER`. A wrong argument raises ValueError or
    TypeError; a wrong variable gets one warning and the default.

    Failures that the specification calls retryable are tried again within the time-out. A request that the
    collector finds too large is sent again in halves, down to single spans. Thread-safe, usable after fork.
    Trouble is logged to `otlpfast.export`, each kind at most once a minute.

    Specification: "OTLP/gRPC", "OpenTelemetry Protocol Exporter".
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
        insecure: bool | None = None,
        credentials: object = None,
        channel_options: Iterable[tuple[str, Any]] = (),
        max_request_bytes: int | None = None,
        meter_provider: MeterProvider | None = None,
    ) -> None:
        check_meter_provider(meter_provider)
        self._limit = read_limit(max_request_bytes, _DEFAULT_LIMIT)
        self._grpc = _grpcio()
        self._settings = resolve_grpc(
            endpoint,
            headers,
            timeout,
            compression,
            certificate_file,
            client_key_file,
            client_certificate_file,
            insecure,
            credentials,
            self._grpc.ChannelCredentials,
        )
        self._endpoint = self._settings.endpoint.url  # other code reads it, as from the official exporter
        self._compression = {
            "none": self._grpc.Compression.NoCompression,
            "gzip": self._grpc.Compression.Gzip,
            "deflate": self._grpc.Compression.Deflate,
        }[self._settings.compression]
        self._options = _options(channel_options, int(self._compression))
        self._calls = Calls(self._connect)
        self._warnings = RateLimitedLog(logger)
        self._closed = False
        self._operations = operations(
            "otlp_grpc_span_exporter", "rpc.response.status_code", self._settings.endpoint, meter_provider
        )

    def __repr__(self) -> str:
        settings = self._settings
        return (
            f"OTLPSpanExporter(protocol='grpc', endpoint={settings.endpoint.shown!r}, "
            f"timeout={settings.timeout:g}, compression={settings.compression!r})"
        )

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Encode and send spans. SUCCESS when the collector took them, also if it refused a part of them."""
        if self._closed:
            self._refuse_after_shutdown()
            return SpanExportResult.FAILURE
        deadline = monotonic() + min(self._settings.timeout, LONGEST_WAIT)
        try:
            encoded = SpanList(spans)
        except Exception as error:  # it takes any span; what is no sequence is the caller's mistake
            self._warn("encode", f"could not encode {described(spans)}: {type(error).__name__}")
            return SpanExportResult.FAILURE
        return as_result(self._deliver(encoded, deadline))

    def export_batch(self, batch: SpanBatch, timeout: float | None = None) -> ExportOutcome:
        """Send an encoded batch; what became of its spans, which sum up to `batch.count`.

        timeout: seconds, which can shorten the exporter's own and not lengthen it. Raises nothing for trouble
        with the network or the collector and leaves `batch.release()` to the caller.
        """
        if self._closed:
            self._refuse_after_shutdown()
            return ExportOutcome(failed=batch.count)
        own = min(self._settings.timeout, LONGEST_WAIT)
        deadline = monotonic() + (own if timeout is None else min(own, timeout))
        return self._deliver(batch, deadline)

    def hurry(self) -> None:
        """Say that `shutdown()` is near: where nobody answers, one more attempt is made, and that soon."""
        self._calls.stop.haste.set()

    def shutdown(self, timeout_millis: float = 30000) -> None:
        """Close the channel; a call under way in another thread gets `timeout_millis` to end."""
        self._closed = True
        self._calls.close(timeout_millis / 1000)

    def force_flush(self, timeout_millis: int = 30000) -> bool:
        """Nothing is kept here: wait for the export under way, if any. False when that takes longer."""
        return self._calls.wait_idle(timeout_millis / 1000)

    def _connect(self) -> Any:
        settings, grpc = self._settings, self._grpc
        if not settings.endpoint.secure:
            return grpc.insecure_channel(settings.endpoint.target, self._options)
        pem = settings.pem
        credentials = settings.credentials or grpc.ssl_channel_credentials(pem.roots, pem.key, pem.chain)
        return grpc.secure_channel(settings.endpoint.target, credentials, self._options)

    def _deliver(self, batch: Piece, deadline: float) -> ExportOutcome:
        """Send all of it, in as many requests as the limits of both sides want."""
        sending = Sending(batch, self._limit, self._warn)
        with self._operations.of(sending):
            try:
                sending.run(lambda piece: self._send(sending, piece, deadline))
            except Exception as error:  # whatever it is: a fault of tracing never reaches the application
                sending.broke_off(error)
                self._cut_off(error, sending.undelivered)
        return sending.outcome()

    def _send(self, sending: Sending, piece: Piece, deadline: float) -> ExportOutcome | str:
        """Send a piece until it is taken, refused or given up; the answer, where it is one of too large."""
        body, count = b"".join(piece.buffers), piece.count
        start, retry = monotonic(), Retry(deadline, self._calls.stop)
        if start >= deadline:  # it went by with pieces before this one
            raise TimeoutError("no time is left")
        while True:
            try:
                answer = self._calls.export(body, self._settings.metadata, self._compression, deadline)
                sending.answered("OK")
                return self._judge(answer, count)
            except self._grpc.RpcError as error:
                failure = Failure(error, self._settings.compression != "none")
                sending.answered(failure.code, failure.code)
            if failure.too_large:
                return f"{self._shown()} answers gRPC {failure.code} ({self._quote(failure.details)})"
            if failure.code == "UNAVAILABLE" and failure.delay is None:
                self._calls.hang_up()  # gRPC would wait longer and longer before it connects anew
            if self._closed or not (failure.retryable and retry.pause(failure.delay, failure.unreached)):
                outcome = self._give_up(failure, count, monotonic() - start, retry.why_not)
                return replace(outcome, retry_after=retry.retry_after)

    def _cut_off(self, error: Exception, count: int) -> None:
        reason = f"unexpected {type(error).__name__}"
        if self._closed:
            reason = "cut off by the shutdown of the exporter"
        elif isinstance(error, (TimeoutError, ConnectionError)):  # our own words
            reason = str(error)
        self._warn("cut off", f"could not deliver {spelled(count)} to {self._shown()}: {reason}")

    def _give_up(self, failure: Failure, count: int, took: float, why_not: str) -> ExportOutcome:
        shown = self._shown()
        if self._closed:
            self._cut_off(ConnectionError(), count)
        elif failure.hopeless:
            kind, reason = failure.hopeless
            reason = reason.format(trust=self._settings.pem.trust)
            self._warn(kind, f"could not deliver {spelled(count)} to {shown}: {reason}")
        elif failure.retryable:
            reason = self._reason(failure, took) + why_not
            self._warn(failure.code, f"could not deliver {spelled(count)} to {shown}: {reason}")
        else:
            hint = f": {_HINTS[failure.code]}" if failure.code in _HINTS else ""
            said = f" ({self._quote(failure.details)})" if failure.details else ""
            self._warn(failure.code, f"{shown} refused {spelled(count)}: gRPC {failure.code}{said}{hint}")
            return ExportOutcome(rejected=count)
        return ExportOutcome(failed=count)

    def _reason(self, failure: Failure, took: float) -> str:
        """A failure that might have passed, in words that tell a user what to look at."""
        details = failure.details
        if "Connection refused" in details or "No such file" in details:
            return "connection refused (is the collector running and listening there?)" + self._port_hint()
        if re.search(r"errors resolving|DNS resolution|name resolution", details):
            return f"the host name {printable(self._settings.endpoint.host)!r} was not found"
        if "Unwrap failed" in details:  # so much does gRPC tell of an alert after the handshake
            return "the TLS connection was broken off (does the collector want a client certificate?)"
        if "Socket closed" in details or "Connection reset" in details:
            tls = ", and is http:// or https:// right, and does it want a client certificate?"
            return f"the connection was closed without an answer (is it an OTLP/gRPC port{tls})"
        if failure.code == "DEADLINE_EXCEEDED":
            return f"timed out after {took:.3g} s" + self._port_hint()
        said = f" ({self._quote(details)})" if details else ""
        return f"gRPC {failure.code}{said}{self._port_hint()}"

    def _judge(self, answer: bytes, count: int) -> ExportOutcome:
        """What an answer means for the spans. Specification: "Partial Success"."""
        rejected, message = read_partial_success(answer)
        rejected = min(rejected, count)
        said = f": {self._quote(message)}" if message else ""
        if rejected:
            self._warn("partial success", f"{self._shown()} rejected {rejected} of {spelled(count)}{said}")
        elif said:
            self._warn("remark", f"{self._shown()} took the spans with a remark{said}")
        return ExportOutcome(exported=count - rejected, rejected=rejected)

    def _quote(self, text: str) -> str:
        """Text of the other end, made fit for a log."""
        return printable(self._settings.redact(text))

    def _shown(self) -> str:
        return self._settings.endpoint.shown

    def _port_hint(self) -> str:
        if self._settings.endpoint.port != _HTTP_PORT:
            return ""
        return f"; port {_HTTP_PORT} is usually for OTLP/HTTP, OTLP/gRPC usually has 4317"

    def _warn(self, kind: str, text: str) -> None:
        self._warnings.warning(kind, "%s", text)

    def _refuse_after_shutdown(self) -> None:
        text = f"the exporter to {self._shown()} is shut down; spans that still come are lost"
        self._warnings.warning("shutdown", "%s", text, interval=math.inf)


def _grpcio() -> Any:
    """The module, as Any: it has no type hints of its own."""
    try:
        return importlib.import_module("grpc")
    except ModuleNotFoundError as error:
        if error.name != "grpc":
            raise
    raise ImportError("the OTLP/gRPC exporter needs grpcio: pip install otlpfast[grpc]", name="grpc")


def _options(given: Iterable[tuple[str, Any]], compression: int) -> tuple[tuple[str, Any], ...]:
    from .. import __version__

    agent = f"OTel-OTLP-Exporter-Python/{__version__} (otlpfast)"
    own: dict[str, Any] = {
        "grpc.primary_user_agent": agent,
        "grpc.max_receive_message_length": MAX_RESPONSE,
        # Answers are compressed as requests are, or not: before 1.82 grpcio unpacks, then looks how large.
        "grpc.compression_enabled_algorithms_bitset": 1 | 1 << compression,
        "grpc.enable_retries": 0,  # they are ours, within the deadline and the specification
        "grpc.use_local_subchannel_pool": 1,  # a new channel is a new connection
    }
    try:
        return tuple({**own, **dict(given)}.items())
    except (TypeError, ValueError):
        raise TypeError("channel_options must be pairs of name and value") from None
