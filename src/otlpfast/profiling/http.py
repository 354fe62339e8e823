"""Profiles over HTTP, as Go's ``net/http/pprof`` has them: ``enable_pprof_http()``."""

from __future__ import annotations

from contextlib import ExitStack

from .._components import variable
from ..environment_variables import OTLPFAST_PPROF_TOKEN
from ..web.guard import Address, Guard
from ..web.listener import Listener, Served, admit, served
from . import _registry
from ._serving import engines
from ._serving.handler import Handler
from ._serving.site import MAX_SECONDS, PREFIX, Site

DEFAULT_ADDRESS = "127.0.0.1:6060"


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
        heap: bool = False,
        block_rate: int = 0,
        mutex_fraction: int = 0,
        max_seconds: float = MAX_SECONDS,
    ) -> None:
        """See ``enable_pprof_http()``."""
        token = variable(OTLPFAST_PPROF_TOKEN) or None if token is None else token
        where = admit(address, token, OTLPFAST_PPROF_TOKEN)
        site = Site(Guard(where, token), max_seconds)
        with ExitStack() as undo:
            engines.keep_on(undo, heap, block_rate, mutex_fraction)
            listener = PprofListener(where, Guard(where, token), site)
            super().__init__(listener, "otlpfast-pprof", f"{PREFIX[1:]}/")
            self._undo = undo.pop_all()
        _registry.announce(self.url, token)  # for `otlpfast profile --pid`

    def _leave(self, listener: object) -> None:
        _registry.withdraw(self.url)
        self._undo.close()

    def _after_fork(self) -> None:
        self._undo.pop_all()  # what is on is so in the parent
        super()._after_fork()

    def __enter__(self) -> PprofServer:
        return self


def enable_pprof_http(
    address: str = DEFAULT_ADDRESS,
    token: str | None = None,
    *,
    heap: bool = False,
    block_rate: int = 0,
    mutex_fraction: int = 0,
    max_seconds: float = MAX_SECONDS,
) -> PprofServer:
    """Serves profiles of this process under ``/debug/pprof/``, also while its event loop is stuck.

    Threads of its own do so, until ``close()``, ``disable_pprof_http()`` or the end of the process. Nothing
    is profiled until somebody asks, but for what is switched on here.

    Args:
        address: HOST:PORT, or a PORT of 127.0.0.1; port 0 takes a free one, which ``url`` has.
        token: who knows it may ask: as the password in the URL, ``?token=``, or ``Authorization: Bearer``.
            By default ``OTLPFAST_PPROF_TOKEN``; without either, only addresses of this machine alone are
            allowed.
        heap: the heap is sampled from now on, so that ``heap`` and ``allocs`` are of all since then; without,
            they take ``?seconds=``.
        block_rate: nanoseconds of waiting for each of which, on average, one wait is recorded from now on;
            0: only while ``block?seconds=`` asks.
        mutex_fraction: one wait for a lock in so many is recorded from now on; 0: only while
            ``mutex?seconds=`` asks.
        max_seconds: the longest that a profile may be asked to take.

    Raises:
        TypeError, ValueError: an argument of the wrong kind, or one that is not allowed.
        ProfilerBusyError: somebody else has switched on what is to be switched on here.
        OSError: the address can't be listened at; the port may be in use.
    """
    return PprofServer(
        address,
        token,
        heap=heap,
        block_rate=block_rate,
        mutex_fraction=mutex_fraction,
        max_seconds=max_seconds,
    )


def disable_pprof_http() -> None:
    """Ends all that ``enable_pprof_http()`` has begun in this process."""
    for server in list(served):
        if isinstance(server, PprofServer):
            server.close()
