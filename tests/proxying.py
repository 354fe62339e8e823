"""The proxies of deploy/proxies as processes, with the configurations as they are but for addresses."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest

from .collector import Collector
from .pipeline import until
from .starting import under_way

CONFIGURATIONS = Path(__file__).parent.parent / "deploy" / "proxies"
FILES = {"envoy": "envoy.yaml", "nginx": "nginx.conf", "haproxy": "haproxy.cfg"}
# Beside this Python, and among the commands of an administrator, too.
PLACES = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", ""), "/usr/sbin"])
SMALL = "{layers: [{name: tests, static_layer: {tracing.opentelemetry.min_flush_spans: 1}}]}"  # at once


def command_of(proxy: str) -> str:
    """The path of its program; the test is skipped where there is none."""
    found = shutil.which(proxy, path=PLACES)
    if found is None or not CONFIGURATIONS.exists():
        pytest.skip(f"no {proxy}: .ci/run installs it")
    return found


def configured(proxy: str, folder: Path, changes: dict[str, str]) -> Path:
    """Its configuration with other addresses."""
    text = (CONFIGURATIONS / FILES[proxy]).read_text(encoding="utf-8")
    for written, instead in changes.items():
        assert text.count(written) == 1, written
        text = text.replace(written, instead)
    path = folder / FILES[proxy]
    path.write_text(text, encoding="utf-8")
    return path


def command(proxy: str, folder: Path, service: str, collector: Collector) -> list[str]:
    """What starts it, so that it listens on the socket ``listens`` in the folder."""
    program, listens = command_of(proxy), folder / "listens"
    host, port = service.split(":")
    if proxy == "nginx":
        changes = {"10000;": f"unix:{listens};", "localhost:8080": service}
        changes["/tmp/nginx-otlpfast.pid"] = str(folder / "pid")
        path = configured(proxy, folder, changes)
        return [program, "-c", str(path), "-g", "daemon off; master_process off;"]
    if proxy == "haproxy":
        path = configured(proxy, folder, {"bind :10000": f"bind unix@{listens}", "localhost:8080": service})
        return [program, "-f", str(path)]
    changes = {
        "{socket_address: {address: 0.0.0.0, port_value: 10000}}": f"{{pipe: {{path: {listens}}}}}",
        "{address: localhost, port_value: 8080}": f"{{address: {host}, port_value: {port}}}",
        "{address: localhost, port_value: 4318}": f"{{address: 127.0.0.1, port_value: {collector.port}}}",
    }
    path = configured(proxy, folder, changes)
    options = ["--disable-hot-restart", "--concurrency", "1", "--config-yaml", f"layered_runtime: {SMALL}"]
    return [program, "-c", str(path), *options]


class Proxy(NamedTuple):
    """Where it listens, and what it has printed."""

    address: str
    log: Path

    def waits_for_line(self, *parts: str) -> None:
        """Until its log has a line with all of these."""

        def found() -> bool:
            lines = self.log.read_text("utf-8").splitlines()
            return any(all(part in line for part in parts) for line in lines)

        until(found, f"a line with {parts} was logged", 60)


@contextmanager
def proxied(proxy: str, service: str, collector: Collector) -> Iterator[Proxy]:
    """A proxy in front of a service, which listens on a Unix socket."""
    with ExitStack() as stack:
        # Not one of pytest's: the path of a socket has to be short.
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="otlpfast-")))
        starting = command(proxy, folder, service, collector)
        log, listens = folder / "log", str(folder / "listens")
        inherited = {name: value for name, value in os.environ.items() if name != "LD_PRELOAD"}
        output = stack.enter_context(log.open("ab"))
        settings = {"env": inherited, "stdout": output, "stderr": subprocess.STDOUT}
        process = stack.enter_context(under_way(starting, **settings))

        def is_ready() -> bool:
            assert process.poll() is None, log.read_text("utf-8")
            with socket.socket(socket.AF_UNIX) as client:
                return client.connect_ex(listens) == 0

        until(is_ready, f"{proxy} is ready", 60)
        yield Proxy(listens, log)
