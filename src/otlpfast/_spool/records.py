"""The file format: records one after the other, each of which is found and checked by itself.

segment: MAGIC, records
record:  header, payload (an ExportTraceServiceRequest as it goes to the collector)
header:  marker (4 bytes), length of the payload (4), number of spans (4), nanoseconds since 1970 (8),
         CRC-32 of the payload (4), CRC-32 of the header up to here (4), state (1)

Numbers are little-endian. The header's CRC starts from the record's place in the file: what looks like a
record inside of a payload is none. The state is the only byte that ever changes: one byte can't be torn, and
between WAITING and DONE every bit differs.
"""

from __future__ import annotations

import errno
import os
import struct
import zlib
from collections.abc import Iterator, Sequence
from typing import NamedTuple

MAGIC = b"OTLPSPL1"
MAX_PAYLOAD = 64 * 1024 * 1024  # OTLP specification: what a receiver should take at least

_MARKER = b"\xf5SP\xfa"  # two of these bytes never occur in UTF-8
_FIELDS = struct.Struct("<4sIIQI")
_CHECKSUM = struct.Struct("<I")
_STATE = _FIELDS.size + _CHECKSUM.size
_WAITING, _DONE = b"\x53", b"\xac"
HEADER = _STATE + 1
MOST_SPANS = (1 << 32) - 1

_PAGE = 4096
_SEARCH = 1 << 16  # bytes that a search for the next marker reads at once
_MOST_BUFFERS = 1024  # of one pwritev(): POSIX promises 16, every system gives this


class Entry(NamedTuple):
    """Where a record is, and what its header says."""

    offset: int
    length: int
    spans: int
    created: int
    checksum: int
    waiting: bool

    @property
    def end(self) -> int:
        """Where the next record starts."""
        return self.offset + HEADER + self.length


class Gap(NamedTuple):
    """Bytes that are no record: a write that was not completed (torn), or damage."""

    offset: int
    end: int
    torn: bool


def checksum(parts: Sequence[memoryview]) -> int:
    """CRC-32 of a payload in parts."""
    value = 0
    for part in parts:
        value = zlib.crc32(part, value)
    return value


def pack_header(entry: Entry) -> bytes:
    """The header of a record that waits."""
    fields = _FIELDS.pack(_MARKER, entry.length, entry.spans, entry.created, entry.checksum)
    return fields + _CHECKSUM.pack(zlib.crc32(fields, entry.offset)) + _WAITING


def unpack_header(header: bytes, offset: int) -> Entry | None:
    """What a header says that was read from there; None where it is none."""
    if len(header) < HEADER or not header.startswith(_MARKER):
        return None
    (expected,) = _CHECKSUM.unpack_from(header, _FIELDS.size)
    if zlib.crc32(header[: _FIELDS.size], offset) != expected:
        return None
    _, length, spans, created, payload = _FIELDS.unpack_from(header)
    if length > MAX_PAYLOAD:
        return None
    return Entry(offset, length, spans, created, payload, header[_STATE:HEADER] != _DONE)


def write(fd: int, parts: Sequence[bytes | memoryview], offset: int) -> None:
    """Writes all parts from there on, or raises OSError with some of them written."""
    pending = [memoryview(part) for part in parts if len(part)]
    first = 0
    while first < len(pending):
        written = os.pwritev(fd, pending[first : first + _MOST_BUFFERS], offset)
        if not written:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        offset += written
        while first < len(pending) and written >= len(pending[first]):
            written -= len(pending[first])
            first += 1
        if written:
            pending[first] = pending[first][written:]


def mark_done(fd: int, entry: Entry) -> None:
    """Has no later reader find the record waiting; OSError where that can't be written."""
    os.pwrite(fd, _DONE, entry.offset + _STATE)


def read_payload(fd: int, entry: Entry) -> bytes | None:
    """The payload; None where the record is damaged. OSError where it can't be read."""
    header = unpack_header(os.pread(fd, HEADER, entry.offset), entry.offset)
    if header is None or header._replace(waiting=entry.waiting) != entry:
        return None
    payload = os.pread(fd, entry.length, entry.offset + HEADER)
    return payload if zlib.crc32(payload) == entry.checksum and len(payload) == entry.length else None


def scan(fd: int) -> Iterator[Entry | Gap]:
    """Every record and every gap of a segment, in order. Payloads are not looked at."""
    size = os.fstat(fd).st_size
    read = _Pages(fd)
    if size < len(MAGIC):
        if size:
            yield Gap(0, size, torn=True)
        return
    at = len(MAGIC)
    if read(0, at) != MAGIC:
        yield Gap(0, at, torn=False)
    while at < size:
        entry = unpack_header(read(at, HEADER), at)
        if entry is not None and entry.end <= size:
            yield entry
            at = entry.end
            continue
        if entry is not None or size - at < HEADER:
            yield Gap(at, size, torn=True)
            return
        end = _next_header(fd, at + 1, size)
        # After a power failure a file may be as long as it was, its last blocks empty.
        yield Gap(at, end, torn=end == size and read(at, len(_MARKER)) == bytes(len(_MARKER)))
        at = end


class _Pages:
    """Reads a few bytes of a file, many of them out of one page."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._start = 0
        self._page = b""

    def __call__(self, offset: int, nbytes: int) -> bytes:
        at = offset - self._start
        if at < 0 or at + nbytes > len(self._page):
            self._page, self._start, at = os.pread(self._fd, _PAGE, offset), offset, 0
        return self._page[at : at + nbytes]


def _next_header(fd: int, offset: int, size: int) -> int:
    """Where the next sound header starts; ``size`` if there is none."""
    while offset < size:
        chunk = os.pread(fd, _SEARCH, offset)
        if len(chunk) < HEADER:
            break
        at = chunk.find(_MARKER)
        while 0 <= at <= len(chunk) - HEADER:
            if unpack_header(chunk[at : at + HEADER], offset + at) is not None:
                return offset + at
            at = chunk.find(_MARKER, at + 1)
        offset += len(chunk) - HEADER + 1
    return size
