"""Exporters: how encoded spans leave the process."""

from __future__ import annotations

from .exporter import OTLPSpanExporter

__all__ = ["OTLPSpanExporter"]
