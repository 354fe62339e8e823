"""The detectors of AWS, GCP and Azure that people install, against metadata servers on loopback."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from .collector import Collector
from .detectors import Metadata, detected, nobody
from .exporting import collector_fixture  # noqa: F401
from .starting import finished

for package in (
    "opentelemetry.sdk.extension.aws",
    "opentelemetry.resourcedetector.gcp_resource_detector",
    "opentelemetry.resource.detector.azure",
):
    pytest.importorskip(package)

# Their own limits, 200 ms and up, are not what is tested here, and this machine may be busy.
PATIENT = """
import opentelemetry.resource.detector.azure.vm as vm
import opentelemetry.sdk.extension.aws.resource.ec2 as ec2
from opentelemetry.resourcedetector.gcp_resource_detector import _metadata
from urllib.request import urlopen
vm.urlopen = ec2.urlopen = lambda request, timeout: urlopen(request)
_metadata._TIMEOUT = None
"""
SHOW = PATIENT + (
    "import json, otlpfast\n"
    "provider = otlpfast.configure(exporters=[])\n"
    "print(json.dumps(dict(provider.resource.attributes)))\n"
)


@pytest.fixture(name="metadata")
def metadata_fixture() -> Iterator[Metadata]:
    servers = Metadata()
    yield servers
    servers.close()


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (
            "aws_ec2",
            {"cloud.provider": "aws", "cloud.platform": "aws_ec2", "cloud.region": "eu-central-1",
             "cloud.account.id": "123456789012", "host.id": "i-0123456789abcdef0",
             "host.name": "ip-10-0-0-1.ec2.internal", "host.type": "m7g.large"},
        ),
        (
            "gcp",
            {"cloud.provider": "gcp", "cloud.platform": "gcp_compute_engine", "cloud.account.id": "shop-prod",
             "cloud.availability_zone": "europe-west3-b", "host.name": "gce-1", "host.id": "4711"},
        ),
        (
            "azure_vm",
            {"cloud.provider": "azure", "cloud.region": "westeurope", "host.name": "azure-1",
             "host.type": "Standard_D2s_v5", "os.type": "Linux"},
        ),
    ],
)  # fmt: skip
def test_a_cloud(tmp_path: Path, metadata: Metadata, name: str, expected: dict[str, str]) -> None:
    done = detected(tmp_path, name, SHOW, **metadata.variables)
    found = json.loads(done.stdout)
    assert expected.items() <= found.items()
    assert "azure.vm.scaleset.name" not in found, "it is empty here"
    assert done.stderr == ""


def test_a_cloud_that_does_not_answer_costs_only_itself(tmp_path: Path, metadata: Metadata) -> None:
    """Here both its detector and its server would wait for ever."""
    metadata.silent.add("metadata.google.internal")
    done = detected(tmp_path, "gcp", SHOW, OTLPFAST_RESOURCE_TIMEOUT="500", **metadata.variables)
    assert "cloud.provider" not in json.loads(done.stdout)
    assert "gcp gave no answer within 500 ms" in done.stderr


def test_no_cloud_at_all(tmp_path: Path) -> None:
    """Every detector that is installed, where nobody answers: nothing is found, and nothing is said."""
    with nobody() as address:
        done = detected(tmp_path, "*", SHOW, http_proxy=address, no_proxy="127.0.0.1")
    found = json.loads(done.stdout)
    assert not any(key.startswith(("cloud.", "faas.", "k8s.")) for key in found)
    assert found["os.type"] and found["host.name"]
    assert not re.search("aws|azure|gcp|otlpfast_", done.stderr), done.stderr


def test_the_doctor_has_a_hint_for_kubernetes(collector: Collector) -> None:
    command = [sys.executable, "-m", "otlpfast.cli", "doctor", "--json"]
    for variables, hints in (({}, 1), ({"OTEL_RESOURCE_ATTRIBUTES": "k8s.pod.name=a"}, 0)):
        done = finished(command, collector, KUBERNETES_SERVICE_HOST="10.0.0.1", **variables)
        fixes = [f["fix"] for f in json.loads(done.stdout)["findings"] if f["check"] == "resource"]
        assert fixes == ["OTEL_EXPERIMENTAL_RESOURCE_DETECTORS=otlpfast_kubernetes"] * hints
        assert done.returncode == 0


def test_the_doctor_says_what_each_found(collector: Collector, metadata: Metadata) -> None:
    variables = {**metadata.variables, "OTEL_EXPERIMENTAL_RESOURCE_DETECTORS": "aws_ec2,nonsense"}
    variables["OTLPFAST_RESOURCE_TIMEOUT"] = "60000"
    code = PATIENT + "import sys; from otlpfast.cli import main; sys.exit(main(['doctor', '--json']))"
    done = finished([sys.executable, "-c", code], collector, **variables)
    said = json.loads(done.stdout)
    found = {finding["text"]: finding for finding in said["findings"] if finding["check"] == "resource"}
    [aws] = [text for text in found if text.startswith("aws_ec2 took ")]
    assert " ms: cloud.provider=aws, cloud.platform=aws_ec2, " in aws
    assert found["nonsense is not known"]["level"] == "problem"
    assert "there are *, aws_ec2, " in found["nonsense is not known"]["fix"]
    [hint] = [finding for finding in found.values() if finding["level"] == "hint"]
    assert (hint["fix"], done.returncode) == ("NO_PROXY=169.254.169.254", 1)
    settings = {setting["name"]: setting["value"] for setting in said["settings"]}
    assert settings["resource detectors"] == "aws_ec2, nonsense"
    assert settings["detection time-out"] == "60 s"
