"""The server of the page: in daemon threads, with nothing else on its shoulders."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from .. import _tap
from .._components import variable
from ..batch import SpanBatch
from ..environment_variables import OTLPFAST_WEB_TOKEN
from .figures import Figures, hurry
from .guard import Address, Guard
from .handler import Handler
from .listener import Listener, Served, admit
from .recent import Recent

_logger = logging.getLogger(__name__)


class PageListener(Listener):
    """Each second takes note of the figures."""

    tick_seconds = 1.0

    def __init__(self, address: Address, guard: Guard) -> None:
        self.figures = Figures()
        self.recent = Recent()
        self._watchers: set[int] = set()
        super().__init__(address, guard, Handler)

    def tick(self) -> None:
        """Takes note of them."""
        try:
            self.figures.sample()
            if self._watchers:
                hurry()
        except Exception:  # something has replaced a part of a processor: the page goes on
            _logger.debug("a look at the figures failed", exc_info=True)

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Somebody looks on."""
        thread = threading.get_ident()
        self._watchers.add(thread)
        try:
            yield
        finally:
            self._watchers.discard(thread)


class Server(Served):
    """A page that is being served, until ``close()`` or the end of the process; a context manager.

    A forked child does not serve it: its copy is closed, the parent's goes on.
    """

    _listener: PageListener | None

    def __init__(self, address: str, token: str | None = None) -> None:
        token = variable(OTLPFAST_WEB_TOKEN) or None if token is None else token
        where = admit(address, token, OTLPFAST_WEB_TOKEN)
        listener = PageListener(where, Guard(where, token))
        super().__init__(listener, "otlpfast-web")
        _tap.attach(listener.recent)

    def show(self, batch: SpanBatch) -> None:
        """Has a batch among the recent ones that was about to be exported before there was this page."""
        if self._listener is not None:
            self._listener.recent.take(batch)

    def _leave(self, listener: PageListener) -> None:
        _tap.detach(listener.recent)

    def __enter__(self) -> Server:
        return self
