"""Resource detectors for tests, installed as a package would be, and metadata servers for the real ones."""

from __future__ import annotations

import json
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from .collector import Collector
from .starting import SOURCE, python

_CODE = """\
import os, threading
from opentelemetry.sdk.resources import Resource, ResourceDetector
together = threading.Barrier(2)
class Base(ResourceDetector):
    def detect(self):
        return Resource(self.find())
class Quick(Base):
    def find(self):
        return {"quick": 1, "service.name": "by a detector", "empty": "full", "who": "quick"}
class Empty(Base):
    def find(self):
        return {"empty": "", "who": "empty"}
class Hangs(Base):
    def find(self):
        threading.Event().wait()
class Raises(Base):
    def find(self):
        raise RuntimeError("no good")
class Exits(Base):
    def find(self):
        raise SystemExit
class Wrong(ResourceDetector):
    def detect(self):
        return {}
class Broken(Base):
    def __init__(self):
        raise OSError("not here")
class Partner(Base):
    def find(self):
        together.wait()
        return {f"together.{type(self).__name__}": True}
class Other(Partner):
    pass
class First(ResourceDetector):
    def detect(self):
        return Resource({"first": 1}, "https://opentelemetry.io/schemas/1.1.0")
class Second(ResourceDetector):
    def detect(self):
        return Resource({"second": 1}, "https://opentelemetry.io/schemas/1.2.0")
class Told(Base):
    def is_process_dependent(self):
        return True
    def find(self):
        from opentelemetry.instrumentation.utils import is_instrumentation_enabled
        print("detects", flush=True)
        return {"pid": os.getpid(), "instrumented": is_instrumentation_enabled()}
"""


def install(folder: Path) -> None:
    """Makes ``folder`` one that has a package of detectors, each by its name in lower case."""
    (folder / "detectors_of_tests.py").write_text(_CODE)
    info = folder / "detectors_of_tests-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: detectors-of-tests\nVersion: 1.0\n")
    kinds = [line[6:].partition("(")[0] for line in _CODE.splitlines() if line.startswith("class ")]
    lines = [f"{kind.lower()} = detectors_of_tests:{kind}" for kind in kinds]
    (info / "entry_points.txt").write_text("\n".join(["[opentelemetry_resource_detector]", *lines]))


def detected(
    folder: Path, names: str, code: str, collector: Collector | None = None, **variables: str
) -> subprocess.CompletedProcess[str]:
    """A program with these detectors wanted, that has come to its end."""
    variables.setdefault("OTLPFAST_RESOURCE_TIMEOUT", "60000")
    variables["OTEL_EXPERIMENTAL_RESOURCE_DETECTORS"] = names
    return python(code, collector, PYTHONPATH=f"{SOURCE}:{folder}", **variables)


# --- metadata servers

AWS = {"accountId": "123456789012", "region": "eu-central-1", "availabilityZone": "eu-central-1a"}
AWS |= {"instanceId": "i-0123456789abcdef0", "instanceType": "m7g.large"}
TOKEN = "a-token-of-imdsv2"
GCP = {
    "instance": {
        "id": 4711,
        "machineType": "projects/1/machineTypes/e2-medium",
        "name": "gce-1",
        "zone": "projects/1/zones/europe-west3-b",
        "attributes": {},
    },
    "project": {"projectId": "shop-prod"},
}
AZURE = {
    "vmScaleSetName": "",
    "sku": "22_04-lts",
    "location": "westeurope",
    "resourceId": "/subscriptions/1/vm",
}
AZURE |= {"vmId": "02aab8a4-74ef-476e-8182-f6d2ba4166a6", "name": "azure-1", "vmSize": "Standard_D2s_v5"}
AZURE |= {"osType": "Linux", "version": "22.04.202"}


class Metadata:
    """The metadata servers of AWS (IMDSv2), GCP and Azure, to those whose proxy it is. Until ``close()``."""

    def __init__(self) -> None:
        self.silent: set[str] = set()  # hosts that take a connection and say nothing
        self.asked: list[str] = []
        self.closing = threading.Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
        self._server.daemon_threads, self._server.block_on_close = True, False
        self._server.metadata = self  # type: ignore[attr-defined]
        self.address = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    @property
    def variables(self) -> dict[str, str]:
        """What has a program ask here."""
        return {"http_proxy": self.address, "no_proxy": "127.0.0.1,localhost"}

    def close(self) -> None:
        self.closing.set()
        self._server.shutdown()
        self._server.server_close()

    def answer(self, method: str, url: str, headers: Any) -> tuple[int, str]:
        place = urlsplit(url)
        where = f"{place.hostname}{place.path}"
        self.asked.append(f"{method} {where}")
        if place.hostname in self.silent:
            self.closing.wait()
            return 503, ""
        token = headers.get("X-aws-ec2-metadata-token") == TOKEN
        google = headers.get("Metadata-Flavor") == "Google"
        answers = {
            ("PUT", "169.254.169.254/latest/api/token"): (True, TOKEN),
            ("GET", "169.254.169.254/latest/dynamic/instance-identity/document"): (token, json.dumps(AWS)),
            ("GET", "169.254.169.254/latest/meta-data/hostname"): (token, "ip-10-0-0-1.ec2.internal"),
            ("GET", "169.254.169.254/metadata/instance/compute"): (
                headers.get("Metadata") == "True",
                json.dumps(AZURE),
            ),
            ("GET", "metadata.google.internal/computeMetadata/v1/instance/"): (google, "{}"),
            ("GET", "metadata.google.internal/computeMetadata/v1/"): (google, json.dumps(GCP)),
        }
        allowed, text = answers.get((method, where), (True, ""))
        return (200 if text else 404, text) if allowed else (401, "")


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        status, text = self.server.metadata.answer(self.command, self.path, self.headers)  # type: ignore[attr-defined]
        self.send_response(status)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())

    do_PUT = do_GET

    def log_message(self, format: str, *args: Any) -> None:
        """Tests read what was asked, not a log."""


@contextmanager
def nobody() -> Iterator[str]:
    """The address of a port that refuses connections, and that nobody else can take."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{taken.getsockname()[1]}"
