"""Functions around functions."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any


def decorated(make: Callable[[], AbstractContextManager[Any]], function: Callable[..., Any]) -> Any:
    """The function, or coroutine function, with each call inside a context manager of its own."""
    if inspect.iscoroutinefunction(function):

        @functools.wraps(function)
        async def in_coroutine(*args: Any, **options: Any) -> Any:
            with make():
                return await function(*args, **options)

        return in_coroutine

    @functools.wraps(function)
    def in_function(*args: Any, **options: Any) -> Any:
        with make():
            return function(*args, **options)

    return in_function


def either(native: type, method: Callable[..., Any], stock: Callable[..., Any]) -> Callable[..., Any]:
    """A method of a native type, which serves other objects as the SDK's does."""

    @functools.wraps(stock)
    def chosen(self: Any, *args: Any, **options: Any) -> Any:
        return (method if type(self) is native else stock)(self, *args, **options)

    return chosen
