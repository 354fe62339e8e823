"""What the dashboard shows: rows of panels, and the expressions they ask for."""

from __future__ import annotations

from dataclasses import dataclass

Query = tuple[str, str]  # an expression and its legend
Thresholds = tuple[tuple[float | None, str], ...]  # from which value on, which colour

PROCESSED = "otel_sdk_processor_span_processed_total"
EXPORTED = "otel_sdk_exporter_span_exported_total"
STARTED = "otel_sdk_span_started_total"
REQUESTS = "otel_sdk_exporter_operation_duration_seconds"
CALLS = "traces_span_metrics_calls_total"
DURATION = "traces_span_metrics_duration_seconds"
OPERATION = "service_name, span_name"
POOL = "otlpfast_pool_name"

# What is chosen above the panels.
HERE = 'job=~"$job", instance=~"$instance"'
THERE = 'job=~"$job", service_name=~"$service", span_kind=~"$kind"'

GOOD: Thresholds = ((None, "green"),)
ANY: Thresholds = (*GOOD, (1, "red"))
FULL: Thresholds = (*GOOD, (0.5, "yellow"), (0.8, "red"))


@dataclass(frozen=True)
class Panel:
    title: str
    description: str
    unit: str  # one of Grafana's, such as "s" or "percentunit"
    queries: tuple[Query, ...]
    width: int  # of 24 columns
    number: bool = False  # one, and no diagram
    stacked: bool = False
    thresholds: Thresholds = GOOD


def graph(
    title: str, description: str, unit: str, *queries: Query, width: int = 8, stacked: bool = False
) -> Panel:
    return Panel(title, description, unit, queries, width, stacked=stacked)


def number(title: str, description: str, unit: str, expression: str, thresholds: Thresholds = GOOD) -> Panel:
    return Panel(title, description, unit, ((expression, ""),), 4, number=True, thresholds=thresholds)


def rate(metric: str, labels: str = "", by: str = "", of: str = HERE) -> str:
    """A second, over at least four scrapes: $__rate_interval is Grafana's."""
    grouped = f" by ({by})" if by else ""
    selected = f"{of}, {labels}" if labels else of
    return f"sum{grouped} (rate({metric}{{{selected}}}[$__rate_interval]))"


def quantile(share: float, histogram: str, by: str = "", of: str = HERE) -> str:
    buckets = rate(f"{histogram}_bucket", by=f"{by}, le" if by else "le", of=of)
    return f"histogram_quantile({share}, {buckets})"


def share(part: str, whole: str) -> str:
    """Nothing where there is nothing to divide by; 0, not nothing, where there is no part."""
    return f"({part} or 0 * {whole}) / ({whole} > 0)"


def used(usage: str, capacity: str) -> str:
    return f"{usage}{{{HERE}}} / {capacity}{{{HERE}}}"


QUEUE = used("otel_sdk_processor_span_queue_size", "otel_sdk_processor_span_queue_capacity")
QUEUE_BYTES = used("otlpfast_processor_queue_usage_bytes", "otlpfast_processor_queue_capacity_bytes")
SPOOL = used("otlpfast_spool_usage_bytes", "otlpfast_spool_capacity_bytes")
# "or" leaves out what has the labels of something before it: they have to differ.
FULLER = (
    f'label_replace({QUEUE}, "limit", "spans", "", "")'
    f' or label_replace({QUEUE_BYTES}, "limit", "bytes", "", "")'
)
FAILED = 'error_type!=""'
TAKEN = 'error_type=""'
HITS, MISSES = (rate(f"otlpfast_pool_{kind}_total", by=POOL) for kind in ("hits", "misses"))
VERDICT = "otlpfast_tail_sampling_verdict"
UNDECIDED = used("otlpfast_tail_sampling_usage_bytes", "otlpfast_tail_sampling_capacity_bytes")
ANSWER = "http_response_status_code, rpc_response_status_code, error_type"

ROWS: dict[str, tuple[Panel, ...]] = {
    "At a glance": (
        number("Spans started", "Spans started each second, sampled or not.", "ops", rate(STARTED)),
        number("Spans delivered", "Spans that the collector took a second.", "ops", rate(EXPORTED, TAKEN)),
        number(
            "Spans dropped",
            "Spans lost within the time that is shown, for whatever reason; should be 0. What is lost of"
            " spans that earlier processes left on disk is below, under Spool.",
            "short",
            f"sum(increase({PROCESSED}{{{HERE}, {FAILED}}}[$__range]))",
            ANY,
        ),
        number(
            "Fullest queue",
            "The fullest queue of all processors, in spans or in bytes, whichever is nearer to its limit.",
            "percentunit",
            f"max({FULLER})",
            FULL,
        ),
        number(
            "Failed requests",
            "Share of the requests to the collector that failed.",
            "percentunit",
            share(rate(f"{REQUESTS}_count", FAILED), rate(f"{REQUESTS}_count")),
            (*GOOD, (0.01, "yellow"), (0.1, "red")),
        ),
        number(
            "Waiting on disk",
            "Spans in spools: they go out when the collector takes them again.",
            "short",
            f"sum(otlpfast_spool_spans{{{HERE}}})",
            (*GOOD, (1, "yellow")),
        ),
    ),
    "Spans": (
        graph(
            "Started",
            "Spans started each second by what the sampler decided.",
            "ops",
            (rate(STARTED, by="otel_span_sampling_result"), "{{otel_span_sampling_result}}"),
            stacked=True,
        ),
        graph(
            "Live",
            "Spans that have started and not ended. What only grows is a leak in the service.",
            "short",
            (f"sum by (instance) (otel_sdk_span_live{{{HERE}}})", "{{instance}}"),
        ),
        graph(
            "Parents",
            "Where the parents of started spans are: remote ones came with a request, none begins a trace.",
            "ops",
            (rate(STARTED, by="otel_span_parent_origin"), "{{otel_span_parent_origin}}"),
            stacked=True,
        ),
    ),
    "Queue and drops": (
        graph(
            "Queue, spans",
            "How full the fullest queue of each instance is, of its limit in spans.",
            "percentunit",
            (f"max by (instance) ({QUEUE})", "{{instance}}"),
        ),
        graph(
            "Queue, bytes",
            "How full the fullest queue of each instance is, of its limit in bytes of encoded spans.",
            "percentunit",
            (f"max by (instance) ({QUEUE_BYTES})", "{{instance}}"),
        ),
        graph(
            "Drops by reason",
            "Spans dropped each second. queue_full: more came than the exporter took; export_failed: the"
            " collector did not take them in time, and there is no spool; too_large: beyond the limits;"
            " already_shutdown: ended after shutdown.",
            "ops",
            (rate(PROCESSED, FAILED, by="error_type"), "{{error_type}}"),
            stacked=True,
        ),
    ),
    "Export": (
        graph(
            "Spans by outcome",
            "Spans that exporters were done with each second: delivered, rejected, or why they failed.",
            "ops",
            (rate(EXPORTED, TAKEN), "delivered"),
            (rate(EXPORTED, FAILED, by="error_type"), "{{error_type}}"),
            stacked=True,
        ),
        graph(
            "Requests by answer",
            "Requests to the collector each second by the status that it answered with, and the error.",
            "reqps",
            (
                rate(f"{REQUESTS}_count", by=ANSWER),
                "{{http_response_status_code}}{{rpc_response_status_code}} {{error_type}}",
            ),
            stacked=True,
        ),
        graph(
            "Failed requests",
            "Share of requests that failed, by instance.",
            "percentunit",
            (
                share(
                    rate(f"{REQUESTS}_count", FAILED, by="instance"),
                    rate(f"{REQUESTS}_count", by="instance"),
                ),
                "{{instance}}",
            ),
        ),
        graph(
            "Latency",
            "How long a request to the collector takes until it is answered, or given up.",
            "s",
            *((quantile(part, REQUESTS), f"p{part * 100:.0f}") for part in (0.5, 0.9, 0.99)),
            width=12,
        ),
        graph(
            "In flight",
            "Spans in requests that are under way. What stays and never falls is an export that hangs.",
            "short",
            (f"sum by (instance) (otel_sdk_exporter_span_inflight{{{HERE}}})", "{{instance}}"),
            width=12,
        ),
    ),
    "Tail sampling": (
        graph(
            "Traces by decision",
            "Traces that were kept each second, by the reason, and those that were left out. Nothing is shown"
            " where there is no tail sampler.",
            "ops",
            (rate("otlpfast_tail_sampling_traces_total", by=VERDICT), f"{{{{{VERDICT}}}}}"),
            stacked=True,
        ),
        graph(
            "Memory",
            "How much of max_bytes traces take that wait. At the limit, it is decided on them too early.",
            "percentunit",
            (f"max by (instance) ({UNDECIDED})", "{{instance}}"),
        ),
        graph(
            "Decided early",
            "Traces each second that had not ended: for want of memory, after decision_seconds, for a flush.",
            "ops",
            (rate("otlpfast_tail_sampling_early_total"), "early"),
        ),
    ),
    "Spool": (
        graph(
            "Disk",
            "How much of its limit each instance's spool takes; beyond it, spans are refused and lost.",
            "percentunit",
            (f"max by (instance) ({SPOOL})", "{{instance}}"),
            width=6,
        ),
        graph(
            "Oldest",
            "Age of the oldest spans on disk. After 24 hours, or spool_max_age, they are forgotten.",
            "s",
            (f"max by (instance) (otlpfast_spool_oldest_age_seconds{{{HERE}}})", "{{instance}}"),
            width=6,
        ),
        graph(
            "In and out",
            "Spans written to disk, and delivered from there, each second.",
            "ops",
            (rate("otlpfast_spool_written_total"), "written"),
            (rate("otlpfast_spool_replayed_total"), "delivered"),
            width=6,
        ),
        graph(
            "Lost",
            "Spans that a spool lost each second. refused: a limit, or the disk; expired: too old, or"
            " damaged; rejected: by the collector; undeliverable: given up.",
            "ops",
            (rate("otlpfast_spool_dropped_total", by="error_type"), "{{error_type}}"),
            width=6,
            stacked=True,
        ),
    ),
    "Pools": (
        graph(
            "Hits",
            "Share of blocks of memory that came from a pool and were not allocated anew.",
            "percentunit",
            (share(HITS, f"({HITS} + {MISSES})"), f"{{{{{POOL}}}}}"),
        ),
        graph(
            "Not kept",
            "Blocks freed each second instead of kept: grown too large (oversized), or the pool is full.",
            "ops",
            (rate("otlpfast_pool_oversized_total", by=POOL), f"{{{{{POOL}}}}}, oversized"),
            (rate("otlpfast_pool_discarded_total", by=POOL), f"{{{{{POOL}}}}}, pool full"),
        ),
        graph(
            "Idle",
            "Blocks that wait in pools to be used again.",
            "short",
            (f"sum by ({POOL}) (otlpfast_pool_idle{{{HERE}}})", f"{{{{{POOL}}}}}"),
        ),
    ),
    "Requests, errors, durations: from SpanMetricsProcessor, or from the gateway's span_metrics": (
        graph(
            "Rate",
            "The ten busiest operations: spans ended each second.",
            "reqps",
            (f"topk(10, {rate(CALLS, by=OPERATION, of=THERE)})", "{{service_name}} {{span_name}}"),
        ),
        graph(
            "Errors",
            "The ten operations with the largest share of spans that ended with status ERROR.",
            "percentunit",
            (
                "topk(10, {})".format(
                    share(
                        rate(CALLS, 'status_code="STATUS_CODE_ERROR"', by=OPERATION, of=THERE),
                        rate(CALLS, by=OPERATION, of=THERE),
                    )
                ),
                "{{service_name}} {{span_name}}",
            ),
        ),
        graph(
            "Duration, p95",
            "The ten slowest operations: 95 of 100 of their spans take no longer.",
            "s",
            (
                f"topk(10, {quantile(0.95, DURATION, by=OPERATION, of=THERE)})",
                "{{service_name}} {{span_name}}",
            ),
        ),
    ),
}
