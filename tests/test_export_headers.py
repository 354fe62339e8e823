"""Headers and credentials of the OTLP exporter: which are sent, which are refused; none is ever shown."""

from __future__ import annotations

import logging
import re
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from opentelemetry.util.re import parse_env_headers

from otlpfast.export.config import printable, read_header_list, resolve

from .exporting import SECRET, one_warning

# --- credentials


def test_credentials_of_the_url_become_a_basic_authorization() -> None:
    settings = resolve("https://us%40er:p%3Aw@c:4318/v1?key=abcd")
    assert settings.headers == {"authorization": "Basic dXNAZXI6cDp3"}
    assert settings.endpoint.url == "https://c:4318/v1?key=abcd"
    assert settings.endpoint.shown == "https://***@c:4318/v1?***"
    assert settings.endpoint.authority == "c:4318"
    for text in (repr(settings), str(settings.endpoint)):
        assert not re.search(r"dXNA|us%40|us@er|p%3Aw|p:w|abcd", text)


def test_a_given_authorization_wins_over_credentials_of_the_url(monkeypatch: pytest.MonkeyPatch) -> None:
    assert resolve("http://u:p@c/", {"Authorization": "Bearer t"}).headers == {"authorization": "Bearer t"}
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer%20e")
    assert resolve("http://u:p@c/").headers == {"authorization": "Bearer e"}


def test_secrets_are_taken_out_of_foreign_text() -> None:
    settings = resolve(f"http://u:{SECRET}@c/?key=query-secret", {"x-key": "header-secret", "x-small": "a"})
    text = settings.redact(f"no {SECRET}, dTpodW50ZXIyLXZlcnktc2VjcmV0, header-secret, query-secret today")
    assert text == "no ***, ***, ***, *** today"


# --- headers


@pytest.mark.parametrize("value", [["a"], "a=b", 7, [("a", "b")]])
def test_headers_of_another_type_raise_type_error(value: Any) -> None:
    with pytest.raises(TypeError, match="headers must be a mapping of str to str") as caught:
        resolve(headers=value)
    assert "a=b" not in str(caught.value)


@pytest.mark.parametrize("headers", [{1: SECRET}, {"x-key": SECRET.encode()}, {"x-key": None}, {"x-key": 1}])
def test_headers_that_are_not_str_raise_type_error_without_the_value(headers: Any) -> None:
    with pytest.raises(TypeError, match="headers must be a mapping of str to str") as caught:
        resolve(headers=headers)
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("x-key", f"{SECRET}\r\nx-injected: 1"),
        ("x-key", f"{SECRET}\n"),
        ("x-key", f"{SECRET}\r"),
        ("x-key", f"{SECRET}\0"),
        ("x-key", f"{SECRET}\x7f"),
        ("x-key", f"{SECRET}\u20ac"),
        ("x-key", f"{SECRET}\udcff"),
        ("x key", SECRET),
        ("x-key:", SECRET),
        ("", SECRET),
        ("x-kéy", SECRET),
        ("x-key\r\nx-injected: 1", SECRET),
        ("Content-Length", SECRET),
        ("transfer-encoding", SECRET),
        ("Connection", SECRET),
        ("content-type", SECRET),
        ("content-encoding", SECRET),
    ],
)
def test_an_illegal_header_argument_raises_and_names_the_header_not_the_value(name: str, value: str) -> None:
    with pytest.raises(ValueError, match="headers: ") as caught:
        resolve(headers={name: value})
    assert SECRET not in str(caught.value)
    assert printable(name) in str(caught.value)
    assert str(caught.value).isprintable()
    assert caught.value.__context__ is None


def test_the_content_type_that_is_sent_anyway_is_no_mistake() -> None:
    assert resolve(headers={"Content-Type": "application/x-protobuf", "X-A": " 1 "}).headers == {"x-a": "1"}


@pytest.mark.parametrize(
    ("text", "wrong", "kept"),
    [
        (f"authorization=Bearer%20{SECRET}%0D%0Ax-injected:%201,b=2", "1", {"b": "2"}),
        (f"{SECRET},b=2", "1", {"b": "2"}),
        (f'b=2,x="{SECRET}"', "2", {"b": "2"}),
        (f"b=2, x={SECRET};y ,,{SECRET}", "2, 4", {"b": "2"}),
        (f"x={SECRET}%E2%82%AC", "1", {}),
        (f"ke%20y={SECRET}", "1", {}),
        (f"content-length={SECRET}", "1", {}),
        (f"={SECRET}", "1", {}),
    ],
)
@pytest.mark.parametrize("name", ["OTEL_EXPORTER_OTLP_HEADERS", "OTEL_EXPORTER_OTLP_TRACES_HEADERS"])
def test_a_wrong_headers_variable_gets_one_warning_without_its_values(
    name: str,
    text: str,
    wrong: str,
    kept: object,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv(name, text)
    assert resolve().headers == kept
    warning = one_warning(caplog)
    assert warning.startswith(f"{name}: ")
    assert f"number {wrong} cannot be used" in warning
    assert "allowed: name=value" in warning
    assert SECRET not in caplog.text


HEADER_LISTS = st.lists(
    st.one_of(
        st.text(st.sampled_from("ab=%20 \t;é\"\\'/:-_A"), max_size=12),
        st.builds("{}={}".format, st.sampled_from(["a", "B", "x-y"]), st.text("ab%2C= +\t", max_size=8)),
    ),
    max_size=4,
).map(",".join)


@given(HEADER_LISTS)
@example("a=b=c")
@example("A = Bearer x%20y")
@example("a%2Db=%41")
@example("a=,b= ,\tc=d\t")
@example("B=,B=%C2")
def test_the_headers_variable_means_what_it_means_to_the_official_exporter(text: str) -> None:
    """Entry by entry, less those that HTTP forbids, which the official exporter takes and cannot send."""
    expected = {}
    logging.getLogger("opentelemetry.util.re").disabled = True
    try:
        for entry in text.split(","):
            for name, value in parse_env_headers(entry, liberal=True).items():
                legal_value = all(c == "\t" or " " <= c <= "~" or "\x80" <= c <= "\xff" for c in value)
                if re.fullmatch(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", name) and legal_value:
                    expected[name] = value
    finally:
        logging.getLogger("opentelemetry.util.re").disabled = False
    assert read_header_list(text)[0] == expected
