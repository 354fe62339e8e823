"""The variables that otlpfast has beyond those of OpenTelemetry; empty is unset, in all of them.

Registered as an entry point of ``opentelemetry_environment_variables``; docs/configuration.md has the same
list.
"""

from __future__ import annotations

OTLPFAST_CARRY_CONTEXT = "OTLPFAST_CARRY_CONTEXT"
"""``true``: threads, executors, pools and processes take the current context with them. Default: false."""

OTLPFAST_DISABLED = "OTLPFAST_DISABLED"
"""``true``: the SDK's classes everywhere; nothing native is loaded. Default: false."""

OTLPFAST_FLUSH_ON_SIGTERM = "OTLPFAST_FLUSH_ON_SIGTERM"
"""``true``: what batch processors hold is flushed when SIGTERM comes. Default: false."""

OTLPFAST_IMPL = "OTLPFAST_IMPL"
"""``auto``: compiled where it was built; ``c``: compiled or an error; ``py``: plain Python. Default: auto."""

OTLPFAST_PPROF = "OTLPFAST_PPROF"
"""``HOST:PORT``: profiles of the process are served there, as Go's ``net/http/pprof`` does. Default: none."""

OTLPFAST_PPROF_TOKEN = "OTLPFAST_PPROF_TOKEN"
"""Who knows it may ask for them; needed where that is not a loopback address. Default: none."""

OTLPFAST_PROFILE_DIR = "OTLPFAST_PROFILE_DIR"
"""A directory for profiles that the process takes of itself every ten minutes. Default: none are taken."""

OTLPFAST_QUIET = "OTLPFAST_QUIET"
"""``true``: no start-up line. Default: false; it is set for the children of a process that wrote its line."""

OTLPFAST_REDACTION = "OTLPFAST_REDACTION"
"""``default``, or a JSON file with rules: what is hidden before spans are encoded. Default: nothing."""

OTLPFAST_RESOURCE_TIMEOUT = "OTLPFAST_RESOURCE_TIMEOUT"
"""How long the start waits for resource detectors, in milliseconds. Default: 2000."""

OTLPFAST_SPAN_METRICS = "OTLPFAST_SPAN_METRICS"
"""``true``: rate, errors and durations of spans as metrics, where otlpfast is configured. Default: false."""

OTLPFAST_SPOOL_DIR = "OTLPFAST_SPOOL_DIR"
"""A directory for what the collector does not take in time. Default: none, it is dropped and counted."""

OTLPFAST_TAIL_SAMPLING = "OTLPFAST_TAIL_SAMPLING"
"""``default``, or a JSON file: which traces are exported, once they have ended. Default: all."""

OTLPFAST_WEB = "OTLPFAST_WEB"
"""``HOST:PORT``: a live page of the process's spans is served there. Default: none."""

OTLPFAST_WEB_TOKEN = "OTLPFAST_WEB_TOKEN"
"""Who knows it may see that page; needed where it is not on a loopback address. Default: none."""
