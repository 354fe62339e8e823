"""Exporters: how encoded spans leave the process."""

from __future__ import annotations

from .http import OTLPSpanExporter

__all__ = ["OTLPSpanExporter"]
