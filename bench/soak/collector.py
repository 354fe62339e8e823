"""The soak's collector: OTLP/HTTP, cheap enough to share a core, and of good memory.

Each span's id goes to a file before the request is answered: a collector that is killed forgets nothing that
it has confirmed. Requests are not decoded, only walked: 20,000 spans a second are a twentieth of a core.

SIGUSR1: from now on connections are reset instead of answered, every other time after the spans were noted,
as by a collector that dies before it answers. SIGUSR2: as before.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import socket
import struct
import threading
from collections.abc import Iterator

_ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: application/x-protobuf\r\nContent-Length: 0\r\n\r\n"
_ID = 8  # bytes of a span id
# Every exporter writes a span's first fields so: trace_id (field 1, 16 bytes), span_id (field 2, 8 bytes).
_TRACE_ID, _SPAN_ID = b"\x0a\x10", b"\x12\x08"


def span_ids(body: bytes) -> bytes:
    """The ids of all spans of an ExportTraceServiceRequest, one after the other.

    Raises ValueError where it is none, or a span does not begin with its ids.
    """
    ids = bytearray()
    for resource in _messages(body, 0, len(body), 1):
        for scope in _messages(body, *resource, 2):
            for start, _ in _messages(body, *scope, 2):
                if body[start : start + 2] != _TRACE_ID or body[start + 18 : start + 20] != _SPAN_ID:
                    raise ValueError("a span that does not begin with its ids")
                ids += body[start + 20 : start + 20 + _ID]
    return bytes(ids)


def _messages(body: bytes, position: int, end: int, number: int) -> Iterator[tuple[int, int]]:
    """Start and end of each length-delimited field of that number in a message; others are passed over."""
    while position < end:
        tag, position = body[position], position + 1
        if tag & 7 != 2 or tag >= 128:
            raise ValueError("no field of these messages")
        length = shift = 0
        while True:
            byte, position = body[position], position + 1
            length |= (byte & 127) << shift
            if byte < 128:
                break
            shift += 7
        if tag >> 3 == number:
            yield position, position + length
        position += length


class Collector:
    """Listens on a port of 127.0.0.1 and appends what it receives to a file."""

    def __init__(self, port: int, ids: str) -> None:
        self.resets = False
        self._turns = 0
        self._file = os.open(ids, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        self._listener = socket.create_server(("127.0.0.1", port), backlog=64)
        self.port: int = self._listener.getsockname()[1]

    def serve(self) -> None:
        while True:
            connection, _ = self._listener.accept()
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with connection.makefile("rb") as stream:
                while body := _read_body(stream):
                    if self.resets:
                        self._turns += 1
                        if self._turns % 2:
                            os.write(self._file, span_ids(body))
                        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                        return
                    os.write(self._file, span_ids(body))
                    connection.sendall(_ANSWER)


def _read_body(stream: object) -> bytes:
    """The next request's body; nothing at the end of the connection."""
    length = 0
    while (line := stream.readline()) not in (b"\r\n", b""):  # type: ignore[attr-defined]
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            length = int(value)
    body: bytes = stream.read(length) if length else b""  # type: ignore[attr-defined]
    return body if len(body) == length else b""


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--ids", required=True)
    arguments = parser.parse_args()
    collector = Collector(arguments.port, arguments.ids)

    def turn(number: int, _: object) -> None:
        collector.resets = number == signal.SIGUSR1

    signal.signal(signal.SIGUSR1, turn)
    signal.signal(signal.SIGUSR2, turn)
    print(collector.port, flush=True)
    collector.serve()


if __name__ == "__main__":
    main()
