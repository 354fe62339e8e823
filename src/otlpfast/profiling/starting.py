"""Profiles of a process whose environment asks for them: ``OTLPFAST_PROFILE_DIR``. Trouble is one line."""

from __future__ import annotations

import logging
import os

from .._components import variable
from .._log import warn
from ..environment_variables import OTLPFAST_PROFILE_DIR
from .periodic import PeriodicProfiles
from .profiler import Profiler

_logger = logging.getLogger("otlpfast.configuration")

_periodic: PeriodicProfiles | None = None


def profile_by_variables() -> None:
    """Begins periodic profiles in the directory of that variable. Never raises; once is enough."""
    global _periodic
    path = variable(OTLPFAST_PROFILE_DIR)
    if _periodic is not None or not path:
        return
    try:
        _periodic = Profiler().start_periodic(path)
    except Exception as error:
        text = "%s=%r: no periodic profiles of process %d: %s"
        why = (error.strerror or str(error)) if isinstance(error, OSError) else str(error)
        warn(_logger, text, OTLPFAST_PROFILE_DIR, path[:300], os.getpid(), why)
