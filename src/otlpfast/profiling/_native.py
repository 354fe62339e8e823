"""The only place that loads the compiled sampler; None where there is none, or OTLPFAST_IMPL=py.

There is none but on Linux and macOS, and none for free-threaded builds. One that is broken raises.
"""

from __future__ import annotations

import importlib
from types import ModuleType

from .._choice import choose, refuse_subinterpreters

refuse_subinterpreters()


def _load() -> ModuleType | None:
    if choose() == "_pure":
        return None
    try:
        return importlib.import_module("otlpfast.profiling._sampler")
    except ModuleNotFoundError as error:
        if error.name != "otlpfast.profiling._sampler":
            raise
        return None


sampler = _load()
