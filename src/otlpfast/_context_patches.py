"""Methods of the standard library that take the current context with them, for ``carry_context()``.

Each wrapper passes everything on untouched where nobody has asked for it any more, and where the context is
empty. Nothing here holds a lock, so that a fork finds none held.
"""

from __future__ import annotations

import functools
import sys
import threading
from collections.abc import Callable
from typing import Any

from opentelemetry.context import Context, attach, detach, get_current

from ._carried import Luggage, carried

_Method = Callable[..., Any]

_askers: set[object] = set()  # as long as there is one, contexts are carried
_wrappers: dict[tuple[type, str], tuple[_Method, _Method]] = {}  # and what each is in the place of

_OF_POOLS = ("apply_async", "imap", "imap_unordered", "map", "map_async", "starmap", "starmap_async")


def ask(asker: object) -> None:
    """Has contexts carried from now on, until all who have asked ``release()``."""
    for kind, name, wrap in _targets():
        _put(kind, name, wrap)
    _askers.add(asker)


def release(asker: object) -> None:
    """Undoes ``ask()``. What others have wrapped since stays wrapped by us, and carries nothing."""
    _askers.discard(asker)
    if _askers:
        return
    for (kind, name), (wrapper, original) in list(_wrappers.items()):
        if kind.__dict__.get(name) is wrapper:
            setattr(kind, name, original)
            _wrappers.pop((kind, name), None)


def _put(kind: Any, name: str, wrap: Callable[[_Method], _Method]) -> None:
    # gevent has a class of its own for threads, with the methods of Python's.
    kind = next((base for base in kind.__mro__ if name in base.__dict__), None)
    if kind is None:
        return
    present = kind.__dict__[name]
    if (kind, name) in _wrappers and not _is_within(present, _wrappers[kind, name][0]):
        del _wrappers[kind, name]  # somebody has put back what they found before us
    # Where two threads come here at once, both put the same one.
    wrapper, _ = _wrappers.setdefault((kind, name), (wrap(present), present))
    if not _is_within(present, wrapper):
        setattr(kind, name, wrapper)


def _is_within(method: Any, wrapper: _Method) -> bool:
    while method is not None and method is not wrapper:
        method = getattr(method, "__wrapped__", None)
    return method is wrapper


def _targets() -> list[tuple[type, str, Callable[[_Method], _Method]]]:
    from concurrent.futures import ThreadPoolExecutor

    targets: list[tuple[type, str, Callable[[_Method], _Method]]] = [
        (threading.Thread, "start", _thread_start),
        (ThreadPoolExecutor, "submit", _submit),
    ]
    try:
        from concurrent.futures import ProcessPoolExecutor
        from multiprocessing.pool import Pool
        from multiprocessing.process import BaseProcess
    except ImportError:  # a system without processes
        return targets
    targets += [(ProcessPoolExecutor, "submit", _submit), (BaseProcess, "start", _process_start)]
    targets += [(Pool, "__init__", _outside), *((Pool, name, _pool_call) for name in _OF_POOLS)]
    return targets


def _context() -> Context | None:
    """What is to be carried, if anything."""
    return (get_current() or None) if _askers else None


def _thread_start(original: _Method) -> _Method:
    @functools.wraps(original)
    def start(self: Any) -> Any:
        context = _context()
        # From CPython 3.14 on, a thread can be given a context: then it is for that to say.
        if context is None or (sys.version_info >= (3, 14) and self._context is not None):
            return original(self)
        undo = _carry_run(self, context)
        try:
            return original(self)
        except BaseException:
            undo()
            raise

    return start


def _carry_run(thread: Any, context: Context) -> Callable[[], None]:
    """Has the thread's ``run()``, also that of a subclass, run in the context; returns what undoes that."""
    own: dict[str, Any] = thread.__dict__
    before, run = own.get("run"), thread.run

    def undo() -> None:
        if own.get("run") is in_context:
            if before is None:
                own.pop("run", None)
            else:
                own["run"] = before

    def in_context() -> None:
        nonlocal undo
        undo()  # lest the thread hold itself
        del undo  # lest the two functions hold each other, and with them the thread and its context
        token = attach(context)
        try:
            run()
        finally:
            detach(token)

    own["run"] = in_context
    return undo


def _submit(original: _Method) -> _Method:
    @functools.wraps(original)
    def submit(self: Any, fn: Any, /, *args: Any, **kwargs: Any) -> Any:
        context = _context()
        if context is None or _is_of_interpreters(self):
            return original(self, fn, *args, **kwargs)
        # Threads and processes that it starts are to serve others, too.
        token = attach(Context())
        try:
            return original(self, carried(fn, context), *args, **kwargs)
        finally:
            detach(token)

    return submit


def _is_of_interpreters(executor: object) -> bool:
    # An executor of threads by its class, whose functions go to other interpreters; otlpfast can't.
    module = sys.modules.get("concurrent.futures.interpreter")
    return module is not None and isinstance(executor, module.InterpreterPoolExecutor)


def _pool_call(original: _Method) -> _Method:
    @functools.wraps(original)
    def call(self: Any, func: Any, *args: Any, **kwargs: Any) -> Any:
        context = _context()
        return original(self, func if context is None else carried(func, context), *args, **kwargs)

    return call


def _outside(original: _Method) -> _Method:
    @functools.wraps(original)
    def __init__(self: Any, *args: Any, **kwargs: Any) -> None:
        if _context() is None:
            return original(self, *args, **kwargs)  # type: ignore[no-any-return]
        token = attach(Context())
        try:
            original(self, *args, **kwargs)
        finally:
            detach(token)

    return __init__


def _process_start(original: _Method) -> _Method:
    @functools.wraps(original)
    def start(self: Any) -> Any:
        context = _context()
        if context is None:
            return original(self)
        # What is spawned gets it pickled; what is forked has inherited the context.
        self.__dict__["_otlpfast_context"] = Luggage(context)  # not by a __setattr__ of its class
        try:
            return original(self)
        finally:
            self.__dict__.pop("_otlpfast_context", None)

    return start
