"""Writes otlpfast.json, the Grafana dashboard, beside itself: `python generate.py`.

The panels are the list below; what Grafana wants around each of them is added here.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}
WIDTH = 24  # columns of Grafana's grid

# Where a metric is looked for; $__rate_interval is Grafana's: at least four scrapes.
HERE = 'job=~"$job", instance=~"$instance"'
SPANS = f'{HERE}, service_name=~"$service", span_kind=~"$kind"'


@dataclass(frozen=True)
class Panel:
    """One diagram, or with ``stat`` one number; queries are pairs of an expression and its legend."""

    title: str
    description: str
    unit: str  # one of Grafana's, such as "s" or "percentunit"
    queries: tuple[tuple[str, str], ...]
    width: int = 8
    stat: bool = False
    thresholds: tuple[tuple[float | None, str], ...] = ((None, "green"),)
    stacked: bool = False
    limit: float | None = None  # of the axis


def per_second(metric: str, labels: str = "", by: str = "", where: str = HERE) -> str:
    grouped = f" by ({by})" if by else ""
    selector = f"{where}, {labels}" if labels else where
    return f"sum{grouped} (rate({metric}{{{selector}}}[$__rate_interval]))"


def quantile(share: float, metric: str, by: str = "", where: str = HERE) -> str:
    return f"histogram_quantile({share}, {per_second(f'{metric}_bucket', by=f'{by}, le' if by else 'le', where=where)})"


def ratio(part: str, whole: str) -> str:
    """Nothing where there is nothing to divide by; 0, not nothing, where there is no part."""
    return f"({part} or 0 * {whole}) / ({whole} > 0)"


PROCESSED = "otel_sdk_processor_span_processed_total"
EXPORTED = "otel_sdk_exporter_span_exported_total"
OPERATION = "otel_sdk_exporter_operation_duration_seconds"
CALLS = "traces_span_metrics_calls_total"
DURATION = "traces_span_metrics_duration_seconds"
QUEUED = f"otel_sdk_processor_span_queue_size{{{HERE}}} / otel_sdk_processor_span_queue_capacity{{{HERE}}}"
QUEUED_BYTES = f"otlpfast_processor_queue_usage_bytes{{{HERE}}} / otlpfast_processor_queue_capacity_bytes{{{HERE}}}"
FULL = ((None, "green"), (0.5, "yellow"), (0.8, "red"))
ANY = ((None, "green"), (1, "red"))

ROWS: dict[str, tuple[Panel, ...]] = {
    "At a glance": (
        Panel(
            "Spans started",
            "Spans that the services chosen above start each second, sampled or not.",
            "ops",
            ((per_second("otel_sdk_span_started_total"), ""),),
            width=4,
            stat=True,
        ),
        Panel(
            "Spans delivered",
            "Spans that the collector took each second.",
            "ops",
            ((per_second(EXPORTED, 'error_type=""'), ""),),
            width=4,
            stat=True,
        ),
        Panel(
            "Spans dropped",
            "Spans lost within the time that is shown, for whatever reason. Should be 0. What is lost of spans that"
            " earlier processes left on disk is below, under Spool.",
            "short",
            ((f'sum(increase({PROCESSED}{{{HERE}, error_type!=""}}[$__range]))', ""),),
            width=4,
            stat=True,
            thresholds=ANY,
        ),
        Panel(
            "Fullest queue",
            "The fullest queue of all processors, in spans or in bytes, whichever is nearer to its limit.",
            "percentunit",
            # "or" leaves out what has the labels of something before it: they have to differ.
            (
                (
                    f'max(label_replace({QUEUED}, "limit", "spans", "", "")'
                    f' or label_replace({QUEUED_BYTES}, "limit", "bytes", "", ""))',
                    "",
                ),
            ),
            width=4,
            stat=True,
            thresholds=FULL,
        ),
        Panel(
            "Failed requests",
            "Share of the requests to the collector that failed.",
            "percentunit",
            ((ratio(per_second(f"{OPERATION}_count", 'error_type!=""'), per_second(f"{OPERATION}_count")), ""),),
            width=4,
            stat=True,
            thresholds=((None, "green"), (0.01, "yellow"), (0.1, "red")),
        ),
        Panel(
            "Waiting on disk",
            "Spans in spools: they go out when the collector takes them again.",
            "short",
            ((f"sum(otlpfast_spool_spans{{{HERE}}})", ""),),
            width=4,
            stat=True,
            thresholds=((None, "green"), (1, "yellow")),
        ),
    ),
    "Spans": (
        Panel(
            "Started",
            "Spans started each second by what the sampler decided.",
            "ops",
            ((per_second("otel_sdk_span_started_total", by="otel_span_sampling_result"), "{{otel_span_sampling_result}}"),),
            stacked=True,
        ),
        Panel(
            "Live",
            "Spans that have started and not ended. What only grows is a leak in the service.",
            "short",
            ((f"sum by (instance) (otel_sdk_span_live{{{HERE}}})", "{{instance}}"),),
        ),
        Panel(
            "Parents",
            "Where the parent of started spans is: remote ones came in with a request, none begins a trace.",
            "ops",
            ((per_second("otel_sdk_span_started_total", by="otel_span_parent_origin"), "{{otel_span_parent_origin}}"),),
            stacked=True,
        ),
    ),
    "Queue and drops": (
        Panel(
            "Queue, spans",
            "How full the fullest queue of each instance is, of its limit in spans.",
            "percentunit",
            ((f"max by (instance) ({QUEUED})", "{{instance}}"),),
            limit=1,
            thresholds=FULL,
        ),
        Panel(
            "Queue, bytes",
            "How full the fullest queue of each instance is, of its limit in bytes of encoded spans.",
            "percentunit",
            ((f"max by (instance) ({QUEUED_BYTES})", "{{instance}}"),),
            limit=1,
            thresholds=FULL,
        ),
        Panel(
            "Drops by reason",
            "Spans dropped each second. queue_full: more came than the exporter took; export_failed: the collector did"
            " not take them in time and there is no spool; too_large: a span beyond the limits; already_shutdown:"
            " ended after shutdown; encode_error, fork: see docs/reliability.md.",
            "ops",
            ((per_second(PROCESSED, 'error_type!=""', by="error_type"), "{{error_type}}"),),
            stacked=True,
        ),
    ),
    "Export": (
        Panel(
            "Spans by outcome",
            "Spans that exporters were done with each second: delivered, rejected by the collector, or why not.",
            "ops",
            (
                (per_second(EXPORTED, 'error_type=""'), "delivered"),
                (per_second(EXPORTED, 'error_type!=""', by="error_type"), "{{error_type}}"),
            ),
            stacked=True,
        ),
        Panel(
            "Requests by answer",
            "Requests to the collector each second by the status it answered with, or by the error without an answer.",
            "reqps",
            (
                (
                    per_second(f"{OPERATION}_count", by="http_response_status_code, rpc_response_status_code, error_type"),
                    "{{http_response_status_code}}{{rpc_response_status_code}} {{error_type}}",
                ),
            ),
            stacked=True,
        ),
        Panel(
            "Failed requests",
            "Share of requests that failed, by instance.",
            "percentunit",
            (
                (
                    ratio(
                        per_second(f"{OPERATION}_count", 'error_type!=""', by="instance"),
                        per_second(f"{OPERATION}_count", by="instance"),
                    ),
                    "{{instance}}",
                ),
            ),
            limit=1,
        ),
        Panel(
            "Latency",
            "How long a request to the collector takes until it is answered, or given up.",
            "s",
            tuple((quantile(share, OPERATION), f"p{share * 100:.0f}") for share in (0.5, 0.9, 0.99)),
            width=12,
        ),
        Panel(
            "In flight",
            "Spans in requests that are under way. What stays and never falls is an export that hangs.",
            "short",
            ((f"sum by (instance) (otel_sdk_exporter_span_inflight{{{HERE}}})", "{{instance}}"),),
            width=12,
        ),
    ),
    "Spool": (
        Panel(
            "Disk",
            "How much of its limit each instance's spool takes; beyond it, spans are refused and lost.",
            "percentunit",
            (
                (
                    f"max by (instance) (otlpfast_spool_usage_bytes{{{HERE}}}"
                    f" / otlpfast_spool_capacity_bytes{{{HERE}}})",
                    "{{instance}}",
                ),
            ),
            width=6,
            limit=1,
            thresholds=FULL,
        ),
        Panel(
            "Oldest",
            "Age of the oldest spans on disk. After 24 hours, or spool_max_age, they are forgotten.",
            "s",
            ((f"max by (instance) (otlpfast_spool_oldest_age_seconds{{{HERE}}})", "{{instance}}"),),
            width=6,
        ),
        Panel(
            "In and out",
            "Spans written to disk and delivered from there each second.",
            "ops",
            (
                (per_second("otlpfast_spool_written_total"), "written"),
                (per_second("otlpfast_spool_replayed_total"), "delivered"),
            ),
            width=6,
        ),
        Panel(
            "Lost",
            "Spans that a spool lost each second. refused: a limit or the disk; expired: too old or damaged;"
            " rejected: by the collector; undeliverable: given up.",
            "ops",
            ((per_second("otlpfast_spool_dropped_total", by="error_type"), "{{error_type}}"),),
            width=6,
            stacked=True,
        ),
    ),
    "Pools": (
        Panel(
            "Hits",
            "Share of blocks of memory that came from a pool and were not allocated anew.",
            "percentunit",
            (
                (
                    ratio(
                        per_second("otlpfast_pool_hits_total", by="otlpfast_pool_name"),
                        f"({per_second('otlpfast_pool_hits_total', by='otlpfast_pool_name')}"
                        f" + {per_second('otlpfast_pool_misses_total', by='otlpfast_pool_name')})",
                    ),
                    "{{otlpfast_pool_name}}",
                ),
            ),
            limit=1,
        ),
        Panel(
            "Not kept",
            "Blocks freed each second and not put back: grown too large (oversized), or the pool is full (discarded).",
            "ops",
            (
                (per_second("otlpfast_pool_oversized_total", by="otlpfast_pool_name"), "{{otlpfast_pool_name}}, oversized"),
                (per_second("otlpfast_pool_discarded_total", by="otlpfast_pool_name"), "{{otlpfast_pool_name}}, discarded"),
            ),
        ),
        Panel(
            "Idle",
            "Blocks that wait in pools to be used again.",
            "short",
            ((f"sum by (otlpfast_pool_name) (otlpfast_pool_idle{{{HERE}}})", "{{otlpfast_pool_name}}"),),
        ),
    ),
    "Requests, errors, durations: from SpanMetricsProcessor, or from the gateway's span_metrics": (
        Panel(
            "Rate",
            "The ten busiest operations: spans ended each second.",
            "reqps",
            (
                (
                    f"topk(10, {per_second(CALLS, by='service_name, span_name', where=SPANS)})",
                    "{{service_name}} {{span_name}}",
                ),
            ),
        ),
        Panel(
            "Errors",
            "The ten operations with the largest share of spans that ended with status ERROR.",
            "percentunit",
            (
                (
                    "topk(10, "
                    + ratio(
                        per_second(CALLS, 'status_code="STATUS_CODE_ERROR"', by="service_name, span_name", where=SPANS),
                        per_second(CALLS, by="service_name, span_name", where=SPANS),
                    )
                    + ")",
                    "{{service_name}} {{span_name}}",
                ),
            ),
            limit=1,
        ),
        Panel(
            "Duration, p95",
            "The ten slowest operations: 95 of 100 of their spans take no longer.",
            "s",
            (
                (
                    f"topk(10, {quantile(0.95, DURATION, by='service_name, span_name', where=SPANS)})",
                    "{{service_name}} {{span_name}}",
                ),
            ),
        ),
    ),
}


def variables() -> list[dict[str, Any]]:
    """What can be chosen above the panels."""

    def labels(name: str, label: str, metric: str) -> dict[str, Any]:
        query = f"label_values({metric}, {label})"
        return {
            "name": name,
            "label": name,
            "type": "query",
            "datasource": DATASOURCE,
            "definition": query,
            "query": {"query": query, "refId": name},
            "refresh": 2,  # when the time range changes
            "sort": 1,
            "multi": True,
            "includeAll": True,
            "allValue": ".*",
            "current": {"selected": True, "text": "All", "value": "$__all"},
            "options": [],
            "hide": 0,
            "skipUrlSync": False,
        }

    source = {
        "name": "datasource",
        "label": "data source",
        "type": "datasource",
        "query": "prometheus",
        "regex": "",
        "refresh": 1,
        "multi": False,
        "includeAll": False,
        "current": {},
        "options": [],
        "hide": 0,
        "skipUrlSync": False,
    }
    return [
        source,
        labels("job", "job", f'{{__name__=~"{PROCESSED}|{CALLS}"}}'),
        labels("instance", "instance", f'{{__name__=~"{PROCESSED}|{CALLS}", job=~"$job"}}'),
        labels("service", "service_name", f'{CALLS}{{job=~"$job"}}'),
        labels("kind", "span_kind", f'{CALLS}{{job=~"$job"}}'),
    ]


def drawn(panel: Panel) -> dict[str, Any]:
    """The parts of a panel that say how it looks."""
    defaults: dict[str, Any] = {
        "unit": panel.unit,
        "min": 0,
        "color": {"mode": "thresholds" if panel.stat else "palette-classic"},
        "thresholds": {
            "mode": "absolute",
            "steps": [{"color": color, "value": value} for value, color in panel.thresholds],
        },
    }
    if panel.limit is not None:
        defaults["max"] = panel.limit
    if panel.stat:
        defaults["noValue"] = "none"
        options: dict[str, Any] = {
            "colorMode": "value",
            "graphMode": "area",
            "justifyMode": "auto",
            "orientation": "auto",
            "textMode": "value",
            "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
        }
    else:
        defaults["custom"] = {
            "drawStyle": "line",
            "fillOpacity": 20 if panel.stacked else 5,
            "lineWidth": 1,
            "showPoints": "never",
            "stacking": {"mode": "normal" if panel.stacked else "none", "group": "A"},
        }
        options = {
            "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True, "calcs": []},
            "tooltip": {"mode": "multi", "sort": "desc"},
        }
    return {
        "type": "stat" if panel.stat else "timeseries",
        "fieldConfig": {"defaults": defaults, "overrides": []},
        "options": options,
    }


def targets(panel: Panel) -> list[dict[str, Any]]:
    return [
        {
            "datasource": DATASOURCE,
            "editorMode": "code",
            "expr": expression,
            "legendFormat": legend or "__auto",
            "range": True,
            "refId": chr(ord("A") + number),
        }
        for number, (expression, legend) in enumerate(panel.queries)
    ]


def panels(rows: dict[str, tuple[Panel, ...]]) -> Iterable[dict[str, Any]]:
    """All of them in the grid, row under row, left to right."""
    identity, top = 1, 0
    for title, row in rows.items():
        place = {"h": 1, "w": WIDTH, "x": 0, "y": top}
        yield {"id": identity, "type": "row", "title": title, "collapsed": False, "gridPos": place, "panels": []}
        identity, top, left = identity + 1, top + 1, 0
        for panel in row:
            height = 4 if panel.stat else 8
            if left + panel.width > WIDTH:
                left, top = 0, top + height
            yield {
                "id": identity,
                "title": panel.title,
                "description": panel.description,
                "datasource": DATASOURCE,
                "gridPos": {"h": height, "w": panel.width, "x": left, "y": top},
                "targets": targets(panel),
                **drawn(panel),
            }
            identity, left = identity + 1, left + panel.width
        top += height


def dashboard() -> dict[str, Any]:
    return {
        "id": None,
        "uid": "otlpfast",
        "title": "otlpfast",
        "description": "Where the spans of services with otlpfast are: made, queued, delivered, on disk, lost.",
        "tags": ["opentelemetry", "otlpfast", "python"],
        "schemaVersion": 39,
        "version": 1,
        "editable": True,
        "graphTooltip": 1,
        "timezone": "browser",
        "time": {"from": "now-1h", "to": "now"},
        "refresh": "30s",
        "annotations": {"list": []},
        "links": [],
        "templating": {"list": variables()},
        "panels": list(panels(ROWS)),
    }


def text() -> str:
    return json.dumps(dashboard(), indent=2) + "\n"


if __name__ == "__main__":
    Path(__file__).with_name("otlpfast.json").write_text(text(), encoding="utf-8")
