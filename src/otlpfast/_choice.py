"""What this process runs on: otlpfast or, switched off, the SDK; the compiled core or plain Python.

``OTLPFAST_IMPL=auto`` (the default) takes ``_core`` where it was built; ``c`` insists on it; ``py`` takes
``_pure``. Nothing is loaded here: ``import otlpfast`` costs nothing.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys

from .environment_variables import OTLPFAST_DISABLED, OTLPFAST_IMPL


def is_subinterpreter() -> bool:
    """Whether this is not the process's main interpreter."""
    for name in ("_interpreters", "_xxsubinterpreters"):  # CPython 3.13 and newer, 3.12 and older
        try:
            interpreters = importlib.import_module(name)
        except ImportError:
            continue
        return bool(interpreters.get_current() != interpreters.get_main())
    return False


def refuse_subinterpreters() -> None:
    """Raises ImportError where this is not the process's main interpreter."""
    # The core's module loads into one interpreter of a process, whichever comes first; and with either
    # implementation CPython aborts the process when a subinterpreter ends that has a daemon thread.
    if is_subinterpreter():
        raise ImportError(
            "otlpfast can't be imported in a subinterpreter: import it in the main interpreter "
            "of the process (with mod_wsgi: WSGIApplicationGroup %{GLOBAL})"
        )


def is_true(variable: str) -> bool:
    """What a boolean variable says; one that says something else is one warning, and false."""
    text = os.environ.get(variable, "").strip().lower()
    if text not in ("", "true", "false"):
        import logging

        logging.getLogger("otlpfast").warning(
            "%s=%r is ignored: true or false is allowed; false is used", variable, text[:100]
        )
    return text == "true"


def has_core() -> bool:
    """Whether the compiled core was built."""
    # In a source tree the folder of the core's parts answers to the same name; it has no origin, a built
    # module has.
    spec = importlib.util.find_spec("otlpfast._core")
    return spec is not None and spec.origin is not None


def has_no_gil() -> bool:
    """Whether this is a free-threaded Python that was told to stay without a GIL, whatever it imports."""
    if getattr(sys, "_is_gil_enabled", lambda: True)():
        return False
    said = str(sys._xoptions.get("gil", "" if sys.flags.ignore_environment else os.environ.get("PYTHON_GIL")))
    return said == "0"


def choose() -> str:
    """The module that is the implementation. Raises ValueError or ImportError for what can't be."""
    wanted = os.environ.get(OTLPFAST_IMPL, "").strip().lower() or "auto"
    if is_true(OTLPFAST_DISABLED):  # nothing native is loaded, whatever else is used of the package
        wanted = "py"
    if wanted not in ("auto", "c", "py"):
        allowed = "auto (compiled where it was built), c (compiled), py (plain Python)"
        raise ValueError(f"OTLPFAST_IMPL={wanted!r}: one of {allowed}")
    if wanted == "py":
        return "_pure"
    # Elsewhere the import of the core switches the GIL on, and Python warns of that.
    if has_core() and not has_no_gil():
        return "_core"
    if wanted == "c" and has_core():
        raise ImportError(
            "OTLPFAST_IMPL=c, but the compiled core needs the GIL, which PYTHON_GIL=0 or -X gil=0 keeps off: "
            "leave it on, or unset OTLPFAST_IMPL"
        )
    if wanted == "c":
        raise ImportError(
            "OTLPFAST_IMPL=c, but this installation has no compiled core: "
            "reinstall with a C compiler and OTLPFAST_BUILD=require, or unset OTLPFAST_IMPL"
        )
    return "_pure"


DISABLED = os.environ.get(OTLPFAST_DISABLED, "").strip().lower() == "true"
"""Whether all names stand for the SDK's classes; ``choose()`` warns of another value, when it matters."""
