"""Resource detectors run at once, within a limit; one that is late or fails costs itself and nothing else."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from .collector import Collector
from .detectors import detected, install
from .exporting import collector_fixture  # noqa: F401

CONFIGURED = "import otlpfast; provider = otlpfast.configure(exporters=[])\n"
PLAIN = "import otlpfast; provider = otlpfast.TracerProvider()\n"
SHOW = "import json; print(json.dumps(dict(provider.resource.attributes)))\n"
VARIABLE = "OTEL_EXPERIMENTAL_RESOURCE_DETECTORS"


@pytest.fixture(name="folder")
def folder_fixture(tmp_path: Path) -> Path:
    install(tmp_path)
    return tmp_path


@pytest.mark.parametrize("made", [CONFIGURED, PLAIN], ids=["configure", "provider"])
def test_one_that_hangs_is_left_out_and_keeps_nobody(folder: Path, made: str) -> None:
    done = detected(
        folder, "quick,hangs", made + SHOW, OTLPFAST_RESOURCE_TIMEOUT="700", OTEL_SERVICE_NAME="shop"
    )
    found = json.loads(done.stdout)
    assert found["telemetry.sdk.name"] == "opentelemetry" and found["service.instance.id"]
    assert found["service.name"] == "shop"
    late = "hangs" if "quick" in found else "quick, hangs"  # on a machine that has stood still
    text = f"{VARIABLE}: {late} gave no answer within 700 ms and is left out of the resource; "
    assert done.stderr == text + "OTLPFAST_RESOURCE_TIMEOUT=5000 waits longer\n"


def test_all_run_at_once(folder: Path) -> None:
    """Here two wait for each other."""
    done = detected(folder, "partner,other", CONFIGURED + SHOW)
    found = json.loads(done.stdout)
    assert found["together.Partner"] is found["together.Other"] is True
    assert done.stderr == ""


def test_each_failure_is_one_warning(folder: Path) -> None:
    names = "raises,exits,wrong,broken,nonsense,containerid,aws_elsewhere,quick"
    done = detected(folder, names, "import sys; sys.modules['requests'] = None\n" + CONFIGURED + SHOW)
    assert json.loads(done.stdout)["quick"] == 1
    warnings = [line.removeprefix(f"{VARIABLE}: ") for line in done.stderr.splitlines()]
    end = " and is left out of the resource"
    unknown = warnings.pop(
        next(n for n, w in enumerate(warnings) if w.startswith("nonsense, aws_elsewhere "))
    )
    assert "is not known" in unknown and "aws_ec2" in unknown and "otlpfast_container" in unknown
    assert warnings == [
        f"raises raised RuntimeError: no good{end}",
        f"exits raised SystemExit: {end}",
        f"wrong gave a dict, no Resource{end}",
        f"broken can't be used (OSError: not here){end}",
        f"containerid is not installed{end}; pip install opentelemetry-resource-detector-containerid",
    ]


def test_a_package_that_is_missing_is_named(folder: Path) -> None:
    hide = (
        "from otlpfast import _components\nold = _components.installed\n"
        "_components.installed = lambda g: {k: v for k, v in old(g).items() if k[:3] not in ('aws', 'gcp')}\n"
    )
    done = detected(folder, "aws_ec2,aws_ecs,gcp", hide + CONFIGURED)
    assert done.stderr.splitlines() == [
        f"{VARIABLE}: {names} is not installed and is left out of the resource; "
        f"pip install {package}, or otlpfast[cloud]"
        for names, package in (
            ("aws_ec2, aws_ecs", "opentelemetry-sdk-extension-aws"),
            ("gcp", "opentelemetry-resourcedetector-gcp"),
        )
    ]


def test_later_ones_win_and_variables_and_arguments_more(folder: Path) -> None:
    code = (
        "import otlpfast\nprovider = otlpfast.configure(exporters=[], resource_attributes={'a': 'by code'})\n"
    )
    done = detected(
        folder, "first,second,quick,empty", code + SHOW + "print(repr(provider.resource.schema_url))",
        OTEL_RESOURCE_ATTRIBUTES="a=by a variable,quick=2",
    )  # fmt: skip
    shown, schema = done.stdout.splitlines()
    found = json.loads(shown)
    assert (found["a"], found["quick"], found["who"]) == ("by code", "2", "empty")
    assert found["empty"] == "full", "an empty value hides none that is not"
    assert (found["first"], found["second"], schema) == (1, 1, "''"), "two schemas cost no attribute"
    assert found["service.name"] == "by a detector"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_a_forked_child_detects_what_is_its_own(folder: Path) -> None:
    """And nobody traces what a detector does."""
    code = CONFIGURED + (
        "import os\n"
        "if child := os.fork():\n    os.waitpid(child, 0)\n"
        "found = provider.resource.attributes\n"
        "own = found['pid'] == os.getpid()\n"
        "print(own, found['service.instance.id'], found['instrumented'], flush=True)\n"
        "os._exit(0)\n"
    )
    done = detected(folder, "told,quick,nonsense", code)
    lines = done.stdout.splitlines()
    assert lines.count("detects") == 2
    child, parent = (line.split() for line in lines if line != "detects")
    assert (child[0], parent[0], parent[2]) == ("True", "True", "False")
    assert child[1] != parent[1]
    assert len([line for line in done.stderr.splitlines() if "nonsense" in line]) == 1, done.stderr


def test_the_sdks_logs_detect_nothing_when_they_are_imported(folder: Path) -> None:
    done = detected(
        folder, "told", CONFIGURED + "import sys; print('opentelemetry.sdk._logs' in sys.modules)"
    )
    assert done.stdout.splitlines() == ["detects", "True"]


def test_a_wrong_limit_is_one_warning(folder: Path) -> None:
    done = detected(folder, "quick", CONFIGURED + SHOW, OTLPFAST_RESOURCE_TIMEOUT="soon")
    assert json.loads(done.stdout)["quick"] == 1
    text = "OTLPFAST_RESOURCE_TIMEOUT='soon' is ignored: a positive whole number is allowed; 2000 is used\n"
    assert done.stderr == text


def test_no_span_leaves_without_what_was_found(folder: Path, collector: Collector) -> None:
    code = "import otlpfast; otlpfast.configure().get_tracer('app').start_span('a span').end()"
    detected(folder, "partner,other", code, collector)
    [resource] = collector.wait_for_request().message.resource_spans
    assert {"together.Partner", "together.Other"} <= {a.key for a in resource.resource.attributes}
