"""Profiles over HTTP, as Go's ``net/http/pprof`` has them: ``enable_pprof_http()``, then ``go tool pprof URL``."""

from __future__ import annotations

import math
import threading
from contextlib import ExitStack

from .._checks import whole_number
from ..environment_variables import OTLPFAST_PPROF_TOKEN
from ..web.guard import Address, Guard
from ..web.listener import Listener, Served, admit, served
from ._serving.continuous import Continuous
from ._serving.handler import Handler
from ._serving.site import PREFIX, Site

DEFAULT_ADDRESS = "127.0.0.1:6060"
MAX_SECONDS = 300.0


class PprofListener(Listener):
    """Has a thread for each connection, so that a profile of 30 seconds keeps nobody waiting."""

    def __init__(self, address: Address, guard: Guard, site: Site) -> None:
        self.site = site
        super().__init__(address, guard, Handler)


class PprofServer(Served):
    """Profiles that are being served, until ``close()`` or the end of the process; a context manager.

    A forked child does not serve them: its copy is closed, the parent's goes on. It may serve its own.
    """

    def __init__(
        self,
        address: str = DEFAULT_ADDRESS,
        token: str | None = None,
        *,
        max_seconds: float = MAX_SECONDS,
        heap: bool = False,
        block_rate: int = 0,
        mutex_fraction: int = 0,
    ) -> None:
        where = admit(address, token, OTLPFAST_PPROF_TOKEN)
        guard = Guard(where, token)
        listener = PprofListener(where, guard, Site(guard, checked_seconds(max_seconds)))
        super().__init__(listener, "otlpfast-pprof", PREFIX.removeprefix("/") + "/")
