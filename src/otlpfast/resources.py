"""Resource detectors for containers and Kubernetes, from what a container sees of itself; they ask no server.

``OTEL_EXPERIMENTAL_RESOURCE_DETECTORS=otlpfast_container,otlpfast_kubernetes`` has them used, by otlpfast or
by the SDK. Attributes are those of the semantic conventions (resource/container.md, resource/k8s.md).
"""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Iterator

from opentelemetry.sdk.resources import Resource, ResourceDetector

__all__ = ["ContainerDetector", "KubernetesDetector"]

_CGROUP = "/proc/self/cgroup"
_MOUNTS = "/proc/self/mountinfo"
_HOSTS = "/etc/hosts"
_NAMESPACE = "/var/run/secrets/kubernetes.io/serviceaccount/namespace"

_ID = r"[0-9a-f]{64}"
# A part of a path by itself, as in docker/ID, or of a unit, as docker-ID.scope; on Fargate it is shorter.
_IN_CGROUP = re.compile(rf"(?:[/:-])({_ID}|[0-9a-f]{{32}}-[0-9]{{10}})(?:\.scope)?(?=/|$)")
# Docker and Podman. What containerd mounts there for Kubernetes is the pod's, not the container's.
_IN_MOUNT = re.compile(rf"/(?:overlay-)?containers/({_ID})/")
_UID = "[0-9a-f]{8}[-_][0-9a-f]{4}[-_][0-9a-f]{4}[-_][0-9a-f]{4}[-_][0-9a-f]{12}"
_POD_IN_MOUNT = re.compile(rf"/pods/({_UID})/(?:etc-hosts|containers/([^/]+)/)")
_POD_IN_CGROUP = re.compile(rf"[/-]pod({_UID})(?:\.slice)?/")

_LONGEST_HOST_NAME = 63  # of a longer pod's name, the host name is a part
_HOSTS_OF_A_POD = "# Kubernetes-managed hosts file."  # with the host's network, it says so


class ContainerDetector(ResourceDetector):
    """``container.id``, by cgroup v1 or v2, of Docker, Podman, containerd, CRI-O and ECS.

    Under cgroup v2, a container of Kubernetes can't know its id: see ``KubernetesDetector``.
    """

    def detect(self) -> Resource:
        """The id, where there is one; nothing outside of a container."""
        found = _container_id()
        return Resource({"container.id": found} if found else {})


class KubernetesDetector(ResourceDetector):
    """Pod, namespace, container and node, as far as a container of Kubernetes knows them.

    By the variables ``POD_NAME``, ``POD_NAMESPACE``, ``POD_UID`` and ``NODE_NAME``, where the manifest sets
    them (downward API); otherwise by what the kubelet mounts, which tells all but the node.
    """

    def detect(self) -> Resource:
        """``k8s.*`` attributes; nothing outside of Kubernetes."""
        if "KUBERNETES_SERVICE_HOST" not in os.environ:
            return Resource({})
        uid, container = _pod_in_mounts()
        attributes = {
            "k8s.pod.name": os.environ.get("POD_NAME") or _pod_name(),
            "k8s.pod.uid": os.environ.get("POD_UID") or uid,
            "k8s.namespace.name": os.environ.get("POD_NAMESPACE") or "".join(_lines(_NAMESPACE)).strip(),
            "k8s.container.name": container,
            "k8s.node.name": os.environ.get("NODE_NAME"),
        }
        return Resource({key: value for key, value in attributes.items() if value})


def _lines(path: str) -> Iterator[str]:
    """The lines of a file, none where it can't be read."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            yield from file
    except OSError:
        return


def _mounts() -> Iterator[str]:
    """Where, on the host, what is mounted in here is from."""
    for line in _lines(_MOUNTS):
        fields = line.split()
        if len(fields) > 4:
            yield fields[3]


def _container_id() -> str | None:
    for line in _lines(_CGROUP):
        if found := _IN_CGROUP.findall(line.strip()):
            return str(found[-1])  # the innermost
    for source in _mounts():
        if (in_mount := _IN_MOUNT.search(source)) is not None:
            return in_mount[1]
    return None


def _pod_in_mounts() -> tuple[str | None, str | None]:
    """The pod's UID and the container's name."""
    uid = container = None
    for source in _mounts():
        if (found := _POD_IN_MOUNT.search(source)) is not None:
            uid, container = found[1], found[2] or container
    for line in _lines(_CGROUP):
        if uid is None and (found := _POD_IN_CGROUP.search(line)) is not None:
            uid = found[1].replace("_", "-")  # as systemd wants it
    return uid, container


def _pod_name() -> str | None:
    """A pod's host name is its own, unless it has the network of its node."""
    first = next(_lines(_HOSTS), "").strip()
    name = socket.gethostname()
    return name if first == _HOSTS_OF_A_POD and len(name) < _LONGEST_HOST_NAME else None
