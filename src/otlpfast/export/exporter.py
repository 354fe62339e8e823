"""The OTLP span exporter, by whichever protocol the user chose."""

from __future__ import annotations

import enum
import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from . import config, http

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import ReadableSpan

    from .._impl import SpanQueue
    from ..batch import ExportOutcome, SpanBatch
    from .grpc import GRPCSpanExporter

PROTOCOLS = ("http/protobuf", "grpc")


class OTLPSpanExporter(SpanExporter):
    """Sends spans to a collector by OTLP, over HTTP or gRPC.

    protocol: "http/protobuf" (default) or "grpc", which needs `pip install otlpfast[grpc]` and raises
        ImportError without it. If not given: `OTEL_EXPORTER_OTLP_TRACES_PROTOCOL`, then
        `OTEL_EXPORTER_OTLP_PROTOCOL`.

    The other arguments are those of the exporter of that protocol, `otlpfast.export.http.OTLPSpanExporter` or
    `otlpfast.export.grpc.GRPCSpanExporter`; a wrong one raises ValueError or TypeError.

    Specification: "OpenTelemetry Protocol Exporter".
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
        protocol: str | None = None,
        **settings: Any,
    ) -> None:
        self._exporter: http.OTLPSpanExporter | GRPCSpanExporter
        make: Any = http.OTLPSpanExporter
        if resolve_protocol(protocol) == "grpc":
            from .grpc import GRPCSpanExporter as make  # which most users never need
        self._exporter = make(
            endpoint,
            headers,
            timeout,
            compression,
            certificate_file,
            client_key_file,
            client_certificate_file,
            **settings,
        )

    @property
    def _endpoint(self) -> str:
        return self._exporter._endpoint  # other code reads it, as from the official exporter

    @property
    def destination(self) -> str:
        """Protocol and endpoint, for people: nothing in it is secret."""
        protocol = PROTOCOLS[0] if isinstance(self._exporter, http.OTLPSpanExporter) else PROTOCOLS[1]
        return f"{protocol} to {self._exporter._settings.endpoint.shown}"

    def __repr__(self) -> str:
        return repr(self._exporter)

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Encode and send spans. SUCCESS when the collector took them, also if it refused a part of them."""
        return self._exporter.export(spans)

    def export_batch(self, batch: SpanBatch, timeout: float | None = None) -> ExportOutcome:
        """Send an encoded batch; what became of its spans, which sum up to `batch.count`.

        timeout: seconds, which can shorten the exporter's own and not lengthen it. Raises nothing for trouble
        with the network or the collector and leaves `batch.release()` to the caller.
        """
        return self._exporter.export_batch(batch, timeout)

    def hurry(self) -> None:
        """Say that `shutdown()` is near: where nobody answers, one more attempt is made, and that soon."""
        self._exporter.hurry()

    def send_full(self, waiting: SpanQueue, **how: Any) -> None:
        """Have a queue send what gets full by itself, where that is possible."""
        if isinstance(self._exporter, http.OTLPSpanExporter):
            self._exporter.send_full(waiting, **how)

    def shutdown(self, timeout_millis: float = 30000) -> None:
        """Close the connection; an export under way in another thread gets `timeout_millis` to end."""
        self._exporter.shutdown(timeout_millis)

    def force_flush(self, timeout_millis: int = 30000) -> bool:
        """Nothing is kept here: wait for the export under way, if any. False when that takes longer."""
        return self._exporter.force_flush(timeout_millis)


def resolve_protocol(argument: str | None = None) -> str:
    """One of `PROTOCOLS`: the argument, else the variable that counts, else the default.

    Raises TypeError or ValueError for a wrong argument. Specification: "Specify Protocol".
    """
    if argument is not None and not isinstance(argument, str):
        raise TypeError(f"protocol must be one of {', '.join(PROTOCOLS)}; it is {config._kind(argument)}")
    return config._choose("protocol", argument, "PROTOCOL", _read_protocol, PROTOCOLS[0])


def _read_protocol(value: object, source: str) -> str:
    name = str(value).strip().lower()
    if name not in PROTOCOLS:
        shown = config.printable(repr(value))
        raise config.Unusable(f"{shown} is not known; allowed: {', '.join(PROTOCOLS)}")
    return name
