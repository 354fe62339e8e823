"""Spans at a steady rate, to a collector that is killed, hangs, resets connections, comes back."""
