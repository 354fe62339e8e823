"""The version, which only pyproject.toml knows."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("otlpfast")
except PackageNotFoundError:  # a source tree on the path, not installed
    __version__ = "0+unknown"
