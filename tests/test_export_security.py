"""What neither exporter does: show a secret, send a header that breaks out of its line, unpack a bomb."""

from __future__ import annotations

import logging
import subprocess
import sys
import zlib
from pathlib import Path
from typing import Any

import grpc
import pytest

from otlpfast import OTLPSpanExporter

from .collector import PATIENCE, Collector, Reply
from .exporting import SECRET, batch, free_port, one_warning, warnings
from .grpc_collector import Failure, GRPCCollector, partial

Code = grpc.StatusCode
PROTOCOLS = ("http/protobuf", "grpc")
ROOT = Path(__file__).parent.parent
BREAKS = ["\r\nx-injected: 1", "\n", "\r", "\0"]


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("end", BREAKS, ids=repr)
@pytest.mark.parametrize("place", ["name", "value"])
def test_a_line_break_in_a_header_is_refused_at_start(protocol: str, end: str, place: str) -> None:
    headers = {f"x-key{end}": SECRET} if place == "name" else {"x-key": SECRET + end}
    with pytest.raises(ValueError, match="headers: 'x-key") as caught:
        OTLPSpanExporter(protocol=protocol, headers=headers)
    assert SECRET not in str(caught.value)
    assert caught.value.__context__ is None


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_line_break_in_the_variable_costs_its_entry_and_shows_nothing(
    protocol: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", f"a=1,authorization=Bearer%20{SECRET}%0D%0Ax-injected:1")
    exporter = OTLPSpanExporter(protocol=protocol)
    assert exporter._exporter._settings.headers == {"a": "1"}
    assert "number 2 cannot be used" in one_warning(caplog)
    assert SECRET not in caplog.text
    exporter.shutdown(0)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_no_part_of_an_exporter_shows_a_secret(protocol: str) -> None:
    exporter = OTLPSpanExporter(
        f"http://user:{SECRET}@127.0.0.1:1/v1?key={SECRET}",
        {"authorization": f"Bearer {SECRET}", "x-key": SECRET},
        protocol=protocol,
    )
    inner: Any = exporter._exporter
    # Other code reads `_endpoint`, as from the official exporter: it is the URL with its query.
    parts = {name: part for name, part in vars(inner).items() if name != "_endpoint"}
    assert SECRET not in repr(exporter) + str(exporter) + repr(inner) + repr(parts)
    exporter.shutdown(0)


def test_secrets_never_reach_a_log_however_a_collector_answers_over_grpc(
    caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    """Nor the standard error, to which gRPC itself writes."""
    caplog.set_level(logging.DEBUG)
    text = f"Bearer token-{SECRET} / token-{SECRET} / {SECRET} / request too large"
    answers: list[Any] = [
        Failure(Code.UNAUTHENTICATED, text),
        Failure(Code.INVALID_ARGUMENT, text),
        Failure(Code.UNAVAILABLE, text, delay=3600),
        Failure(Code.RESOURCE_EXHAUSTED, text),  # one span, too large
        Failure(Code.UNKNOWN, text),
        partial(1, text),
        partial(0, text),
    ]
    with GRPCCollector() as collector:
        collector.script(*answers)
        exporter = OTLPSpanExporter(
            f"http://user:{SECRET}@127.0.0.1:{collector.port}",
            {"authorization": f"Bearer token-{SECRET}", "x-key": SECRET},
            protocol="grpc",
        )
        for _ in answers:
            exporter.export_batch(batch(1))
        assert len(collector.requests) == len(answers)
    exporter.export_batch(batch(1), timeout=0.3)
    exporter.shutdown(0)
    exporter.export_batch(batch(1))
    assert len(warnings(caplog)) == len(answers) + 1  # UNAVAILABLE comes twice
    assert SECRET not in caplog.text + "".join(capfd.readouterr()) + repr(exporter)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_secrets_do_not_reach_the_log_when_nobody_listens(
    protocol: str, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    exporter = OTLPSpanExporter(
        f"http://user:{SECRET}@127.0.0.1:{free_port()}",
        {"authorization": f"Bearer {SECRET}"},
        timeout=0.3,
        protocol=protocol,
    )
    assert exporter.export_batch(batch()).failed == 3
    exporter.shutdown(0)
    assert "connection refused" in one_warning(caplog)
    assert SECRET not in caplog.text + "".join(capfd.readouterr())


# --- a bomb: 1 GiB in 1 MiB


MEMORY = """
import re, sys, requests
from pathlib import Path
from otlpfast import OTLPSpanExporter
from tests.exporting import batch

def peak():
    status = Path("/proc/self/status").read_text()
    return int(re.search(r"VmHWM:\\s+(\\d+) kB", status)[1]) / 1024

exporter = OTLPSpanExporter(sys.argv[1], session={session})
assert exporter.export_batch(batch()).exported == 3
before = peak()
assert exporter.export_batch(batch()).rejected == 3
print(peak() - before)
"""


def bomb(bits: int) -> bytes:
    """A valid stream: after a full flush zlib starts afresh, so that one block can be repeated."""
    block = bytes(16 << 20)
    packer = zlib.compressobj(9, zlib.DEFLATED, bits)
    head = packer.compress(block) + packer.flush(zlib.Z_FULL_FLUSH)
    again = packer.compress(block) + packer.flush(zlib.Z_FULL_FLUSH)
    return head + again * 63 + packer.flush()


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc to see the peak of memory")
@pytest.mark.parametrize("session", ["None", "requests.Session()"], ids=["own connection", "session"])
@pytest.mark.parametrize(("encoding", "bits"), [("gzip", 31), ("deflate", 15)])
def test_a_bomb_of_1_gib_stays_within_a_few_mib(encoding: str, bits: int, session: str) -> None:
    with Collector() as collector:
        collector.script(Reply(), Reply(body=bomb(bits), headers={"Content-Encoding": encoding}))
        done = subprocess.run(
            [sys.executable, "-c", MEMORY.format(session=session), collector.endpoint],
            capture_output=True,
            text=True,
            cwd=ROOT,
            timeout=PATIENCE * 3,
        )
    assert done.returncode == 0, done.stderr
    assert "answered with more than 4 MiB; 3 spans given up" in done.stderr
    assert float(done.stdout) < 24, done.stdout
