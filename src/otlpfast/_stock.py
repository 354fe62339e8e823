"""What otlpfast's names stand for while ``OTLPFAST_DISABLED`` is true: the stock classes.

They take otlpfast's arguments, so that a program need not be changed to be switched back; what the stock
classes don't know is ignored.
"""

from __future__ import annotations

import contextlib
import enum
import importlib
import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from opentelemetry.environment_variables import OTEL_TRACES_EXPORTER
from opentelemetry.metrics import MeterProvider
from opentelemetry.sdk import _configuration as configuration
from opentelemetry.sdk.environment_variables import OTEL_BSP_EXPORT_TIMEOUT, OTEL_BSP_SCHEDULE_DELAY
from opentelemetry.sdk.trace import ReadableSpan, Span, Tracer, TracerProvider
from opentelemetry.sdk.trace import export as sdk
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from ._account import Stats
from ._arguments import redactor, seconds, sizes
from ._components import installed
from ._log import warn
from ._redacted import RedactedCopies
from .environment_variables import OTLPFAST_DISABLED

if TYPE_CHECKING:
    from ._impl import Redactor
    from .redaction import RedactionRules

__all__ = [
    "BatchSpanProcessor",
    "OTLPSpanExporter",
    "SimpleSpanProcessor",
    "Span",
    "Tracer",
    "TracerProvider",
    "without_missing_exporters",
]

_logger = logging.getLogger("otlpfast.configuration")


class _Unaccounted:
    def stats(self) -> Stats:
        """Nothing is counted here: the stock processors have no account."""
        return Stats(ended=0, exported=0, rejected=0, dropped={}, spooled=0, queued=0)


class BatchSpanProcessor(_Unaccounted, sdk.BatchSpanProcessor):
    """The SDK's; otlpfast's own arguments are ignored."""

    def __init__(
        self,
        span_exporter: SpanExporter,
        max_queue_size: int | None = None,
        schedule_delay_millis: float | None = None,
        max_export_batch_size: int | None = None,
        export_timeout_millis: float | None = None,
        *,
        redaction: RedactionRules | None = None,
        meter_provider: MeterProvider | None = None,
        **_of_otlpfast: Any,
    ) -> None:
        # What otlpfast mends, with a warning if a variable is wrong, the SDK would raise for.
        queue_size, batch_size = sizes(max_queue_size, max_export_batch_size)
        super().__init__(
            _redacting(span_exporter, redaction),
            queue_size,
            seconds("schedule_delay_millis", schedule_delay_millis, OTEL_BSP_SCHEDULE_DELAY) * 1e3,
            batch_size,
            seconds("export_timeout_millis", export_timeout_millis, OTEL_BSP_EXPORT_TIMEOUT) * 1e3,
            meter_provider=meter_provider,
        )

    def force_flush(self, timeout_millis: float | None = None) -> bool:
        """As the SDK's, which ignores the time-out."""
        return super().force_flush(None if timeout_millis is None else int(timeout_millis))

    def shutdown(self, timeout_millis: float | None = None) -> None:
        """As the SDK's, which knows no time-out."""
        super().shutdown()  # type: ignore[no-untyped-call]


class SimpleSpanProcessor(_Unaccounted, sdk.SimpleSpanProcessor):
    """The SDK's."""

    def __init__(
        self,
        span_exporter: SpanExporter,
        *,
        redaction: RedactionRules | None = None,
        meter_provider: MeterProvider | None = None,
    ) -> None:
        super().__init__(_redacting(span_exporter, redaction), meter_provider=meter_provider)

    def shutdown(self, timeout_millis: float | None = None) -> None:
        """As the SDK's, which knows no time-out."""
        super().shutdown()


class _RedactingExporter(SpanExporter):
    """What is redacted stays so when otlpfast is switched off."""

    def __init__(self, exporter: SpanExporter, redactor: Redactor) -> None:
        self._exporter = exporter
        self._copies = RedactedCopies(redactor)

    def __getattr__(self, name: str) -> Any:
        if name == "_exporter":  # not there before __init__ has run, as in a copy
            raise AttributeError(name)
        return getattr(self._exporter, name)

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """As the exporter does with redacted copies."""
        return self._exporter.export(self._copies.of(spans))

    def shutdown(self) -> None:
        """As the exporter does."""
        self._exporter.shutdown()

    def force_flush(self, timeout_millis: int = 30000) -> bool:
        """As the exporter does."""
        return self._exporter.force_flush(timeout_millis)


def _redacting(exporter: SpanExporter, rules: RedactionRules | None) -> SpanExporter:
    found = redactor(rules)
    return exporter if found is None else _RedactingExporter(exporter, found)


class OTLPSpanExporter(SpanExporter):
    """The official exporter of the protocol; where that is not installed, otlpfast's in plain Python."""

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
        protocol: str | None = None,
        **settings: Any,
    ) -> None:
        from .export import exporter as own

        protocol = own.resolve_protocol(protocol)
        given = (endpoint, headers, timeout, compression)
        files = (certificate_file, client_key_file, client_certificate_file)
        self._exporter: Any
        try:
            make = _official_grpc if protocol == "grpc" else _official_http
            self._exporter = make(given, files, settings)
        except ModuleNotFoundError as error:
            text = (
                "%s=true, but there is no official exporter (%s): otlpfast's sends the spans, in plain Python"
            )
            warn(_logger, text, OTLPFAST_DISABLED, error)
            self._exporter = own.OTLPSpanExporter(*given, *files, protocol=protocol, **settings)

    def __getattr__(self, name: str) -> Any:
        if name == "_exporter":  # not there before __init__ has run, as in a copy
            raise AttributeError(name)
        return getattr(self._exporter, name)

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """As the official exporter does."""
        result: SpanExportResult = self._exporter.export(spans)
        return result

    def shutdown(self, timeout_millis: float = 30000) -> None:
        """As the official exporter does."""
        self._exporter.shutdown()

    def force_flush(self, timeout_millis: int = 30000) -> bool:
        """As the official exporter does."""
        return bool(self._exporter.force_flush(timeout_millis))


_Given = tuple[str | None, Mapping[str, str] | None, float | None, str | enum.Enum | None]
_Files = tuple[str | os.PathLike[str] | None, ...]


def _official_http(given: _Given, files: _Files, settings: Mapping[str, Any]) -> object:
    package = "opentelemetry.exporter.otlp.proto.http"
    exporter = importlib.import_module(f"{package}.trace_exporter").OTLPSpanExporter
    endpoint, headers, timeout, compression = given
    kinds = importlib.import_module(package).Compression
    return exporter(
        endpoint=endpoint,
        certificate_file=files[0] and os.fspath(files[0]),
        client_key_file=files[1] and os.fspath(files[1]),
        client_certificate_file=files[2] and os.fspath(files[2]),
        headers=None if headers is None else dict(headers),
        timeout=timeout,
        compression=_as_member(kinds, compression),
        session=settings.get("session"),
        meter_provider=settings.get("meter_provider"),
    )


def _official_grpc(given: _Given, files: _Files, settings: Mapping[str, Any]) -> object:
    module = importlib.import_module("opentelemetry.exporter.otlp.proto.grpc.trace_exporter")
    grpc: Any = importlib.import_module("grpc")
    endpoint, headers, timeout, compression = given
    credentials = settings.get("credentials")
    if credentials is None and any(files):
        roots, key, chain = (open(path, "rb").read() if path else None for path in files)  # noqa: SIM115
        credentials = grpc.ssl_channel_credentials(roots, key, chain)
    return module.OTLPSpanExporter(
        endpoint=endpoint,
        insecure=settings.get("insecure"),
        credentials=credentials,
        headers=None if headers is None else tuple(headers.items()),
        timeout=timeout,
        compression=_as_member(grpc.Compression, compression),
        meter_provider=settings.get("meter_provider"),
    )


def _as_member(kinds: Any, compression: str | enum.Enum | None) -> object:
    """The member of the official exporter's enumeration; None, its default, for one that it has not."""
    if not isinstance(compression, str):
        return compression
    name = {"none": "NoCompression"}.get(compression.lower(), compression.title())
    return getattr(kinds, name, None)


@contextlib.contextmanager
def without_missing_exporters() -> Iterator[None]:
    """Has ``OTEL_TRACES_EXPORTER`` say for a moment what can be made without the official exporters."""
    before = os.environ.get(OTEL_TRACES_EXPORTER)
    names = (before or "").split(",")
    os.environ[OTEL_TRACES_EXPORTER] = ",".join(_to_be_had(name.strip()) for name in names)
    try:
        yield
    finally:
        if before is None:
            os.environ.pop(OTEL_TRACES_EXPORTER, None)
        else:
            os.environ[OTEL_TRACES_EXPORTER] = before


def _to_be_had(name: str) -> str:
    if name == "otlp":
        try:
            entry = configuration._get_exporter_entry_point(name, "traces")
        except RuntimeError:  # of the protocol, with which the SDK refuses to go on
            return "otlpfast"
        return name if entry in installed("opentelemetry_traces_exporter") else "otlpfast"
    return name or "otlpfast"
