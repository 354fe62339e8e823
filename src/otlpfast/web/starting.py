"""The page of a process whose environment asks for it: ``OTLPFAST_WEB``. Whatever is wrong is one line."""

from __future__ import annotations

import errno
import logging
import os
import sys
import threading
from contextlib import suppress

from .. import _tap
from .._components import variable
from .._log import warn
from ..batch import SpanBatch
from ..environment_variables import OTLPFAST_WEB, OTLPFAST_WEB_TOKEN
from ..export.endpoint import mask_url
from .guard import ALLOWED
from .server import Server

_logger = logging.getLogger("otlpfast.configuration")

_PARENT = "_OTLPFAST_WEB_PARENT"  # the process that the environment was first read in


class _Expectant:
    """In a child: has it serve a page of its own once it has spans. Many children never have."""

    def take(self, batch: SpanBatch) -> None:
        global _page
        _tap.detach(self)
        if not threading.main_thread().is_alive():
            return  # the process is on its way out, as are its spans
        if _page is None and (page := _start()) is not None:
            _page = page
            page.show(batch)


_page: Server | None = None
_expectant: _Expectant | None = None


def serve_by_variables() -> None:
    """Serves the page, or will once there are spans in a process that another such process has started.

    Never raises; once is enough.
    """
    global _page
    if _page is not None or _expectant is not None or not variable(OTLPFAST_WEB):
        return
    if os.environ.setdefault(_PARENT, str(os.getpid())) != str(os.getpid()):
        _expect()
    else:
        _page = _start()


def _expect() -> None:
    global _expectant
    if _expectant is not None:
        _tap.detach(_expectant)
    _expectant = _Expectant()
    _tap.attach(_expectant)


def _start() -> Server | None:
    address = variable(OTLPFAST_WEB)
    try:
        page = Server(address, variable(OTLPFAST_WEB_TOKEN) or None)
    except Exception as error:
        text = "%s=%r: no live page of process %d: %s"
        warn(_logger, text, OTLPFAST_WEB, mask_url(address), os.getpid(), why(error))
        return None
    with suppress(OSError, ValueError, AttributeError):  # closed, or none at all
        sys.stderr.write(f"otlpfast: live page of process {os.getpid()}: {page.url}\n")
    return page


def why(error: Exception) -> str:
    """Why an address can't be served at, and which can."""
    if isinstance(error, OSError) and error.errno == errno.EADDRINUSE:
        return f"the port is in use, port 0 takes a free one in each process; allowed: {ALLOWED}"
    if isinstance(error, OSError):
        return f"{error.strerror or error}; allowed: {ALLOWED}"
    return str(error)


def _in_child() -> None:
    global _page
    if _page is not None:
        _page = None
        _expect()
    elif _expectant is not None:
        _expect()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_child)
