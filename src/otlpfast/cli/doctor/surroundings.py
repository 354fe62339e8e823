"""What resource detectors find here, and how long they take."""

from __future__ import annotations

import os
import urllib.request
from collections.abc import Iterable, Iterator

from opentelemetry.sdk.environment_variables import OTEL_EXPERIMENTAL_RESOURCE_DETECTORS
from opentelemetry.sdk.resources import Resource

from ..._detection import Detection
from .examination import Finding

_SERVERS = {
    "169.254.169.254": ("aws_ec2", "azure_vm"),
    "metadata.google.internal": ("gcp", "gcp_resource_detector"),
}
_LONGEST_VALUE = 100  # characters


def look_around(detections: Iterable[Detection]) -> Iterator[Finding]:
    """What came of each detector, and whether a proxy may have answered for a metadata server."""
    names = set()
    for detection in detections:
        names.add(detection.name)
        if detection.problem:
            yield Finding("resource", "problem", f"{detection.name} {detection.problem}", _fix(detection))
            continue
        found = detection.resource.attributes if detection.resource is not None else {}
        said = ", ".join(
            f"{key}={str(value)[:_LONGEST_VALUE]}" for key, value in found.items() if value != ""
        )
        text = f"{detection.name} took {detection.millis:.0f} ms: {said or 'found nothing'}"
        yield Finding("resource", "ok", text)
    yield from _proxies(names)


def look_at(resource: Resource) -> Iterator[Finding]:
    """Where no detector is wanted: what one would know."""
    if "KUBERNETES_SERVICE_HOST" in os.environ and not any(key[:4] == "k8s." for key in resource.attributes):
        fix = f"{OTEL_EXPERIMENTAL_RESOURCE_DETECTORS}=otlpfast_kubernetes"
        yield Finding("resource", "hint", "this is a pod of Kubernetes, and its spans don't say which", fix)


def _fix(detection: Detection) -> str:
    return detection.fix or f"take it out of {OTEL_EXPERIMENTAL_RESOURCE_DETECTORS}, or see what it logs"


def _proxies(names: set[str]) -> Iterator[Finding]:
    proxy = urllib.request.getproxies().get("http")
    asked = [server for server, askers in _SERVERS.items() if names.intersection(askers)]
    through = [server for server in asked if not urllib.request.proxy_bypass(server)]
    if proxy and through:
        text = f"{', '.join(through)} is asked through the proxy, which may answer for another machine"
        yield Finding("resource", "hint", text, f"NO_PROXY={','.join(through)}")
