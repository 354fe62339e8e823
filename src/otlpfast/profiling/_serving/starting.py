"""Profiles of a process whose environment asks for it: ``OTLPFAST_PPROF``. What is wrong is one line."""

from __future__ import annotations

import logging
import os
import sys
import threading
from contextlib import suppress

from ..._components import variable
from ..._log import warn
from ..._threads import are_real, start_outside
from ...environment_variables import OTLPFAST_PPROF, OTLPFAST_PPROF_TOKEN
from ...export.endpoint import mask_url
from ...web.starting import why
from ..http import PprofServer

_logger = logging.getLogger("otlpfast.configuration")

_PARENT = "_OTLPFAST_PPROF_PARENT"  # the process that the environment was first read in
_GRACE = 1.0  # seconds that a child has to live to be worth an address: many only begin another program

_server: PprofServer | None = None
_is_asked = False


def serve_by_variables() -> None:
    """Serves profiles; in a process that another such process has started, once it has lived for a second.

    Never raises; once is enough.
    """
    global _is_asked
    if _is_asked or not variable(OTLPFAST_PPROF):
        return
    _is_asked = True
    if os.environ.setdefault(_PARENT, str(os.getpid())) != str(os.getpid()):
        _serve_later()
    else:
        _serve()


def _serve() -> None:
    global _server
    address = variable(OTLPFAST_PPROF)
    try:
        _server = PprofServer(address, variable(OTLPFAST_PPROF_TOKEN) or None)
    except Exception as error:
        text = "%s=%r: no profiles of process %d: %s"
        warn(_logger, text, OTLPFAST_PPROF, mask_url(address), os.getpid(), why(error))
        return
    with suppress(OSError, ValueError, AttributeError):  # closed, or none at all
        sys.stderr.write(f"otlpfast: profiles of process {os.getpid()}: {_server.url}\n")


def _serve_later() -> None:
    if not are_real():
        return  # gevent's threads begin only when its hub does, which a fork has broken
    with suppress(RuntimeError):  # no more threads
        start_outside(threading.Thread(target=_wait_and_serve, name="otlpfast-pprof-later", daemon=True))


def _wait_and_serve() -> None:
    threading.Event().wait(_GRACE)
    if threading.main_thread().is_alive():
        _serve()


def _in_child() -> None:
    global _server
    _server = None
    if _is_asked:
        _serve_later()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_child)
