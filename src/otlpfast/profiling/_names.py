"""What a function is called where many are listed: its module's name before its own."""

from __future__ import annotations

import re
import sys
from functools import lru_cache
from typing import Literal

_SUFFIXES = (".py", ".pyx", ".pxi", ".pyw", ".pyc", ".so", ".pyd")
# Of installed packages, of the standard library, of what is frozen into the interpreter.
_LIBRARY = re.compile(
    r"(?:^|.*/)(?:site-packages|dist-packages|python3(?:\.\d+t?)?|lib-dynload)/(?!\.\.)(.+)", re.DOTALL
)
_INSTALLED = re.compile(r".*/(?:site-packages|dist-packages)/", re.DOTALL)
_FROZEN = re.compile(r"<frozen ([\w.]+)>")

Place = Literal["application", "library", "standard"]


@lru_cache(maxsize=8192)
def module_of(filename: str) -> str:
    """The dotted name of a source file, by its place in a library or under ``sys.path``; "" is unknown.

    A file that is under neither is called by its own name.
    """
    if frozen := _FROZEN.fullmatch(filename):
        return frozen[1]
    path = filename.replace("\\", "/")
    if not path.endswith(_SUFFIXES):
        return ""
    within = _under_library(path) or _under_path(path) or path.rpartition("/")[2]
    parts = within.split("/")
    parts[-1] = parts[-1].split(".")[0]
    if parts[-1] == "__init__" and len(parts) > 1:
        del parts[-1]
    return ".".join(parts)


def place_of(filename: str) -> Place:
    """Whose a file is: an installed package's, Python's own (as what has no file is), the application's."""
    path = filename.replace("\\", "/")
    if _INSTALLED.match(path):
        return "library"
    return "standard" if not path or _FROZEN.fullmatch(path) or _LIBRARY.match(path) else "application"


def _under_library(path: str) -> str:
    found = _LIBRARY.match(path)
    return found[1] if found else ""


def _under_path(path: str) -> str:
    """What is left of a path after the longest entry of ``sys.path`` that it begins with."""
    entries = (
        entry.replace("\\", "/").rstrip("/") + "/" for entry in sys.path if isinstance(entry, str) and entry
    )
    longest = max((entry for entry in entries if path.startswith(entry)), key=len, default="")
    return path[len(longest) :] if longest else ""
