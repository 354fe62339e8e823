"""Dashboard and rules of deploy/mixin ask for series that are there; Prometheus and Grafana take them."""

from __future__ import annotations

import importlib
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from .collector import Collector, Reply
from .promql import evaluate, needs_promtool, promtool, selectors
from .starting import NO_INSTRUMENTATION, finished, run

ROOT = Path(__file__).parent.parent
MIXIN = ROOT / "deploy" / "mixin"
if not MIXIN.exists():
    pytest.skip("deploy/ is not here", allow_module_level=True)
yaml = pytest.importorskip("yaml")
parser = pytest.importorskip("prometheus_client.parser")

RULES, ALERTS, TESTS = (
    MIXIN / part for part in ("rules/rules.yaml", "alerts/alerts.yaml", "tests/alerts_test.yaml")
)
DASHBOARD = MIXIN / "dashboards" / "otlpfast.json"
VARIABLES = {"$__rate_interval": "5m", "$__range": "1h", "$job": ".*", "$instance": ".*"}
VARIABLES |= {"$service": ".*", "$kind": ".*"}
QUERY = re.compile(r"label_values\((?P<series>.+), (?P<label>\w+)\)")


def dashboard() -> dict[str, Any]:
    loaded = json.loads(DASHBOARD.read_text(encoding="utf-8"))
    assert isinstance(loaded, dict)
    return loaded


def panels() -> list[dict[str, Any]]:
    return [panel for panel in dashboard()["panels"] if panel["type"] != "row"]


def filled(expression: str) -> str:
    """As Grafana sends it, with "All" chosen everywhere."""
    for variable, value in VARIABLES.items():
        expression = expression.replace(variable, value)
    return expression


def rules(path: Path) -> list[dict[str, Any]]:
    groups = yaml.safe_load(path.read_text(encoding="utf-8"))["groups"]
    return [rule for group in groups for rule in group["rules"]]


def drawn() -> list[str]:
    return [filled(target["expr"]) for panel in panels() for target in panel["targets"]]


def asked() -> list[str]:
    """All expressions of the dashboard and of the rules."""
    return [*drawn(), *(rule["expr"] for path in (RULES, ALERTS) for rule in rules(path))]


@pytest.fixture(scope="module", name="scrape")
def scrape_fixture(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The series of a service that is set up like deploy/kubernetes/service.yaml, as input for promtool."""
    [service] = [
        document
        for document in yaml.safe_load_all(
            (ROOT / "deploy/kubernetes/service.yaml").read_text(encoding="utf-8")
        )
        if document["kind"] == "Deployment"
    ]
    told = service["spec"]["template"]["spec"]["containers"][0]["env"]
    variables = {each["name"]: each["value"].replace("$(", "(") for each in told if "value" in each}
    tail = tmp_path_factory.mktemp("deploy") / "tail.json"
    tail.write_text('{"ratio": 1}', encoding="utf-8")
    with Collector() as collector:
        collector.script(Reply(400))
        variables |= {
            **NO_INSTRUMENTATION,
            "OTEL_EXPORTER_OTLP_ENDPOINT": collector.base,
            "OTEL_EXPORTER_PROMETHEUS_HOST": "127.0.0.1",
            "OTEL_EXPORTER_PROMETHEUS_PORT": "0",
            "OTLPFAST_TAIL_SAMPLING": str(tail),
            "OTLPFAST_SPOOL_DIR": str(tmp_path_factory.mktemp("deploy") / "spool"),
        }
        done = finished(run("-m", "tests.scraped_service"), cwd=ROOT, **variables)
    assert done.returncode == 0, done.stderr
    yield series(done.stdout)


def series(text: str) -> dict[str, str]:
    """For each series of a scrape values that rise by the minute, or stay if they may fall."""
    found = {}
    for family in parser.text_string_to_metric_families(text):
        values = "1x30" if family.type == "gauge" else "0+60x30"
        for sample in family.samples:
            labels = {"job": "default/shop", "instance": "10.0.0.1:9464", **sample.labels}
            written = ", ".join(f"{label}={json.dumps(value)}" for label, value in labels.items())
            found[f"{sample.name}{{{written}}}"] = values
    return found


def names(scrape: dict[str, str]) -> set[str]:
    return {one.partition("{")[0] for one in scrape}


@pytest.mark.parametrize(
    ("expression", "found"),
    [
        ("up", [("up", "")]),
        ('sum by (a, le) (rate(b_total{c="d", e!=""}[5m]))', [("b_total", '{c="d", e!=""}')]),
        ("a / on (b) group_left (c) d offset 5m", [("a", ""), ("d", "")]),
        ('label_replace(a:b:c, "d", "e", "", "") > 0.5', [("a:b:c", "")]),
        ("topk(3, a) unless on (b) c or 4 * d", [("a", ""), ("c", ""), ("d", "")]),
    ],
)
def test_expressions_are_read(expression: str, found: list[tuple[str, str]]) -> None:
    assert list(selectors(expression)) == found


def test_only_metrics_that_are_there_are_asked_for(scrape: dict[str, str]) -> None:
    recorded = {rule["record"] for rule in rules(RULES)}
    wanted = {name for expression in asked() for name, _ in selectors(expression)}
    for variable in dashboard()["templating"]["list"][1:]:
        wanted |= set(re.findall(r"\w+_total", variable["query"]["query"]))
    assert wanted - recorded - names(scrape) == set()
    assert len(wanted - recorded) > 20


@needs_promtool
def test_every_panel_and_every_recording_shows_something(scrape: dict[str, str], tmp_path: Path) -> None:
    expressions = [*drawn(), *(rule["expr"] for rule in rules(RULES))]
    evaluate(tmp_path, [RULES], scrape, expressions)


@needs_promtool
def test_every_alert_looks_at_series_that_are_there(scrape: dict[str, str], tmp_path: Path) -> None:
    # Alerts have no value while all is well: here it is only about what they select.
    selected = {name + labels for rule in rules(ALERTS) for name, labels in selectors(rule["expr"])}
    evaluate(tmp_path, [RULES], scrape, sorted(selected))


@needs_promtool
def test_every_choice_above_the_panels_finds_values(scrape: dict[str, str], tmp_path: Path) -> None:
    queries = [
        QUERY.fullmatch(variable["query"]["query"]) for variable in dashboard()["templating"]["list"][1:]
    ]
    assert len(queries) == 4
    expressions = [
        f"count by ({query['label']}) ({filled(query['series'])}) * on ({query['label']})"
        f' count by ({query["label"]}) ({{{query["label"]}!=""}})'
        for query in queries
        if query
    ]
    evaluate(tmp_path, [RULES], scrape, expressions)


@needs_promtool
def test_promtool_notices_what_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="FAILED"):
        evaluate(tmp_path, [], {"a": "1x30"}, ["a", "b"])


@needs_promtool
def test_promtool_takes_the_rules_and_their_tests_pass() -> None:
    promtool("check", "rules", RULES, ALERTS)
    promtool("test", "rules", TESTS.name, cwd=TESTS.parent)


@needs_promtool
def test_the_prometheus_for_this_machine_scrapes_what_listens_by_default() -> None:
    path = ROOT / "deploy" / "prometheus.yaml"
    promtool("check", "config", path)
    scraped = {
        int(target.rpartition(":")[2])
        for job in yaml.safe_load(path.read_text(encoding="utf-8"))["scrape_configs"]
        for static in job["static_configs"]
        for target in static["targets"]
    }
    listening = {9464}  # opentelemetry-exporter-prometheus
    for stem in ("agent", "gateway"):
        text = (ROOT / "deploy" / "collector" / f"{stem}.yaml").read_text(encoding="utf-8")
        listening |= set(map(int, re.findall(r"(?:TELEMETRY_PORT|METRICS_ENDPOINT):-(?:\w+:)?(\d+)\}", text)))
    assert scraped == listening


def test_each_alert_is_seen_to_fire_and_not_to() -> None:
    cases = [
        case
        for test in yaml.safe_load(TESTS.read_text(encoding="utf-8"))["tests"]
        for case in test.get("alert_rule_test", ())
    ]
    alerts = sorted(rule["alert"] for rule in rules(ALERTS))
    assert sorted({case["alertname"] for case in cases if case.get("exp_alerts")}) == alerts
    assert sorted({case["alertname"] for case in cases if not case.get("exp_alerts")}) == alerts


def test_each_alert_says_what_and_how_bad() -> None:
    for rule in rules(ALERTS):
        assert rule["labels"]["severity"] in ("info", "warning", "critical")
        assert set(rule["annotations"]) == {"summary", "description"}


def test_the_dashboard_is_what_its_generator_prints() -> None:
    done = finished([sys.executable, str(DASHBOARD.with_name("generate.py"))])
    assert done.returncode == 0, done.stderr
    assert DASHBOARD.read_text(encoding="utf-8") == done.stdout


def test_the_dashboard_can_be_imported_anywhere() -> None:
    made = dashboard()
    assert made["id"] is None
    assert made["uid"] == "otlpfast"
    assert made["schemaVersion"] >= 36  # from here on, a data source is named by type and uid
    [source, *others] = made["templating"]["list"]
    assert (source["name"], source["type"], source["query"]) == ("datasource", "datasource", "prometheus")
    known = {variable["name"] for variable in made["templating"]["list"]}
    for text in (*(variable["query"]["query"] for variable in others), *map(json.dumps, panels())):
        assert set(re.findall(r"\$\{?(\w+)", text)) <= known | {"__rate_interval", "__range"}
    ours = {"type": "prometheus", "uid": "${datasource}"}
    assert all(each["datasource"] == ours for panel in panels() for each in (panel, *panel["targets"]))


def test_each_panel_has_its_place_a_unit_and_a_description() -> None:
    taken: dict[tuple[int, int], str] = {}
    for panel in dashboard()["panels"]:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        for x in range(place["x"], place["x"] + place["w"]):
            for y in range(place["y"], place["y"] + place["h"]):
                assert taken.setdefault((x, y), panel["title"]) is panel["title"]
    assert len({panel["id"] for panel in dashboard()["panels"]}) == len(dashboard()["panels"])
    for panel in panels():
        assert panel["fieldConfig"]["defaults"]["unit"]
        assert panel["description"].endswith(".")


def test_grafana_s_own_model_of_a_dashboard_loses_nothing_of_it() -> None:
    models = pytest.importorskip("grafana_foundation_sdk.models.dashboard")
    encoder = importlib.import_module("grafana_foundation_sdk.cog.encoder")
    importlib.import_module("grafana_foundation_sdk.cog.plugins").register_default_plugins()
    made = dashboard()
    kept = json.loads(encoder.JSONEncoder().encode(models.Dashboard.from_json(dashboard())))
    assert differences(made, kept) == []


def differences(made: Any, kept: Any, path: str = "") -> list[str]:
    """What there is in ``made`` and not in ``kept``; None is nothing."""
    if isinstance(made, dict) and isinstance(kept, dict):
        return [line for key in made for line in differences(made[key], kept.get(key), f"{path}.{key}")]
    if isinstance(made, list) and isinstance(kept, list) and len(made) == len(kept):
        pairs = enumerate(zip(made, kept, strict=True))
        return [line for number, pair in pairs for line in differences(*pair, f"{path}[{number}]")]
    return [] if made == kept else [f"{path}: {made!r}, {kept!r}"]


def test_the_mixin_is_the_files() -> None:
    jsonnet = pytest.importorskip("_gojsonnet")
    text = jsonnet.evaluate_snippet(
        str(MIXIN / "snippet"),
        "local mixin = import 'mixin.libsonnet';"
        "[mixin.grafanaDashboards['otlpfast.json'], mixin.prometheusRules, mixin.prometheusAlerts]",
    )
    files = [yaml.safe_load(path.read_text(encoding="utf-8")) for path in (RULES, ALERTS)]
    assert json.loads(text) == [dashboard(), *files]
