"""What takes the place of names of threading, queue and asyncio while contention is profiled."""

from __future__ import annotations

import _queue
import _thread
import asyncio
import functools
import queue
import sys
import threading
import types
from collections.abc import Callable, Coroutine, Generator, Iterator
from contextlib import suppress
from time import monotonic_ns
from typing import Any, NamedTuple

from . import _locks
from ._native import sampler
from ._waits import OWN_FILES, Waits
from .profile import Frame

OWN_FILES.add(sys._getframe().f_code.co_filename)

_made: Any = _locks if sampler is None else sampler
_current: Waits | None = None  # who is told; what was replaced and lives on asks here

Method = Callable[..., Any]


class _Replacing(type):
    """Of classes that stand in for a plain one: its instances are theirs."""

    _stands_for: type

    # A user's subclass inherits this, but stands for itself alone.

    def __instancecheck__(cls, instance: object) -> bool:
        plain = vars(cls).get("_stands_for")
        return type.__instancecheck__(cls, instance) or (plain is not None and isinstance(instance, plain))

    def __subclasscheck__(cls, other: type) -> bool:
        plain = vars(cls).get("_stands_for")
        return type.__subclasscheck__(cls, other) or (plain is not None and issubclass(other, plain))


def _refuse(cls: type[Any], /, **_: object) -> None:
    plain = cls._stands_for
    raise TypeError(f"type '{plain.__module__}.{plain.__qualname__}' is not an acceptable base type")


def _lock_class(name: str, plain: type) -> type:
    """The class that threading has under this name meanwhile, by which it is also pickled."""
    body = {
        "__slots__": (),
        "__init_subclass__": classmethod(_refuse),
        "__module__": "threading",
        "__doc__": getattr(threading, name).__doc__,
        "_stands_for": plain,
    }
    return _Replacing(name, (getattr(_made, name),), body)


class _SimpleQueue(_queue.SimpleQueue[Any], metaclass=_Replacing):
    """queue.SimpleQueue whose ``get`` is measured where it has to wait."""

    __slots__ = ()
    _stands_for = _queue.SimpleQueue

    def get(self, block: bool = True, timeout: float | None = None) -> Any:
        plain, waits = _queue.SimpleQueue, _current
        if waits is None or not block or not (timeout is None or timeout > 0):
            return plain.get(self, block, timeout)
        with suppress(queue.Empty):
            return plain.get(self, False)
        began = monotonic_ns()
        try:
            return plain.get(self, block, timeout)
        finally:
            waits.blocked(monotonic_ns() - began, _SIMPLE_QUEUE)

    def __reduce_ex__(self, protocol: object) -> Any:
        raise TypeError("cannot pickle '_queue.SimpleQueue' object")


_SIMPLE_QUEUE = Frame("SimpleQueue.get", queue.__file__, 0)
_SimpleQueue.__name__ = _SimpleQueue.__qualname__ = "SimpleQueue"
_SimpleQueue.__module__ = "queue"


def _blocking(original: Method) -> Method:
    """A method that waits whenever it is called, as ``Condition.wait``."""
    leaf = _leaf(original)

    @functools.wraps(original)
    def wait(self: Any, timeout: Any = None) -> Any:
        waits = _current
        if waits is None or not (timeout is None or timeout > 0):
            return original(self, timeout)
        began = monotonic_ns()
        try:
            return original(self, timeout)
        finally:
            waits.blocked(monotonic_ns() - began, leaf)

    return wait


def _joining(original: Method) -> Method:
    waiting = _blocking(original)

    @functools.wraps(original)
    def join(self: threading.Thread, timeout: float | None = None) -> Any:
        if _current is None or not getattr(self, "_initialized", False) or not self.is_alive():
            return original(self, timeout)
        return waiting(self, timeout)

    return join


def _acquiring(original: Method) -> Method:
    """``Semaphore.acquire``: try first."""
    leaf = _leaf(original)

    @functools.wraps(original)
    def acquire(self: Any, blocking: bool = True, timeout: float | None = None) -> Any:
        waits = _current
        if waits is None or not blocking or not (timeout is None or timeout > 0):
            return original(self, blocking, timeout)
        if original(self, False):
            return True
        began = monotonic_ns()
        try:
            return original(self, blocking, timeout)
        finally:
            waits.kept_out(monotonic_ns() - began, leaf)

    return acquire


def _awaiting(original: Method) -> Method:
    """A coroutine function that may have to wait."""
    leaf = _leaf(original)

    @functools.wraps(original)
    async def wait(*args: Any, **kwargs: Any) -> Any:
        waits = _current
        if waits is None:
            return await original(*args, **kwargs)
        return await _measured(original(*args, **kwargs), waits, leaf)

    return wait


@types.coroutine
def _measured(coroutine: Coroutine[Any, Any, Any], waits: Waits, leaf: Frame) -> Generator[Any, Any, Any]:
    # One that yields is one that waits; what need not wait is not measured.
    try:
        waited_for = coroutine.send(None)
    except StopIteration as done:
        return done.value
    began = monotonic_ns()
    try:
        value = yield from _resumed(coroutine, waited_for)
    except GeneratorExit:  # nobody waits any more: its loop is gone
        raise
    except BaseException:
        waits.blocked(monotonic_ns() - began, leaf, in_task=True)
        raise
    waits.blocked(monotonic_ns() - began, leaf, in_task=True)
    return value


def _resumed(coroutine: Coroutine[Any, Any, Any], waited_for: Any) -> Generator[Any, Any, Any]:
    """``yield from coroutine``, which has yielded already what it waits for."""
    awaited = coroutine.__await__()
    while True:
        try:
            yield waited_for
        except GeneratorExit:
            coroutine.close()
            raise
        except BaseException as error:
            thrown = error
        else:
            return (yield from awaited)
        try:
            waited_for = coroutine.throw(thrown)
        except StopIteration as done:
            return done.value
        finally:
            del thrown


def _awaiting_all(original: Method) -> Method:
    """``__await__`` of what ``asyncio.gather`` returns."""
    leaf = Frame.of(asyncio.gather.__code__, asyncio.gather.__code__.co_firstlineno)

    def __await__(self: asyncio.Future[Any]) -> Generator[Any, Any, Any]:
        waits = _current
        if waits is None or self.done():
            return (yield from original(self))
        began = monotonic_ns()
        try:
            value = yield from original(self)
        except GeneratorExit:
            raise
        except BaseException:
            waits.blocked(monotonic_ns() - began, leaf, in_task=True)
            raise
        waits.blocked(monotonic_ns() - began, leaf, in_task=True)
        return value

    return __await__


def _leaf(original: Method) -> Frame:
    code: types.CodeType = original.__code__
    return Frame.of(code, code.co_firstlineno)


_METHODS: tuple[tuple[object, str, Callable[[Method], Method]], ...] = (
    (threading.Condition, "wait", _blocking),
    (threading.Thread, "join", _joining),
    (threading.Semaphore, "acquire", _acquiring),
    (threading.Semaphore, "__enter__", _acquiring),
    (asyncio.Lock, "acquire", _awaiting),
    (asyncio.Semaphore, "acquire", _awaiting),
    (asyncio.Event, "wait", _awaiting),
    (asyncio.Condition, "wait", _awaiting),
    (asyncio.Queue, "get", _awaiting),
    (asyncio.Queue, "put", _awaiting),
    (asyncio.Queue, "join", _awaiting),
    (getattr(asyncio, "TaskGroup", None), "__aexit__", _awaiting),
    (asyncio.tasks, "_wait", _awaiting),
    (getattr(asyncio.tasks, "_GatheringFuture", None), "__await__", _awaiting_all),
)


class Patched(NamedTuple):
    """A name that was given another value."""

    owner: Any
    name: str
    value: Any
    before: Any
    """The value it had; None where it was inherited."""


def _patches() -> Iterator[Patched]:
    yield Patched(threading, "Lock", _lock_class("Lock", type(_thread.allocate_lock())), threading.Lock)
    yield Patched(threading, "RLock", _lock_class("RLock", _thread.RLock), threading.RLock)
    yield Patched(queue, "SimpleQueue", _SimpleQueue, queue.SimpleQueue)
    for owner, name, patch in _METHODS:
        original = getattr(owner, name, None)
        if original is not None:
            yield Patched(owner, name, patch(original), vars(owner).get(name))


def install(waits: Waits) -> list[Patched]:
    """Has what waits tell; ``undo`` takes what it returns."""
    global _current
    _current = waits
    done: list[Patched] = []
    try:
        for patched in _patches():
            done.append(patched)
            setattr(patched.owner, patched.name, patched.value)
    except BaseException:
        undo(done)
        raise
    return done


def tell(waits: Waits) -> None:
    """Has Lock and RLock tell as often as it asks to be told now."""
    fraction = waits.mutex_fraction
    _made.watch_locks(waits.locked_out if fraction else None, fraction)


def undo(done: list[Patched]) -> None:
    """Gives names back, but those that someone else has changed; what was made lives on and tells nothing."""
    global _current
    _current = None
    _made.watch_locks(None)
    for owner, name, value, before in reversed(done):
        if vars(owner).get(name) is not value:
            continue
        if before is None:
            delattr(owner, name)
        else:
            setattr(owner, name, before)
