"""The Collectors of deploy/collector do what they are for: the real program, from otlpfast to a backend.

`make gateway` builds the program; it takes minutes, so without it these tests are skipped.
"""

from __future__ import annotations

import os
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from opentelemetry.trace import StatusCode

from otlpfast import BatchSpanProcessor, OTLPSpanExporter, TracerProvider

from .collector import Collector
from .exporting import free_port
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
        except urllib.error.URLError:
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


class Deployment:
    """An agent, two gateways, and a backend."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self.backend = stack.enter_context(Collector())
        whole = [f"127.0.0.1:{free_port()}" for _ in range(2)]
        # On one machine, there is no name for several addresses.
        peers = folder / "peers.yaml"
        peers.write_text(
            f"exporters: {{load_balancing: {{resolver: {{dns: null, static: {{hostnames: {whole}}}}}}}}}"
        )
        self.gateways = [
            Running(
                folder / f"gateway {number}.log",
                [CONFIGURATIONS / "gateway.yaml", peers],
                OTLP_GRPC_ENDPOINT=f"127.0.0.1:{free_port()}",
                OTLP_HTTP_ENDPOINT=f"127.0.0.1:{free_port()}",
                WHOLE_ENDPOINT=whole[number],
                METRICS_ENDPOINT=f"127.0.0.1:{free_port()}",
                BACKEND_ENDPOINT=self.backend.base,
                DECISION_WAIT="2s",
                METRICS_FLUSH_INTERVAL="1s",
                SAMPLING_PERCENTAGE="0",
            )
            for number in range(2)
        ]
        self.agent = Running(
            folder / "agent.log",
            [CONFIGURATIONS / "agent.yaml"],
            OTLP_GRPC_ENDPOINT=f"127.0.0.1:{free_port()}",
            OTLP_HTTP_ENDPOINT=f"127.0.0.1:{free_port()}",
            GATEWAY_ENDPOINT=self.gateways[0].environment["OTLP_GRPC_ENDPOINT"],
        )
        for collector in (*self.gateways, self.agent):
            stack.callback(collector.close)
        for collector in (*self.gateways, self.agent):
            until(collector.is_ready, "the Collector is ready")

    def counted(self, gateway: int) -> int:
        """The spans that a gateway's metrics speak of."""
        text = read(f"http://{self.gateways[gateway].environment['METRICS_ENDPOINT']}/metrics")
        lines = [line for line in text.splitlines() if line.startswith("traces_span_metrics_calls_total")]
        return sum(int(float(line.rpartition(" ")[2])) for line in lines)


@pytest.fixture(name="deployment")
def deployment_fixture(tmp_path: Path) -> Iterator[Deployment]:
    with ExitStack() as stack:
        for _ in range(5):
            try:
                yield Deployment(tmp_path, stack)
                return
            except PortTakenError:
                stack.close()
        pytest.fail("no free ports")


def make_traces(endpoint: str, protocol: str) -> set[int]:
    """Half of the spans of each trace come from another process, as it were; returns the traces with an error."""
    providers = [TracerProvider(), TracerProvider()]
    for provider in providers:
        provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint, protocol=protocol)))
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
def test_a_trace_with_an_error_arrives_whole_and_the_others_are_counted(
    protocol: str, deployment: Deployment
) -> None:
    way = "OTLP_GRPC_ENDPOINT" if protocol == "grpc" else "OTLP_HTTP_ENDPOINT"
    path = "" if protocol == "grpc" else "/v1/traces"
    failed = make_traces(f"http://{deployment.agent.environment[way]}{path}", protocol)
    assert len(failed) == TRACES // 3
    deployment.backend.wait_for_spans(2 * len(failed), timeout=60)
    until(lambda: deployment.counted(0) + deployment.counted(1) == 2 * TRACES, "all spans are counted")
    arrived = sorted((span.trace_id, span.name) for span in deployment.backend.spans)
    assert arrived == sorted(
        (of.to_bytes(16, "big"), name)
        for of in failed
        for name in ("front", "back")
    )
    assert deployment.counted(0) > 0
    assert deployment.counted(1) > 0
