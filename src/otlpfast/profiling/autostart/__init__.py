"""How ``otlpfast profile`` comes into a program from its start."""

from __future__ import annotations

import os

FOLDER = os.path.dirname(os.path.abspath(__file__))
"""Has ``sitecustomize.py``; on ``PYTHONPATH`` it has every Python process look for the order as it starts."""
