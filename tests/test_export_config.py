"""Arguments, variables and defaults of the OTLP exporter, and what a user reads when one of them is wrong."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as OfficialExporter

from otlpfast.export.config import Settings, mask_url, printable, resolve

from .exporting import SECRET, one_warning

DEFAULT = "http://localhost:4318/v1/traces"


# --- defaults, variables, precedence


def test_defaults(caplog: pytest.LogCaptureFixture) -> None:
    settings = resolve()
    assert settings.endpoint.url == settings.endpoint.shown == DEFAULT
    assert (settings.endpoint.host, settings.endpoint.port, settings.endpoint.secure) == (
        "localhost",
        4318,
        False,
    )
    assert (settings.timeout, settings.compression, settings.headers, settings.tls) == (
        10.0,
        "none",
        {},
        None,
    )
    assert not caplog.records


def test_argument_wins_over_traces_variable_wins_over_generic(monkeypatch: pytest.MonkeyPatch) -> None:
    for suffix, generic, traces in (
        ("ENDPOINT", "http://generic:1", "http://traces:2/x"),
        ("TIMEOUT", "3", "4"),
        ("COMPRESSION", "gzip", "deflate"),
        ("HEADERS", "a=generic,g=1", "a=traces,b=2"),
    ):
        monkeypatch.setenv(f"OTEL_EXPORTER_OTLP_{suffix}", generic)
        settings = resolve()
        monkeypatch.setenv(f"OTEL_EXPORTER_OTLP_TRACES_{suffix}", traces)
    assert settings.headers == {"a": "generic", "g": "1"}
    settings = resolve()
    assert settings.endpoint.url == "http://traces:2/x"
    assert (settings.timeout, settings.compression) == (4.0, "deflate")
    assert settings.headers == {"a": "traces", "b": "2"}
    settings = resolve("http://argument:3/y", {"A": "argument"}, 5, "none")
    assert settings.endpoint.url == "http://argument:3/y"
    assert (settings.timeout, settings.compression) == (5.0, "none")
    assert settings.headers == {"a": "argument", "b": "2"}


@pytest.mark.parametrize(
    "suffix", ["ENDPOINT", "TIMEOUT", "COMPRESSION", "HEADERS", "CERTIFICATE", "CLIENT_KEY"]
)
def test_an_empty_variable_is_unset(
    suffix: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    defaults = resolve()
    monkeypatch.setenv(f"OTEL_EXPORTER_OTLP_TRACES_{suffix}", "")
    monkeypatch.setenv(f"OTEL_EXPORTER_OTLP_{suffix}", " ")
    assert resolve() == defaults
    assert not caplog.records


@pytest.mark.parametrize(
    "base",
    [
        "http://c:4318",
        "http://c:4318/",
        "https://c/base",
        "http://c/base/",
        "http://c/a//",
        "http://C.example:80",
    ],
)
def test_the_generic_endpoint_gets_the_path_as_in_the_official_exporter(
    base: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", base)
    assert resolve().endpoint.url == OfficialExporter()._endpoint
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", base)
    assert resolve().endpoint.url == OfficialExporter()._endpoint == base


@pytest.mark.parametrize(
    ("url", "host", "port", "authority", "target"),
    [
        ("http://c", "c", 80, "c", "/"),
        ("HTTPS://C/x?a=b#f", "c", 443, "c", "/x?a=b"),
        ("http://c:80/", "c", 80, "c", "/"),
        ("https://c:80/", "c", 80, "c:80", "/"),
        ("http://[::1]:4318/v1", "::1", 4318, "[::1]:4318", "/v1"),
        ("http://[fe80::1%25eth0]:4318/", "fe80::1%eth0", 4318, "[fe80::1]:4318", "/"),
        ("http://bücher.example/ü", "xn--bcher-kva.example", 80, "xn--bcher-kva.example", "/%C3%BC"),
        (" http://c:1/x \n", "c", 1, "c:1", "/x"),
    ],
)
def test_an_endpoint_is_taken_apart(url: str, host: str, port: int, authority: str, target: str) -> None:
    endpoint = resolve(url).endpoint
    assert (endpoint.host, endpoint.port, endpoint.authority, endpoint.target) == (
        host,
        port,
        authority,
        target,
    )


# --- wrong endpoints


BAD_ENDPOINTS = [
    ("", "empty"),
    ("localhost:4318", "no scheme"),
    ("localhost", "no scheme"),
    ("//localhost:4318", "no scheme"),
    ("grpc://localhost:4317", "unknown scheme"),
    ("file:///etc/passwd", "unknown scheme"),
    ("http://", "no host"),
    ("http:///v1/traces", "no host"),
    ("http://:4318/", "no host"),
    ("http://c:99999/", "1 to 65535"),
    ("http://c:0/", "1 to 65535"),
    ("http://c:-1/", "1 to 65535"),
    ("http://c:port/", "1 to 65535"),
    ("http://c:/", "1 to 65535"),
    ("http://[::1/", "host that is not valid"),
    ("http://a..b/", "host that is not valid"),
    (f"http://{'a' * 64}.example/", "host that is not valid"),
    ("http://c/a b", "space"),
    ("http://c/\r\nx-injected: 1", "space or a control"),
    ("http://c/\udcff", "control"),
]


@pytest.mark.parametrize(("url", "problem"), BAD_ENDPOINTS)
def test_a_wrong_endpoint_argument_raises(url: str, problem: str) -> None:
    with pytest.raises(ValueError, match="endpoint=") as caught:
        resolve(url)
    text = str(caught.value)
    assert problem in text
    assert "allowed: an http:// or https:// URL" in text
    assert printable(mask_url(url.strip())) in text
    assert caught.value.__context__ is None
    assert text.isprintable()


@pytest.mark.parametrize(("url", "problem"), [b for b in BAD_ENDPOINTS if b[0]])
@pytest.mark.parametrize("name", ["OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"])
def test_a_wrong_endpoint_variable_gets_one_warning_and_the_default(
    name: str, url: str, problem: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv(name, url)
    assert resolve().endpoint.url == DEFAULT
    text = one_warning(caplog)
    assert text.startswith(f"{name}='")
    assert problem in text
    assert "allowed: " in text
    assert text.endswith(f"using the default, {DEFAULT}")


@pytest.mark.parametrize("value", [4318, b"http://c/", Path("/x"), ["http://c/"]])
def test_an_endpoint_of_another_type_raises_type_error(value: Any) -> None:
    with pytest.raises(TypeError, match=f"endpoint must be a str.* {type(value).__name__}"):
        resolve(value)


@pytest.mark.parametrize(
    "url",
    [
        f"http://user:{SECRET}@c:99999/",
        f"http://user:{SECRET}@c:port/",
        f"user:{SECRET}@c:4318",
        f"ftp://user:{SECRET}@c/",
        f"http://user:{SECRET}@/",
        f"http://user:a/{SECRET}@c/",
        f"http://user:a?{SECRET}@c/",
        f"http://user:a#{SECRET}@c/",
        f"http://user:a@{SECRET}@c:0/",
        f"us://er:{SECRET} @c",
        f"http://c:0/v1/traces?api-key={SECRET}",
        f"http://[{SECRET}@::1/",
        f"http://c :1/#{SECRET}",
    ],
)
def test_a_wrong_endpoint_never_shows_its_credentials(
    url: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(ValueError, match="endpoint=") as caught:
        resolve(url)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", url)
    assert resolve().endpoint.url == DEFAULT
    assert caught.value.__context__ is None
    assert SECRET not in str(caught.value) + one_warning(caplog)


# --- timeout, compression


@pytest.mark.parametrize("value", [0, -1, 0.0, math.nan, math.inf, -math.inf, 10**400])
def test_a_wrong_timeout_argument_raises_value_error(value: Any) -> None:
    with pytest.raises(ValueError, match=r"timeout=.*allowed: seconds, a finite number above 0"):
        resolve(timeout=value)


@pytest.mark.parametrize("value", ["10", True, [1], 1j])
def test_a_timeout_of_another_type_raises_type_error(value: Any) -> None:
    with pytest.raises(TypeError, match=f"timeout must be a number .* {type(value).__name__}"):
        resolve(timeout=value)


@pytest.mark.parametrize("value", ["soon", "0", "-3", "nan", "inf", "1e999", "10s"])
def test_a_wrong_timeout_variable_gets_one_warning_and_the_default(
    value: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", value)
    assert resolve().timeout == 10.0
    text = one_warning(caplog)
    assert text.startswith(f"OTEL_EXPORTER_OTLP_TIMEOUT='{value}' is not allowed; allowed: seconds")
    assert text.endswith("using the default, 10.0")


@pytest.mark.parametrize(
    ("value", "name"),
    [
        ("none", "none"),
        (" GZip ", "gzip"),
        ("deflate", "deflate"),
        ("zstd", "zstd"),
        (Compression.Gzip, "gzip"),
        (Compression.Deflate, "deflate"),
        (Compression.NoCompression, "none"),
    ],
)
def test_compressions(value: Any, name: str) -> None:
    assert resolve(compression=value).compression == name


def test_a_wrong_compression_argument_raises() -> None:
    grpc = pytest.importorskip("grpc")
    with pytest.raises(ValueError, match=r"compression='br' is not known; allowed: none, gzip, deflate"):
        resolve(compression="br")
    with pytest.raises(ValueError, match=r"compression='' is not known"):
        resolve(compression="")
    others: list[Any] = [grpc.Compression.Gzip, 9, True, b"gzip"]
    for value in others:
        with pytest.raises(TypeError, match="compression must be one of none, gzip, deflate"):
            resolve(compression=value)


def test_a_wrong_compression_variable_gets_one_warning_and_the_default(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TRACES_COMPRESSION", "brotli")
    assert resolve().compression == "none"
    assert one_warning(caplog) == (
        "OTEL_EXPORTER_OTLP_TRACES_COMPRESSION='brotli' is not known; allowed: none, gzip, deflate, "
        "zstd; using the default, none"
    )


# --- text for people


@given(st.text(max_size=400))
def test_printable_gives_one_short_harmless_line(text: str) -> None:
    line = printable(text)
    assert line.isprintable()
    assert len(line) <= 200
    line.encode("utf-8")


@given(st.text("ab:/?#@[]", max_size=20), st.text("ab:/?#[]", max_size=20))
def test_nothing_before_the_last_at_sign_survives_masking(before: str, after: str) -> None:
    assert SECRET not in mask_url(f"http://{before}{SECRET}{before}@{after}")
    assert SECRET not in mask_url(f"{before}:{SECRET}@{after}")


def test_settings_compare_by_value() -> None:
    assert isinstance(resolve(), Settings)
    assert resolve("http://c/") == resolve("http://c/")
