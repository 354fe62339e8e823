"""What an OTLP/HTTP answer says: its body within limits, partial success, the text of an error.

Protobuf is read by hand: the messages have two fields of interest, not worth a run-time dependency on the
official classes. Anything may come from the other end, so every loop and every size here has a limit.
"""

from __future__ import annotations

import http.client
import re
import zlib
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass

from .._protobuf import fields

MAX_RESPONSE = 4 * 1024 * 1024  # specification "OTLP/HTTP Response": bytes, also after decompression
_MAX_FIELDS = 1000  # of a protobuf message; a real one has two
# How servers say that a request is too large; not that there are too many, or too often.
_OF_SIZE = re.compile(
    r"\b(message|request|payload|body)\b(?! rate).{0,60}?\b(larger|too (large|big|long)|size)\b"
    r"|\bsize limit\b",
    re.IGNORECASE,
)
OVERSIZED = "oversized"
CUT_SHORT = "cut short"


@dataclass(frozen=True, slots=True)
class Answer:
    """A response. `flaw` is "" when the body was read whole, else OVERSIZED or CUT_SHORT and no body."""

    status: int
    reason: str
    headers: http.client.HTTPMessage
    body: bytes
    flaw: str


class TooLarge(http.client.HTTPException):
    """More came over the wire than an answer may have."""


def read_body(response: http.client.HTTPResponse) -> tuple[bytes, str]:
    """The body, decompressed, and its flaw. The status has come: trouble from here on does not undo it."""
    body = bytearray()
    encoding = (response.headers.get("content-encoding") or "").strip().lower()
    inflater = zlib.decompressobj(47) if encoding in ("gzip", "x-gzip", "deflate") else None
    try:
        while chunk := response.read(65536):
            body += chunk if inflater is None else inflater.decompress(chunk, MAX_RESPONSE + 1 - len(body))
            if len(body) > MAX_RESPONSE:
                return b"", OVERSIZED
    except TooLarge:
        return b"", OVERSIZED
    except (OSError, http.client.HTTPException, zlib.error):
        return b"", CUT_SHORT
    return (b"", CUT_SHORT) if response.length else (bytes(body), "")


def answer_fields(message: bytes) -> Iterator[tuple[int, int | bytes | None]]:
    """Number and value of each field, which must be few; ValueError where it is no message."""
    for read, (number, value, _) in enumerate(fields(message)):
        if read == _MAX_FIELDS:
            raise ValueError("too many fields")
        yield number, bytes(value) if isinstance(value, memoryview) else value


def read_partial_success(body: bytes) -> tuple[int, str]:
    """`rejected_spans` and `error_message` of an ExportTraceServiceResponse; (0, "") if it is none."""
    rejected, message = 0, b""
    try:
        for number, value in answer_fields(body):
            if number != 1 or not isinstance(value, bytes):
                continue
            for inner, item in answer_fields(value):
                if inner == 1 and isinstance(item, int):
                    rejected = item if item < 1 << 63 else 0  # a negative number is nonsense
                elif inner == 2 and isinstance(item, bytes):
                    message = item
    except ValueError:
        return 0, ""
    return rejected, message.decode("utf-8", "replace")


def read_error_text(answer: Answer) -> str:
    """What an error answer says: the message of its google.rpc.Status, or its text."""
    kind = (answer.headers.get("content-type") or "").partition(";")[0].strip().lower()
    if kind in ("text/plain", "application/json"):
        return answer.body[:1000].decode("utf-8", "replace").strip()
    message = b""
    with suppress(ValueError):
        for number, value in answer_fields(answer.body):
            if number == 2 and isinstance(value, bytes):
                message = value
    return message.decode("utf-8", "replace").strip()


def speaks_of_size(text: str) -> bool:
    """Whether the text of an error says that the request was too large."""
    return _OF_SIZE.search(text[:1000]) is not None
