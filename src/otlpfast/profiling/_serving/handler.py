"""Requests to a server of its own: each connection has a thread."""

from __future__ import annotations

import selectors
import socket
import time
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from ...web.answering import Answering
from ...web.listener import Selector
from .request import Refused, Request
from .site import PREFIX

if TYPE_CHECKING:
    from ..http import PprofListener

_MAX_BODY = 1 << 16  # of POST symbol: addresses, which nobody reads
_NEXT_LOOK = 0.1  # seconds


class Handler(Answering):
    """One connection."""

    server: PprofListener

    def _answer(self) -> None:
        url = urlsplit(self.path)
        if self.command not in ("GET", "HEAD"):
            self._pass_over_body()
        path = PREFIX if url.path == "/" else url.path
        if path != PREFIX and not path.startswith(f"{PREFIX}/"):
            self.refuse(404, f"404 page not found: {PREFIX}/ has the profiles")
            return
        headers = {name.lower(): value for name, value in self.headers.items()}
        path = path.removeprefix(PREFIX)
        answer = self.server.site.answer(
            Request(self.command, path, url.query, headers, lambda s: awaited(self.connection, s), PREFIX)
        )
        self.head(answer.status, answer.headers)
        if self.command != "HEAD":
            self.wfile.write(answer.body)

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = _answer

    def _pass_over_body(self) -> None:
        self.close_connection = True  # whatever else comes after the head is not read
        length = self.headers.get("content-length", "")
        if length.isascii() and length.isdecimal() and len(length) < 9:
            self.rfile.read(min(int(length), _MAX_BODY))

    def refuse(self, status: int, text: str) -> None:
        """Says why not."""
        refusal = Refused(status, text).answer()
        self.send(status, refusal.body, refusal.headers)


def awaited(connection: socket.socket, seconds: float) -> bool:
    """Lets so many seconds pass; False as soon as the other end, or this one, has closed the connection.

    Where the client has sent its next request already, its end can't be seen behind that.
    """
    deadline = time.monotonic() + seconds
    with Selector() as selector:
        selector.register(connection, selectors.EVENT_READ)
        while (left := deadline - time.monotonic()) > 0:
            if not selector.select(left):
                continue
            try:
                if not connection.recv(1, socket.MSG_PEEK):
                    return False
            except ValueError:
                pass  # TLS, behind which no end can be seen either
            except OSError:
                return False
            time.sleep(min(left, _NEXT_LOOK))
    return True
