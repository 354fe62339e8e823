"""What all profiles that take a time have in common."""

from __future__ import annotations

from typing import Protocol

from .profile import Profile


class ProfilerBusyError(RuntimeError):
    """Such a profile is under way in this process, and there can be one at a time."""


class Recording(Protocol):
    """A profile that is being taken."""

    def stop(self) -> Profile:
        """Ends it, and gives what was found; a second call gives the same again."""
        ...
