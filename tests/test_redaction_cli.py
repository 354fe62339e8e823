"""``otlpfast redact``: what it says of rules, and what it shows of spans and texts."""

from __future__ import annotations

import base64
import io
import json
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.json_format import MessageToDict

from otlpfast import SimpleSpanProcessor
from otlpfast.cli import main
from otlpfast.environment_variables import OTLPFAST_REDACTION

from .pipeline import Encoded
from .planted import EMAIL, RESOURCE, SCOPE_ATTRIBUTES, found_in, plant
from .spans import decode
from .traced import native

Capture = pytest.CaptureFixture[str]


def written(path: Path, rules: object) -> str:
    path.write_text(rules if isinstance(rules, str) else json.dumps(rules))
    return str(path)


def request_in_json() -> str:
    """What was planted, as the Collector writes it."""
    exporter = Encoded()
    source = native(SimpleSpanProcessor(exporter), resource=RESOURCE)
    plant(source.get_tracer("tests", attributes=SCOPE_ATTRIBUTES))
    return "\n".join(json.dumps(MessageToDict(decode(batch))) for batch in exporter.batches)


def test_without_arguments_it_shows_the_default_rules_and_examples(
    capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(OTLPFAST_REDACTION, raising=False)
    assert main(["redact"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert out.startswith("the default rules: the rules are right\n")
    assert "mask  *password*" in out and "email" in out
    assert "GET /users/alice@example.com → GET /users/[REDACTED]" in out
    assert "http.request.method" not in out
    assert main(["redact", "--all"]) == 0
    assert "attribute http.request.method: GET\n" in capsys.readouterr().out


def test_the_variable_says_which_rules(
    tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = written(tmp_path / "rules.json", {"keys": [{"key": "enduser.id", "action": "hash"}]})
    monkeypatch.setenv(OTLPFAST_REDACTION, path)
    assert main(["redact"]) == 0
    out = capsys.readouterr().out
    assert out.startswith(f"{path}: the rules are right\n") and "hash  enduser.id" in out
    assert "no hash_key" in out
    assert "14 looked at: 1 changed, 0 dropped" in out


def test_rules_that_spare_or_allow_something_say_so(tmp_path: Path, capsys: Capture) -> None:
    rules = {"allow": ["http.*", "db.*"], "action": "drop", "patterns": ["email"], "events": False}
    assert main(["redact", "--check", written(tmp_path / "rules.json", rules)]) == 0
    out = capsys.readouterr().out
    assert "keys that may stay: http.*, db.*; of all others the value: drop" in out
    assert "left alone: events" in out
    assert "attribute enduser.id: alice → (dropped)" in out


@pytest.mark.parametrize(
    ("rules", "said"),
    [
        ("{", "is no JSON"),
        ({"kyes": []}, "kyes"),
        ({"patterns": ["mail"]}, "'mail' is not known"),
        ({"patterns": [{"regex": "(a)\\1"}]}, "patterns[0]"),
    ],
)
def test_wrong_rules_are_an_error_that_says_where(
    rules: object, said: str, tmp_path: Path, capsys: Capture
) -> None:
    path = written(tmp_path / "rules.json", rules)
    assert main(["redact", "--check", path]) == 1
    out, err = capsys.readouterr()
    assert out == "" and err.startswith(f"otlpfast redact: {path}") and said in err


def test_a_file_that_is_not_there_is_an_error(tmp_path: Path, capsys: Capture) -> None:
    path = str(tmp_path / "none.json")
    assert main(["redact", "--check", path]) == 1
    assert main(["redact", "--spans", path]) == 1
    assert capsys.readouterr().err == f"otlpfast redact: {path}: no such file or directory\n" * 2


def test_spans_are_shown_before_and_after(tmp_path: Path, capsys: Capture) -> None:
    path = written(tmp_path / "spans.json", request_in_json())
    assert main(["redact", "--check", "default", "--spans", path]) == 0
    out = capsys.readouterr().out
    assert f"span name: GET /users/{EMAIL} → GET /users/[REDACTED]" in out
    assert f"resource attribute service.owner: {EMAIL} → [REDACTED]" in out
    assert f"scope attribute maintainer: {EMAIL} → [REDACTED]" in out
    assert "link attribute link.token" in out and "exception attribute exception.message" in out
    assert "(dropped)" in out


@pytest.mark.parametrize("form", [[], ["--json"]])
def test_without_what_was_there_before_nothing_secret_is_shown(
    form: list[str], tmp_path: Path, capsys: Capture
) -> None:
    path = written(tmp_path / "spans.json", request_in_json())
    assert main(["redact", "--check", "default", "--spans", path, "--after", "--all", *form]) == 0
    out = capsys.readouterr().out
    assert "LoginError" in out
    assert found_in(out) == []  # nor a key that is a secret itself


def test_json_has_all_of_a_change(tmp_path: Path, capsys: Capture) -> None:
    value = {"kvlistValue": {"values": [{"key": "password", "value": {"stringValue": "x"}}]}}
    span: dict[str, Any] = {
        "name": "fine",
        "attributes": [
            {"key": "nested", "value": value},
            {"key": "octets", "value": {"bytesValue": base64.b64encode(EMAIL.encode()).decode()}},
            {"key": "number", "value": {"intValue": "17"}},
            {"key": "list", "value": {"arrayValue": {"values": [{"boolValue": True}, {"doubleValue": 0.5}]}}},
            {"key": "none", "value": {}},
        ],
    }
    request = {"resourceSpans": [{"scopeSpans": [{"spans": [span]}]}]}
    path = written(tmp_path / "spans.json", json.dumps(request))
    assert main(["redact", "--check", "default", "--spans", path, "--json", "--all"]) == 0
    found = {line["key"]: line for line in map(json.loads, capsys.readouterr().out.splitlines())}
    assert found[None] == {"place": "span name", "key": None, "before": "fine", "after": "fine"}
    assert found["nested"]["before"] == {"password": "x"}
    assert found["nested"]["after"] == {"password": "[REDACTED]"}
    assert found["octets"]["after"] == "[REDACTED]"
    assert [found[key]["after"] for key in ("number", "list", "none")] == [17, [True, 0.5], None]


def test_lines_from_stdin_are_texts(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = f'mail {EMAIL}\n\nnothing\n{{"log": "{EMAIL}"}}\n\x1b[31m password=hunter2\n'
    monkeypatch.setattr("sys.stdin", io.StringIO(lines))
    assert main(["redact", "--check", "default", "--spans", "-"]) == 0
    out = capsys.readouterr().out
    assert f"text: mail {EMAIL} → mail [REDACTED]" in out
    assert "\x1b" not in out and "password=[REDACTED]" in out
    assert out.endswith("4 looked at: 3 changed, 0 dropped\n")


def test_json_that_only_begins_as_a_request_is_an_error(tmp_path: Path, capsys: Capture) -> None:
    path = written(tmp_path / "spans.json", '{"resourceSpans": [{"scopeSpans": [{"spans": [17]}]}]}')
    assert main(["redact", "--spans", path]) == 1
    assert "line 1 is no OTLP request" in capsys.readouterr().err


def test_help_teaches(capsys: Capture) -> None:
    with pytest.raises(SystemExit):
        main(["redact", "--help"])
    out = capsys.readouterr().out
    assert "otlpfast redact --check rules.json" in out and "exit status" in out and OTLPFAST_REDACTION in out
