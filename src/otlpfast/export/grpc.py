"""The OTLP/gRPC span exporter: raw request bytes through a channel of grpcio, and what the answers mean."""

from __future__ import annotations

import enum
import importlib
import math
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from time import monotonic
from typing import TYPE_CHECKING, Any

from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from .._log import RateLimitedLog
from ..batch import ExportOutcome
from .answer import MAX_RESPONSE, _fields, read_partial_success
from .config import logger, printable
from .grpc_channel import Calls
from .grpc_settings import resolve_grpc
from .retry import Retry

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import ReadableSpan

    from ..batch import SpanBatch

_HTTP_PORT = 4318
_RETRYABLE = frozenset(  # specification "OTLP/gRPC", "Failures"
    ("CANCELLED", "DEADLINE_EXCEEDED", "ABORTED", "OUT_OF_RANGE", "UNAVAILABLE", "DATA_LOSS")
)
_HINTS = {
    "UNAUTHENTICATED": "are the credentials in the headers right?",
    "PERMISSION_DENIED": "are the credentials in the headers right?",
    "UNIMPLEMENTED": "is it an OTLP/gRPC port, and does it take this compression?",
    "RESOURCE_EXHAUSTED": "too large a batch for the collector, or answer for us, or too high a rate",
}
# What grpcio says when there is no use in trying again before somebody has changed something.
_HOPELESS = (
    (
        "http1-server",
        re.compile(r"http1\.x server|Failed parsing HTTP/2", re.IGNORECASE),
        "the answer is not HTTP/2 (is it an OTLP/gRPC port? OTLP/HTTP usually has 4318)",
    ),
    (
        "tls",
        re.compile(r"CERTIFICATE_VERIFY_FAILED|Hostname Verification|Peer name", re.IGNORECASE),
        "TLS: certificate verify failed; trusted: {trust}",
    ),
    (
        "tls",
        re.compile(r"WRONG_VERSION_NUMBER|Cannot check peer: missing selected ALPN", re.IGNORECASE),
        "TLS failed (does the endpoint speak http:// rather than https://, or not HTTP/2?)",
    ),
    (
        "tls",
        re.compile(r"CERTIFICATE_REQUIRED|HANDSHAKE_FAILURE|BAD_CERTIFICATE|UNKNOWN_CA", re.IGNORECASE),
        "TLS: the handshake was refused (does the collector want another client certificate?)",
    ),
)


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

    What is not given comes from `OTEL_EXPORTER_OTLP_TRACES_*` and `OTEL_EXPORTER_OTLP_*` (ENDPOINT, HEADERS,
    TIMEOUT in seconds, COMPRESSION, CERTIFICATE, CLIENT_KEY, CLIENT_CERTIFICATE, INSECURE), the credentials
    from `OTEL_PYTHON_EXPORTER_OTLP_GRPC[_TRACES]_CREDENTIAL_PROVIDER`. A wrong argument raises ValueError or
    TypeError; a wrong variable gets one warning and the default.

    Failures that the specification calls retryable are tried again within the time-out. Thread-safe, usable
    after fork. Trouble is logged to `otlpfast.export`, each kind at most once a minute.

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
    ) -> None:
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
        self._options = _options(channel_options)
        self._compression = {
            "none": self._grpc.Compression.NoCompression,
            "gzip": self._grpc.Compression.Gzip,
            "deflate": self._grpc.Compression.Deflate,
        }[self._settings.compression]
        self._calls = Calls(self._connect)
        self._warnings = RateLimitedLog(logger)
        self._closed = False

    def __repr__(self) -> str:
        settings = self._settings
        return (
            f"OTLPSpanExporter(protocol='grpc', endpoint={settings.endpoint.shown!r}, "
            f"timeout={settings.timeout:g}, compression={settings.compression!r})"
        )

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Encode and send spans. SUCCESS when the collector took them, also if it refused a part of them."""
        from .._impl import encode_spans

        if self._closed:
            self._refuse_after_shutdown()
            return SpanExportResult.FAILURE
        deadline = monotonic() + self._settings.timeout
        try:
            body = encode_spans(spans)
        except Exception as error:  # it takes any span; a list of something else is the caller's mistake
            self._warn("encode", f"could not encode {_spans(len(spans))}: {type(error).__name__}")
            return SpanExportResult.FAILURE
        outcome = self._deliver(body, len(spans), deadline)
        taken = outcome.failed == 0 and (outcome.exported > 0 or outcome.rejected == 0)
        return SpanExportResult.SUCCESS if taken else SpanExportResult.FAILURE

    def export_batch(self, batch: SpanBatch, timeout: float | None = None) -> ExportOutcome:
        """Send an encoded batch; what became of its spans, which sum up to `batch.count`.

        timeout: seconds, which can shorten the exporter's own and not lengthen it. Raises nothing for trouble
        with the network or the collector and leaves `batch.release()` to the caller.
        """
        if self._closed:
            self._refuse_after_shutdown()
            return ExportOutcome(failed=batch.count)
        own = self._settings.timeout
        deadline = monotonic() + (own if timeout is None else min(own, timeout))
        return self._deliver(b"".join(batch.buffers), batch.count, deadline)

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

    def _deliver(self, body: bytes, count: int, deadline: float) -> ExportOutcome:
        if count == 0:
            return ExportOutcome()
        start, retry = monotonic(), Retry(deadline, self._calls.stop)
        while True:
            try:
                answer = self._calls.export(body, self._settings.metadata, self._compression, deadline)
                return self._judge(answer, count)
            except self._grpc.RpcError as error:
                failure = _Failure(error)
            except Exception as error:  # whatever it is: a fault of tracing never reaches the application
                return self._cut_off(error, count)
            if failure.code == "UNAVAILABLE" and failure.delay is None:
                self._calls.hang_up()  # gRPC would wait longer and longer before it connects anew
            if self._closed or not (failure.retryable and retry.pause(failure.delay)):
                return self._give_up(failure, count, monotonic() - start, retry.why_not)

    def _cut_off(self, error: Exception, count: int) -> ExportOutcome:
        reason = f"unexpected {type(error).__name__}"
        if self._closed:
            reason = "cut off by the shutdown of the exporter"
        elif isinstance(error, (TimeoutError, ConnectionError)):  # our own words
            reason = str(error)
        self._warn("cut off", f"could not deliver {_spans(count)} to {self._shown()}: {reason}")
        return ExportOutcome(failed=count)

    def _give_up(self, failure: _Failure, count: int, took: float, why_not: str) -> ExportOutcome:
        shown = self._shown()
        if self._closed:
            return self._cut_off(ConnectionError(), count)
        if failure.hopeless:
            kind, reason = failure.hopeless
            reason = reason.format(trust=self._settings.pem.trust)
            self._warn(kind, f"could not deliver {_spans(count)} to {shown}: {reason}")
        elif failure.retryable:
            reason = self._reason(failure, took) + why_not
            self._warn(failure.code, f"could not deliver {_spans(count)} to {shown}: {reason}")
        else:
            hint = f": {_HINTS[failure.code]}" if failure.code in _HINTS else ""
            said = f" ({self._quote(failure.details)})" if failure.details else ""
            self._warn(failure.code, f"{shown} refused {_spans(count)}: gRPC {failure.code}{said}{hint}")
            return ExportOutcome(rejected=count)
        return ExportOutcome(failed=count)

    def _reason(self, failure: _Failure, took: float) -> str:
        """A failure that might have passed, in words that tell a user what to look at."""
        details = failure.details
        if "Connection refused" in details or "No such file" in details:
            return "connection refused (is the collector running and listening there?)" + self._port_hint()
        if re.search(r"errors resolving|DNS resolution|name resolution", details):
            return f"the host name {printable(self._settings.endpoint.host)!r} was not found"
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
            self._warn("partial success", f"{self._shown()} rejected {rejected} of {_spans(count)}{said}")
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


class _Failure:
    """What an RpcError of grpcio says; `delay` in seconds, where the server asks for one (RetryInfo)."""

    def __init__(self, error: Any) -> None:
        self.code: str = error.code().name
        self.details: str = error.details() or ""
        pairs = error.trailing_metadata() or ()
        status = next((value for key, value in pairs if key == "grpc-status-details-bin"), b"")
        self.delay = read_retry_delay(status)
        local = self.code in ("UNAVAILABLE", "INTERNAL", "UNKNOWN")
        self.hopeless = _hopeless(self.details) if local else None
        throttled = self.code == "RESOURCE_EXHAUSTED" and self.delay is not None
        self.retryable = not self.hopeless and (self.code in _RETRYABLE or throttled)


def _hopeless(details: str) -> tuple[str, str] | None:
    return next(((kind, reason) for kind, pattern, reason in _HOPELESS if pattern.search(details)), None)


def read_retry_delay(status: bytes) -> float | None:
    """Seconds of the RetryInfo in a serialised google.rpc.Status, or None where it has none."""
    try:
        for number, detail in _fields(status):
            if number != 3 or not isinstance(detail, bytes):
                continue
            any_ = dict(_fields(detail))
            url, value = any_.get(1, b""), any_.get(2, b"")
            if isinstance(url, bytes) and url.endswith(b"/google.rpc.RetryInfo") and isinstance(value, bytes):
                delay = dict(_fields(value)).get(1, b"")
                parts = dict(_fields(delay)) if isinstance(delay, bytes) else {}
                seconds, nanos = parts.get(1, 0), parts.get(2, 0)
                if isinstance(seconds, int) and isinstance(nanos, int):
                    # A negative number, here one beyond 63 bits, is nonsense.
                    return seconds + nanos / 1e9 if max(seconds, nanos) < 1 << 63 else 0.0
    except ValueError:
        pass
    return None


def _grpcio() -> Any:
    """The module, as Any: it has no type hints of its own."""
    try:
        return importlib.import_module("grpc")
    except ModuleNotFoundError as error:
        if error.name != "grpc":
            raise
    raise ImportError("the OTLP/gRPC exporter needs grpcio: pip install otlpfast[grpc]", name="grpc")


def _options(given: Iterable[tuple[str, Any]]) -> tuple[tuple[str, Any], ...]:
    from .. import __version__

    agent = f"OTel-OTLP-Exporter-Python/{__version__} (otlpfast)"
    own: dict[str, Any] = {
        "grpc.primary_user_agent": agent,
        "grpc.max_receive_message_length": MAX_RESPONSE,
        "grpc.enable_retries": 0,  # they are ours, within the deadline and the specification
        "grpc.use_local_subchannel_pool": 1,  # a new channel is a new connection
    }
    try:
        return tuple({**own, **dict(given)}.items())
    except (TypeError, ValueError):
        raise TypeError("channel_options must be pairs of name and value") from None


def _spans(count: int) -> str:
    return "1 span" if count == 1 else f"{count} spans"
