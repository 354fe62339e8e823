"""The SDK's own configuration, imported without waiting for resource detectors."""

from __future__ import annotations

from ._detection import unwanted

__all__ = ["sdk"]

# It imports the SDK's logs, which run all detectors for the default of an argument.
with unwanted():
    from opentelemetry.sdk import _configuration as sdk
