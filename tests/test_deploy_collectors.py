"""The Collectors of deploy/collector do what they are for: the real program, from otlpfast to a backend.

`make gateway` builds the program; it takes minutes, so without it these tests are skipped.
"""

from __future__ import annotations

import os
import subprocess
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import grpc
import pytest
from opentelemetry.trace import StatusCode

from otlpfast import BatchSpanProcessor, OTLPSpanExporter, TracerProvider

from .collector import Collector
from .exporting import free_port
from .grpc_collector import Failure, GRPCCollector
from .pipeline import until

ROOT = Path(__file__).parent.parent
CONFIGURATIONS = ROOT / "deploy" / "collector"
BINARY = ROOT / "build" / "collector" / "otelcol-deploy"
if not (BINARY.exists() and CONFIGURATIONS.exists()):
    pytest.skip(f"{BINARY} is not there: `make gateway` builds it", allow_module_level=True)

TRACES = 60


class PortTakenError(Exception):
    """Another program was faster."""


class Running:
    """The Collector with one of the configurations, ready."""

    def __init__(self, log: Path, configurations: list[Path], **environment: str) -> None:
        self.health = f"http://127.0.0.1:{free_port()}"
        self.environment = {
            "HEALTH_ENDPOINT": self.health.removeprefix("http://"),
            "TELEMETRY_PORT": str(free_port()),
            **environment,
        }
        self.log = log
        # LD_PRELOAD: what a run under sanitizers has set for Python.
        inherited = {name: value for name, value in os.environ.items() if name != "LD_PRELOAD"}
        command = [str(BINARY), *(f"--config={configuration}" for configuration in configurations)]
        with log.open("wb") as output:
            self.process = subprocess.Popen(
                command, env=inherited | self.environment, stdout=output, stderr=subprocess.STDOUT
            )

    def is_ready(self) -> bool:
        if self.process.poll() is not None:
            text = self.log.read_text()
            raise PortTakenError if "address already in use" in text else AssertionError(text)
        try:
            return bool(read(self.health))
        except OSError:
            return False

    def close(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(60)
        finally:
            self.process.kill()


def read(url: str) -> str:
    with urllib.request.urlopen(url, timeout=30) as answer:
        return str(answer.read().decode())


@pytest.fixture(name="stack")
def stack_fixture() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def started(stack: ExitStack, collectors: Callable[[], list[Running]]) -> list[Running]:
    """What the function starts, when it is ready; with other ports where one was taken meanwhile."""
    for _ in range(5):
        with ExitStack() as attempt:
            running = collectors()
            for each in running:
                attempt.callback(each.close)
            try:
                for each in running:
                    until(each.is_ready, "the Collector is ready")
            except PortTakenError:
                continue
            stack.push(attempt.pop_all())
            return running
    pytest.fail("no free ports")


def local() -> str:
    return f"127.0.0.1:{free_port()}"


def endpoint(collector: Running, protocol: str) -> str:
    if protocol == "grpc":
        return f"http://{collector.environment['OTLP_GRPC_ENDPOINT']}"
    return f"http://{collector.environment['OTLP_HTTP_ENDPOINT']}/v1/traces"


def agent_and_gateways(folder: Path, backend: str) -> list[Running]:
    """An agent, and two gateways, to the first of which it sends."""
    whole = [local(), local()]
    # In place of a name for several addresses.
    peers = folder / "peers.yaml"
    peers.write_text(
        f"exporters: {{load_balancing: {{resolver: {{dns: null, static: {{hostnames: {whole}}}}}}}}}"
    )
    gateways = [
        Running(
            folder / f"gateway {number}.log",
            [CONFIGURATIONS / "gateway.yaml", peers],
            OTLP_GRPC_ENDPOINT=local(),
            OTLP_HTTP_ENDPOINT=local(),
            WHOLE_ENDPOINT=whole[number],
            METRICS_ENDPOINT=local(),
            METRICS_FLUSH_INTERVAL="1s",
            BACKEND_ENDPOINT=backend,
            DECISION_WAIT="2s",
            SAMPLING_PERCENTAGE="0",
        )
        for number in range(2)
    ]
    agent = Running(
        folder / "agent.log",
        [CONFIGURATIONS / "agent.yaml"],
        OTLP_GRPC_ENDPOINT=local(),
        OTLP_HTTP_ENDPOINT=local(),
        GATEWAY_ENDPOINT=gateways[0].environment["OTLP_GRPC_ENDPOINT"],
    )
    return [agent, *gateways]


def counted(gateway: Running) -> int:
    """The spans that a gateway's metrics speak of."""
    text = read(f"http://{gateway.environment['METRICS_ENDPOINT']}/metrics")
    lines = [line for line in text.splitlines() if line.startswith("traces_span_metrics_calls_total{")]
    return sum(int(float(line.rpartition(" ")[2])) for line in lines)


def make_traces(to: str, protocol: str) -> set[int]:
    """Half of each trace comes from another process, as it were; returns the traces with an error."""
    providers = [TracerProvider(), TracerProvider()]
    for provider in providers:
        provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(to, protocol=protocol)))
    front, back = (provider.get_tracer("tests") for provider in providers)
    failed = set()
    for number in range(TRACES):
        with front.start_as_current_span("front") as root, back.start_as_current_span("back") as child:
            if number % 3 == 0:
                child.set_status(StatusCode.ERROR)
                failed.add(root.get_span_context().trace_id)
    for provider in providers:
        assert provider.force_flush()
        provider.shutdown()
    return failed


@pytest.mark.parametrize("protocol", ["http/protobuf", "grpc"])
def test_a_trace_with_an_error_arrives_whole_and_the_others_are_only_counted(
    protocol: str, tmp_path: Path, stack: ExitStack
) -> None:
    backend = stack.enter_context(Collector())
    agent, *gateways = started(stack, lambda: agent_and_gateways(tmp_path, backend.base))
    failed = make_traces(endpoint(agent, protocol), protocol)
    assert len(failed) == TRACES // 3
    backend.wait_for_spans(2 * len(failed), timeout=60)
    until(lambda: sum(map(counted, gateways)) == 2 * TRACES, "all spans are counted")
    assert all(map(counted, gateways)), "one gateway got all traces"
    arrived = sorted((span.trace_id, span.name) for span in backend.spans)
    assert arrived == sorted((of.to_bytes(16, "big"), name) for of in failed for name in ("front", "back"))


def test_what_an_agent_has_no_room_for_waits_on_disk_and_arrives(tmp_path: Path, stack: ExitStack) -> None:
    gateway = stack.enter_context(GRPCCollector())
    gateway.script(then=Failure(grpc.StatusCode.UNAVAILABLE))
    small = tmp_path / "small.yaml"
    small.write_text(
        "exporters: {otlp_grpc: {retry_on_failure: {initial_interval: 100ms, max_interval: 1s},"
        " sending_queue: {queue_size: 60_000, batch: {min_size: 1_000, max_size: 20_000}}}}"
    )
    [agent] = started(
        stack,
        lambda: [
            Running(
                tmp_path / "agent.log",
                [CONFIGURATIONS / "agent.yaml", small],
                OTLP_GRPC_ENDPOINT=local(),
                OTLP_HTTP_ENDPOINT=local(),
                GATEWAY_ENDPOINT=f"127.0.0.1:{gateway.port}",
            )
        ],
    )
    exporter = OTLPSpanExporter(endpoint(agent, "http/protobuf"), timeout=1)
    processor = BatchSpanProcessor(exporter, max_export_batch_size=10, spool_dir=tmp_path / "spool")
    provider = TracerProvider()
    provider.add_span_processor(processor)
    tracer = provider.get_tracer("tests")
    names = [f"span {number}" for number in range(200)]
    for name in names:
        tracer.start_span(name, attributes={"text": "x" * 1000}).end()
    assert provider.force_flush(60_000)
    stats = processor.stats()
    assert stats["exported"] > 0
    assert stats["spooled"] > 0
    assert stats["exported"] + stats["spooled"] == len(names)
    gateway.script(then=b"")
    until(lambda: len(gateway.accepted) == len(names), "all spans have arrived")
    assert sorted(span.name for span in gateway.accepted) == sorted(names)
    provider.shutdown()
