"""What a container tells of itself, by what its files are like under each runtime."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
from opentelemetry.sdk.resources import Resource

from otlpfast import _components, resources
from otlpfast.resources import ContainerDetector, KubernetesDetector

Patch = pytest.MonkeyPatch

ID = "7a0d5eb1f8b6bc58a2e0ac8bd3f1c0c7dd8f7c5ed1e4a1f0e5a7a5f8f3c2b1d0"
OTHER = "0" * 63 + "1"
UID = "9f1b5c1e-2d3a-4b5c-8d7e-0f1a2b3c4d5e"
UNIT_UID = UID.replace("-", "_")
MOUNT = "{n} 1 8:1 {source} {target} rw,relatime - ext4 /dev/sda1 rw\n"


def mounts(*sources: str) -> str:
    return "".join(MOUNT.format(n=n, source=source, target=f"/t{n}") for n, source in enumerate(sources))


@pytest.fixture(name="files")
def files_fixture(monkeypatch: Patch, tmp_path: Path) -> Path:
    """A folder with the files that the detectors read; there are none."""
    for name, file in (
        ("_CGROUP", "cgroup"),
        ("_MOUNTS", "mounts"),
        ("_HOSTS", "hosts"),
        ("_NAMESPACE", "namespace"),
    ):
        monkeypatch.setattr(resources, name, str(tmp_path / file))
    for name in ("KUBERNETES_SERVICE_HOST", "POD_NAME", "POD_NAMESPACE", "POD_UID", "NODE_NAME"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


@pytest.mark.parametrize(
    ("cgroup", "mountinfo", "expected"),
    [
        (f"12:pids:/docker/{ID}\n11:cpu:/docker/{ID}\n", "", ID),
        (f"1:name=systemd:/system.slice/docker-{ID}.scope\n", "", ID),
        (f"0::/kubepods.slice/kubepods-pod{UNIT_UID}.slice/cri-containerd-{ID}.scope\n", "", ID),
        (f"3:cpu:/kubepods/burstable/pod{UID}/{ID}\n", "", ID),
        (f"0::/kubepods.slice/kubepods-besteffort-pod{UNIT_UID}.slice/crio-{ID}.scope\n", "", ID),
        (f"0::/machine.slice/libpod-{ID}.scope/container\n", "", ID),
        (f"4:memory:/docker/{OTHER}/docker/{ID}\n", "", ID),
        (f"9:perf_event:/ecs/{'a' * 32}/{'b' * 32}-1234567890\n", "", f"{'b' * 32}-1234567890"),
        ("0::/\n", mounts("/", f"/var/lib/docker/containers/{ID}/hostname"), ID),
        ("0::/\n", mounts(f"/@/var/lib/docker/containers/{ID}/resolv.conf"), ID),
        ("0::/\n", mounts(f"/user/containers/overlay-containers/{ID}/userdata/hosts"), ID),
        # What is no container, or only a pod's.
        ("0::/user.slice/user-1000.slice/session-2.scope\n", "", None),
        ("0::/system.slice/cafe.service\n", mounts("/", "/home"), None),
        ("0::/\n", mounts(f"/var/lib/containerd/io.containerd.grpc.v1.cri/sandboxes/{ID}/hostname"), None),
        ("nonsense", "nonsense\n\n", None),
    ],
)
def test_the_id_of_a_container(files: Path, cgroup: str, mountinfo: str, expected: str | None) -> None:
    (files / "cgroup").write_text(cgroup)
    (files / "mounts").write_text(mountinfo)
    found = ContainerDetector().detect()
    assert dict(found.attributes) == ({"container.id": expected} if expected else {})


def test_without_files_there_is_nothing(files: Path, monkeypatch: Patch) -> None:
    assert ContainerDetector().detect() == KubernetesDetector().detect() == Resource({})
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    assert KubernetesDetector().detect() == Resource({})


@pytest.fixture(name="pod")
def pod_fixture(files: Path, monkeypatch: Patch) -> Path:
    """The files of a container in a pod, under cgroup v2."""
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    monkeypatch.setattr(socket, "gethostname", lambda: "shop-5d8f-x2x9z")
    pod = f"/var/lib/kubelet/pods/{UID}"
    (files / "cgroup").write_text("0::/\n")
    (files / "mounts").write_text(mounts("/", f"{pod}/etc-hosts", f"{pod}/containers/shop/1a2b3c4d", "/x"))
    (files / "hosts").write_text("# Kubernetes-managed hosts file.\n127.0.0.1 localhost\n")
    (files / "namespace").write_text("prod")
    return files


def test_a_pod_that_sets_no_variables(pod: Path) -> None:
    assert dict(KubernetesDetector().detect().attributes) == {
        "k8s.pod.name": "shop-5d8f-x2x9z",
        "k8s.pod.uid": UID,
        "k8s.namespace.name": "prod",
        "k8s.container.name": "shop",
    }


def test_variables_win(pod: Path, monkeypatch: Patch) -> None:
    given = {"POD_NAME": "a", "POD_NAMESPACE": "b", "POD_UID": "c", "NODE_NAME": "d"}
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    found = dict(KubernetesDetector().detect().attributes)
    assert [found[f"k8s.{n}"] for n in ("pod.name", "namespace.name", "pod.uid", "node.name")] == list("abcd")


@pytest.mark.parametrize(
    ("hosts", "name"),
    [
        ("# Kubernetes-managed hosts file (host network).\n", "node-7"),  # the node's name
        ("# Kubernetes-managed hosts file.\n", "x" * 63),  # the first part of a longer one
        ("127.0.0.1 localhost\n", "shop"),
    ],
)
def test_a_host_name_that_may_not_be_the_pods(pod: Path, monkeypatch: Patch, hosts: str, name: str) -> None:
    (pod / "hosts").write_text(hosts)
    monkeypatch.setattr(socket, "gethostname", lambda: name)
    assert "k8s.pod.name" not in KubernetesDetector().detect().attributes


def test_a_pod_by_its_cgroup(pod: Path) -> None:
    (pod / "mounts").write_text("")
    (pod / "cgroup").write_text(
        f"0::/kubepods.slice/kubepods-pod{UNIT_UID}.slice/cri-containerd-{ID}.scope\n"
    )
    assert KubernetesDetector().detect().attributes["k8s.pod.uid"] == UID
    assert ContainerDetector().detect().attributes["container.id"] == ID


def test_they_are_known_by_their_names() -> None:
    known = _components.installed("opentelemetry_resource_detector")
    assert known["otlpfast_container"].load() is ContainerDetector
    assert known["otlpfast_kubernetes"].load() is KubernetesDetector
