"""How the body of a request is compressed. What not every Python has is imported when it is asked for."""

from __future__ import annotations

import importlib
import logging
import sys
import zlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

from .endpoint import Unusable, printable

if TYPE_CHECKING:
    from .connection import Part

logger = logging.getLogger("otlpfast.export")

COMPRESSIONS = ("none", "gzip", "deflate", "zstd")

# The cheapest levels: beyond them CPU grows by more than size shrinks.
_ZLIB_LEVEL = 1
_ISAL_LEVEL = 2
_ZSTD_LEVEL = 1
_WINDOW_BITS = {"gzip": 31, "deflate": 15}


class Compressor(Protocol):
    """Compresses one request."""

    def compress(self, data: Part, /) -> bytes:
        """What is ready after this part."""

    def flush(self) -> bytes:
        """The rest."""


def compressor_of(compression: str) -> Callable[[], Compressor]:
    """What makes a compressor for each request. Raises Unusable where this Python lacks what it takes."""
    if compression == "zstd":
        zstd = _zstd()
        return lambda: zstd.ZstdCompressor(level=_ZSTD_LEVEL)
    bits, isal = _WINDOW_BITS[compression], _isal()
    if isal is not None:
        return lambda: isal.compressobj(_ISAL_LEVEL, isal.DEFLATED, bits)
    return lambda: zlib.compressobj(_ZLIB_LEVEL, zlib.DEFLATED, bits)


def _zstd() -> Any:
    standard = sys.version_info >= (3, 14)
    try:
        return importlib.import_module("compression.zstd" if standard else "backports.zstd")
    except ModuleNotFoundError:
        problem = "this Python was built without it" if standard else "it takes `pip install otlpfast[zstd]`"
    except ImportError as error:
        problem = f"its module cannot be imported ({printable(str(error))})"
    raise Unusable(f"'zstd' cannot be used: {problem}; allowed without it: none, gzip, deflate")


def _isal() -> Any:
    """A zlib that is several times as fast, if it is installed."""
    try:
        return importlib.import_module("isal.isal_zlib")
    except ModuleNotFoundError:
        return None
    except ImportError as error:
        reason = printable(str(error))
        logger.warning("isal is installed and cannot be imported (%s); compressing with zlib", reason)
        return None
