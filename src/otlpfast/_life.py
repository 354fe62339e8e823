"""How processes begin and end where Python's own hooks are not enough.

A child of multiprocessing or of celery's prefork pool ends by ``os._exit()``: no atexit function runs, so no
provider is shut down. What its processors hold is flushed by the last thing that does run there. Neither
package is imported here; whoever has such children has it in ``sys.modules``.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import threading
import time
import weakref
from typing import Any, Protocol

from ._log import warn

_logger = logging.getLogger(__name__)

END_MILLIS = 5_000
"""How long the flush at the end of such a child may take: its parent is likely to wait for it."""


class _Processor(Protocol):
    def force_flush(self, timeout_millis: float | None = None) -> bool: ...


# A list, whose append and remove are atomic: a finaliser or another thread may come in between.
_watched: list[weakref.ref[_Processor]] = []
_has_met_multiprocessing = False


def watch(processor: _Processor) -> None:
    """From now on, as long as it lives, the processor is flushed where this process ends by os._exit()."""
    _watched.append(weakref.ref(processor, _watched.remove))
    _meet(in_child=False)


def flush_all(timeout_millis: float) -> bool:
    """Flushes the processors that are watched; one that can't leaves the others their share of the time."""
    deadline = time.monotonic() + timeout_millis / 1e3
    processors = [processor for ref in list(_watched) if (processor := ref()) is not None]
    flushed = True
    for number, processor in enumerate(processors):
        share = max(deadline - time.monotonic(), 0) / (len(processors) - number)
        flushed = processor.force_flush(share * 1e3) and flushed
    return flushed


def _meet(in_child: bool) -> None:
    """Has whoever ends children of this process, or this process, call ``_end``."""
    _meet_multiprocessing()
    signals = sys.modules.get("celery.signals")
    ending = getattr(signals, "worker_process_shutdown", None)
    if ending is not None:
        if in_child:  # once more, to come after those who end spans there
            ending.disconnect(_end, dispatch_uid=__name__)
        ending.connect(_end, weak=False, dispatch_uid=__name__)


def _meet_multiprocessing() -> None:
    global _has_met_multiprocessing
    util: Any = sys.modules.get("multiprocessing.util")
    process: Any = sys.modules.get("multiprocessing.process")
    if not hasattr(util, "register_after_fork") or not hasattr(process, "parent_process"):
        return  # not imported, or not to its end
    if not _has_met_multiprocessing:
        _has_met_multiprocessing = True
        # A child of multiprocessing forgets its parent's finalizers after the fork hooks have run, and then
        # calls this.
        util.register_after_fork(_end, _begin_child)
        # Where the parent knew of no processor, as in a pool's initializer, that is over.
        if process.parent_process() is not None:
            _begin_child()


def _begin_child(*_: object) -> None:
    # After all others: they may end spans. (A priority is needed: those without are not called.)
    sys.modules["multiprocessing.util"].Finalize(None, _end, exitpriority=-1000)


def _end(*_: object, **__: object) -> None:
    _flush_in_time()
    others = _threads_that_are_waited_for()
    if others:
        with contextlib.suppress(RuntimeError):  # no more threads
            threading.Thread(target=_end_after, args=(others,), name="otlpfast-end").start()


def _end_after(others: list[threading.Thread]) -> None:
    # What comes between here and os._exit() is a wait for all threads that are no daemons. This is one, and
    # so the last.
    while others:
        for thread in others:
            thread.join()
        others = _threads_that_are_waited_for()
    _flush_in_time()


def _threads_that_are_waited_for() -> list[threading.Thread]:
    here, main = threading.current_thread(), threading.main_thread()
    return [t for t in threading.enumerate() if not t.daemon and t is not here and t is not main]


def _flush_in_time() -> None:
    start = time.monotonic()
    if not flush_all(END_MILLIS) and time.monotonic() - start >= END_MILLIS / 1e3:
        text = "process %d ends with spans that were not exported within %d ms"
        warn(_logger, text, os.getpid(), END_MILLIS)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=lambda: _meet(in_child=True))


_forking: set[tuple[int, int, int]] = set()  # processes, threads and hooks


def begin_fork(hook: int) -> None:
    """From now until ``end_fork()``, this thread is on its way into os.fork() and others wait for it.

    Whoever has several hooks tells them apart by number: the first that is over does not end it.
    """
    _forking.add((os.getpid(), threading.get_ident(), hook))


def end_fork(hook: int) -> None:
    """It is back, in the parent; the child needs no telling."""
    _forking.discard((os.getpid(), threading.get_ident(), hook))


def is_forking(but_for: int | None = None) -> bool:
    """Whether this thread is in between: a signal handler that waits for others would wait for itself.

    but_for: a hook that does not count.
    """
    here = os.getpid(), threading.get_ident()
    return any(entry[:2] == here and entry[2] != but_for for entry in list(_forking))


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forking.clear)
