"""The files of deploy/ are valid, and fit one another: Collector configurations and Kubernetes manifests."""

from __future__ import annotations

import importlib
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from otlpfast import environment_variables

ROOT = Path(__file__).parent.parent
DEPLOY = ROOT / "deploy"
if not DEPLOY.exists():
    pytest.skip("deploy/ is not here", allow_module_level=True)
yaml = pytest.importorskip("yaml")

COLLECTORS = DEPLOY / "collector"
MANIFESTS = sorted((DEPLOY / "kubernetes").glob("*.yaml"))
CONFIGURATIONS = sorted(set(COLLECTORS.glob("*.yaml")) - {COLLECTORS / "builder.yaml"})
CORE, FULL = (ROOT / "build" / "collector" / name for name in ("otelcol", "otelcol-deploy"))
OPERATOR = "monitoring.coreos.com/v1"
FLUSH_SECONDS = 5  # of OTLPFAST_FLUSH_ON_SIGTERM


def documents(*paths: Path) -> list[dict[str, Any]]:
    return [document for path in paths for document in yaml.safe_load_all(path.read_text(encoding="utf-8"))]


def objects(kind: str) -> list[dict[str, Any]]:
    found = [document for document in documents(*MANIFESTS) if document["kind"] == kind]
    assert found
    return found


def workloads() -> list[dict[str, Any]]:
    return [made for kind in ("Deployment", "DaemonSet", "StatefulSet") for made in objects(kind)]


def container(workload: dict[str, Any]) -> dict[str, Any]:
    [only] = workload["spec"]["template"]["spec"]["containers"]
    assert isinstance(only, dict)
    return only


def environment(workload: dict[str, Any]) -> dict[str, str]:
    return {variable["name"]: variable.get("value", "") for variable in container(workload)["env"]}


def configuration(workload: dict[str, Any]) -> Path | None:
    """The configuration of a Collector that a workload runs."""
    for argument in container(workload)["args"]:
        if argument.startswith("--config="):
            return COLLECTORS / Path(argument.removeprefix("--config=")).name
    return None


COLLECTOR_WORKLOADS = [made for made in workloads() if configuration(made)]


def name(made: dict[str, Any]) -> str:
    return str(made["metadata"]["name"])


def test_there_are_an_agent_and_a_gateway() -> None:
    assert [(made["kind"], name(made)) for made in COLLECTOR_WORKLOADS] == [
        ("DaemonSet", "otel-agent"),
        ("StatefulSet", "otel-gateway"),
    ]


@pytest.mark.parametrize("path", CONFIGURATIONS, ids=lambda path: path.stem)
def test_the_collector_takes_its_configuration(path: Path) -> None:
    # Without the large one: the agent's has only what the small one has.
    binary = FULL if FULL.exists() or path.stem != "agent" else CORE
    if not binary.exists():
        pytest.skip(f"{binary} is not there: `make gateway` (or for the agent `make collector`) builds it")
    command = [str(binary), "validate", f"--config={path}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("path", CONFIGURATIONS, ids=lambda path: path.stem)
def test_a_configuration_uses_all_that_it_defines_and_what_the_builder_builds(path: Path) -> None:
    [configured] = documents(path)
    pipelines = configured["service"]["pipelines"].values()
    used: dict[str, set[str]] = {"extensions": set(configured["service"]["extensions"])}
    for role in ("receivers", "processors", "exporters"):
        used[role] = {part for pipeline in pipelines for part in pipeline.get(role, ())}
    connectors = set(configured.get("connectors", ()))
    for role in used:
        assert set(configured.get(role, ())) == used[role] - connectors, role
    assert connectors <= used["receivers"] & used["exporters"]
    [built] = documents(COLLECTORS / "builder.yaml")
    for role in (*used, "connectors"):
        modules = {
            re.sub(r"\W|_", "", module["gomod"].split()[0].rpartition("/")[2]) for module in built[role]
        }
        for part in configured.get(role, ()):
            kind = part.partition("/")[0].replace("_", "").removesuffix("grpc")
            assert any(module.startswith(kind) for module in modules), (role, part)


def test_both_sides_of_kafka_and_the_gateway_sample_alike() -> None:
    gateway, consumer, producer = documents(
        *(COLLECTORS / f"{stem}.yaml" for stem in ("gateway", "kafka-consumer", "kafka-producer"))
    )
    assert gateway["processors"]["tail_sampling"] == consumer["processors"]["tail_sampling"]
    sender, receiver = producer["exporters"]["kafka"], consumer["receivers"]["kafka"]
    assert sender["brokers"] == receiver["brokers"]
    assert [sender["traces"]["topic"]] == receiver["traces"]["topics"]
    assert sender["traces"]["encoding"] == receiver["traces"]["encoding"]
    assert sender["partition_traces_by_id"] is True


def test_the_page_names_the_files_and_every_alert() -> None:
    text = (DEPLOY / "README.md").read_text(encoding="utf-8")
    for path in (
        *COLLECTORS.glob("*.yaml"),
        *DEPLOY.glob("*.yaml"),
        *(DEPLOY / "mixin").glob("*/otlpfast.json"),
    ):
        assert f"`{path.relative_to(DEPLOY)}`" in text
    [group] = documents(DEPLOY / "mixin" / "alerts" / "alerts.yaml")[0]["groups"]
    assert re.findall(r"^\| `(Otlpfast\w+)` \|", text, re.MULTILINE) == [
        rule["alert"] for rule in group["rules"]
    ]


def test_yaml_is_tidy() -> None:
    config = pytest.importorskip("yamllint.config")
    linter = importlib.import_module("yamllint.linter")
    rules = config.YamlLintConfig(
        "{extends: default, rules: {line-length: {max: 210}, document-start: disable,"
        " comments: {min-spaces-from-content: 1}}}"
    )
    problems = [
        f"{path.relative_to(ROOT)}:{problem}"
        for path in sorted(DEPLOY.rglob("*.yaml"))
        for problem in linter.run(path.read_text(encoding="utf-8"), rules)
    ]
    assert problems == []


def test_kubernetes_takes_the_manifests() -> None:
    validator = pytest.importorskip("kubernetes_validate")
    versions = [validator.latest_version(), "1.30"]  # the first with the sleep before a container ends
    ours = [document for document in documents(*MANIFESTS) if document["apiVersion"] != OPERATOR]
    assert len(ours) >= len(workloads())
    for document in ours:
        for version in versions:
            validator.validate(document, version, strict=True)


def test_kustomize_finds_all_but_what_needs_the_operator() -> None:
    [kustomization] = documents(DEPLOY / "kustomization.yaml")
    listed = {DEPLOY / resource for resource in kustomization["resources"]}
    assert {path for path in MANIFESTS if documents(path)[0]["apiVersion"] != OPERATOR} == listed
    generated = {made["name"]: made["files"] for made in kustomization["configMapGenerator"]}
    for workload in COLLECTOR_WORKLOADS:
        path = configuration(workload)
        assert path is not None
        [volume] = workload["spec"]["template"]["spec"]["volumes"]
        assert generated.pop(volume["configMap"]["name"]) == [str(path.relative_to(DEPLOY))]
        assert path.exists()
    assert generated == {}


@pytest.mark.parametrize("workload", COLLECTOR_WORKLOADS, ids=name)
def test_a_collector_is_told_only_what_its_configuration_asks_for(workload: dict[str, Any]) -> None:
    path = configuration(workload)
    assert path is not None
    text = path.read_text(encoding="utf-8")
    asked = dict(re.findall(r"\$\{env:(\w+):-([^}]*)\}", text))
    told = environment(workload)
    assert set(told) - {"GOMEMLIMIT"} <= set(asked)
    # In a pod, what listens on the loopback is reached by nobody.
    for variable, default in asked.items():
        loopback = re.match(r"(localhost|127\.0\.0\.1)(:\d+)?$", default)
        if loopback and variable.endswith(("_ENDPOINT", "_HOST")):
            assert variable in told, variable
    ports = {port["containerPort"] for port in container(workload)["ports"]}
    listening = {int(value.rpartition(":")[2]) for value in told.values() if value.startswith("0.0.0.0:")}
    assert ports == listening | {int({**asked, **told}["TELEMETRY_PORT"])}


def test_the_collectors_are_of_the_release_that_the_configurations_were_tried_with() -> None:
    [built] = documents(COLLECTORS / "builder.yaml")
    release = built["dist"]["version"].removeprefix("v")
    for workload in COLLECTOR_WORKLOADS:
        assert container(workload)["image"].endswith(f":{release}")


def test_selectors_select_and_ports_exist() -> None:
    pods = {made["metadata"]["name"]: made["spec"]["template"]["metadata"]["labels"] for made in workloads()}
    ports = {
        made["metadata"]["name"]: {port["name"] for port in container(made)["ports"]} for made in workloads()
    }

    def selected(labels: dict[str, str]) -> str:
        [found] = [pod for pod, its in pods.items() if labels.items() <= its.items()]
        return found

    for workload in workloads():
        assert selected(workload["spec"]["selector"]["matchLabels"]) == name(workload)
    for service in objects("Service"):
        pod = selected(service["spec"]["selector"])
        assert {port["targetPort"] for port in service["spec"]["ports"]} <= ports[pod]
    for monitor in objects("PodMonitor"):
        assert selected(monitor["spec"]["selector"]["matchLabels"]) == name(monitor)
        assert {end["port"] for end in monitor["spec"]["podMetricsEndpoints"]} <= ports[name(monitor)]
    services = {name(service) for service in objects("Service") if service["spec"].get("clusterIP") == "None"}
    for gateway in objects("StatefulSet"):
        assert gateway["spec"]["serviceName"] in services
        assert environment(gateway)["PEERS_HOSTNAME"] == gateway["spec"]["serviceName"]


def test_the_service_has_the_time_to_end_its_requests_and_to_flush() -> None:
    [service] = objects("Deployment")
    arguments = dict(argument.split("=") for argument in container(service)["args"])
    before = container(service)["lifecycle"]["preStop"]["sleep"]["seconds"]
    needed = before + int(arguments["--timeout-graceful-shutdown"]) + FLUSH_SECONDS
    assert service["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] >= needed
    assert environment(service)["OTLPFAST_FLUSH_ON_SIGTERM"] == "true"
    # A request that hangs has to fail before the flush gives up: only then the spans go to the spool.
    assert float(environment(service)["OTEL_EXPORTER_OTLP_TIMEOUT"]) < FLUSH_SECONDS


def test_the_service_s_variables_are_known() -> None:
    [service] = objects("Deployment")
    told = {variable for variable in environment(service) if variable.startswith("OTLPFAST_")}
    assert told
    assert told <= set(vars(environment_variables))


def test_the_spool_is_a_directory_that_the_service_makes_itself_within_a_volume() -> None:
    [service] = objects("Deployment")
    mounted = {Path(volume["mountPath"]): volume["name"] for volume in container(service)["volumeMounts"]}
    spool = Path(environment(service)["OTLPFAST_SPOOL_DIR"])
    assert spool.parent in mounted  # the mount itself belongs to root
    assert spool not in mounted
