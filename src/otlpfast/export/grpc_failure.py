"""What a failed gRPC call says: try again, and when; or with less; or not before something has changed."""

from __future__ import annotations

import re
from typing import Any

from .answer import answer_fields, speaks_of_size

_RETRYABLE = frozenset(  # specification "OTLP/gRPC", "Failures"
    ("CANCELLED", "DEADLINE_EXCEEDED", "ABORTED", "OUT_OF_RANGE", "UNAVAILABLE", "DATA_LOSS")
)
# Of requests: RESOURCE_EXHAUSTED by gRPC's own libraries, OUT_OF_RANGE by tonic.
_TOO_LARGE_CODES = ("RESOURCE_EXHAUSTED", "OUT_OF_RANGE")
_PROXY_TOO_LARGE = "http2 header with status: 413"  # what becomes of a proxy's answer, with the code UNKNOWN
# How grpcio speaks of an answer beyond our limit: the request was small enough.
_ANSWER_TOO_LARGE = "CLIENT: Received message larger than max"
_EITHER_TOO_LARGE = "Decompressed message larger than max"  # also a server's words for a compressed request
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
_UNREACHED = re.compile(r"failed to connect|errors resolving|DNS resolution|name resolution", re.IGNORECASE)


class Failure:
    """What an RpcError of grpcio says.

    error: the RpcError.
    compressed: whether the request was.

    Attributes: `code` and `details` of gRPC; `delay` in seconds, where the server asks for one (RetryInfo);
    `hopeless`, kind and text of a warning where trying again is of no use; `retryable`; `unreached`, where
    nobody is there; `too_large`, of the request.
    """

    def __init__(self, error: Any, compressed: bool) -> None:
        self.code: str = error.code().name
        self.details: str = error.details() or ""
        pairs = error.trailing_metadata() or ()
        status = next((value for key, value in pairs if key == "grpc-status-details-bin"), b"")
        self.delay = read_retry_delay(status)
        local = self.code in ("UNAVAILABLE", "INTERNAL", "UNKNOWN")
        self.hopeless = _hopeless(self.details) if local else None
        throttled = self.code == "RESOURCE_EXHAUSTED" and self.delay is not None
        self.retryable = not self.hopeless and (self.code in _RETRYABLE or throttled)
        self.unreached = self.code == "UNAVAILABLE" and bool(_UNREACHED.search(self.details))
        self.too_large = self.delay is None and _is_too_large(self.code, self.details, compressed)


def _hopeless(details: str) -> tuple[str, str] | None:
    return next(((kind, reason) for kind, pattern, reason in _HOPELESS if pattern.search(details)), None)


def _is_too_large(code: str, details: str, compressed: bool) -> bool:
    if _ANSWER_TOO_LARGE in details or (_EITHER_TOO_LARGE in details and not compressed):
        return False
    if code == "UNKNOWN":
        return _PROXY_TOO_LARGE in details
    return code in _TOO_LARGE_CODES and speaks_of_size(details)


def read_retry_delay(status: bytes) -> float | None:
    """Seconds of the RetryInfo in a serialised google.rpc.Status, or None where it has none."""
    try:
        for number, detail in answer_fields(status):
            if number != 3 or not isinstance(detail, bytes):
                continue
            any_ = dict(answer_fields(detail))
            url, value = any_.get(1, b""), any_.get(2, b"")
            if isinstance(url, bytes) and url.endswith(b"/google.rpc.RetryInfo") and isinstance(value, bytes):
                delay = dict(answer_fields(value)).get(1, b"")
                parts = dict(answer_fields(delay)) if isinstance(delay, bytes) else {}
                seconds, nanos = parts.get(1, 0), parts.get(2, 0)
                if isinstance(seconds, int) and isinstance(nanos, int):
                    # A negative number, here one beyond 63 bits, is nonsense.
                    return seconds + nanos / 1e9 if max(seconds, nanos) < 1 << 63 else 0.0
    except ValueError:
        pass
    return None
