"""Keeps encoded requests on disk that could not be delivered, until they can be, also by a later process."""

from __future__ import annotations

from .segments import Record
from .spool import Spool

__all__ = ["Record", "Spool"]
