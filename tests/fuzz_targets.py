"""What is read from outside, and what holds whatever comes: the targets of ``python -m tests.fuzz``.

A target takes what Hypothesis gives it and raises AssertionError, or what the code under it must not raise.
"""

from __future__ import annotations

import functools
import os
import struct
import tempfile
from collections.abc import Callable
from http.client import HTTPMessage
from typing import Any
from unittest import mock

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from hypothesis.database import DirectoryBasedExampleDatabase
from opentelemetry import baggage, trace
from opentelemetry.context.context import Context
from opentelemetry.trace import TraceState

from otlpfast import _arguments, _impl, _parse, _pure, _thresholds, sampling
from otlpfast import trace as own_trace
from otlpfast._spool import records
from otlpfast.export import answer, config, endpoint, grpc_failure, grpc_settings, retry
from otlpfast.profiling import Profile
from otlpfast.web import decode, guard

from . import headers

SECRET = "s3cr3t-t0ken"
IMPLEMENTATIONS = (_impl.core, _pure)

Target = Callable[..., None]
TARGETS: dict[str, tuple[Target, dict[str, st.SearchStrategy[Any]]]] = {}
"""By name, each with what it takes."""

ANYTHING_GOES = settings(
    max_examples=500,
    deadline=None,
    database=DirectoryBasedExampleDatabase(".hypothesis/fuzz"),
    phases=[Phase.reuse, Phase.generate, Phase.shrink],
    suppress_health_check=list(HealthCheck),
)


def target(**given: st.SearchStrategy[Any]) -> Callable[[Target], Target]:
    """Registers a function as a target."""

    def register(function: Target) -> Target:
        TARGETS[function.__name__] = function, given
        return function

    return register


def as_test(name: str, chosen: settings = ANYTHING_GOES, count: Callable[[], None] = lambda: None) -> Any:
    """A target as a test of Hypothesis; ``count`` is called for each input."""
    function, strategies = TARGETS[name]

    @functools.wraps(function)
    def counted(**given: Any) -> None:
        count()
        function(**given)

    return chosen(given(**strategies)(counted))


# --- what comes

texts = st.one_of(
    st.text(), st.text("0123456789-+.eE:/@%[]=,;* \t\"'\\", max_size=60), st.integers().map(str)
)
long_numbers = st.sampled_from(["9" * 5000, "-" + "9" * 5000, "1e999", "nan", "inf", "٣", "0x10", "1_000"])
values = headers.mutated(st.one_of(texts, long_numbers))
hosts = st.sampled_from(
    ["localhost", "[::1]", "[fe80::1%25eth0]", "10.0.0.1", "bücher.example", "a" * 300, ""]
)
urls = headers.mutated(
    st.builds(
        lambda scheme, user, host, port, rest: f"{scheme}{user}{host}{port}{rest}",
        st.sampled_from(["http://", "https://", "unix://", "http+unix://", "HTTP://", "//", "", "ftp://"]),
        st.sampled_from(["", f"user:{SECRET}@", f"{SECRET}@"]),
        hosts,
        st.one_of(st.just(""), st.just(":4318"), long_numbers.map(lambda text: ":" + text)),
        st.sampled_from(["", "/", "/v1/traces", "/%2Frun%2Fsocket", "/a?b=c#d", "/%00", "/\ud800"]),
    )
)
octets = st.one_of(
    st.binary(max_size=600),
    st.lists(st.sampled_from([b"\n", b"\x12", b"\x80", b"\xff", b"\x01", b"\x00", b"abc"])).map(b"".join),
)


def message(number: int, body: bytes) -> bytes:
    """A field of a protobuf message."""
    return bytes([number << 3 | 2, len(body) & 0x7F]) + body[:0x7F]


messages = st.recursive(
    octets,
    lambda inner: st.lists(st.builds(message, st.integers(1, 15), inner), max_size=4).map(b"".join),
    max_leaves=6,
)
all_records = st.lists(st.tuples(st.binary(max_size=80), st.integers(0, 9)), max_size=5)


# --- targets


def seen(found: Context) -> object:
    context = trace.get_current_span(found).get_span_context()
    state = list(context.trace_state.items())
    return context.trace_id, context.span_id, context.trace_flags, state, dict(baggage.get_all(found))


anything = st.dictionaries(
    st.sampled_from(["traceparent", "tracestate", "baggage"]), st.one_of(values, st.text("00-af,=;%"))
)


@target(carrier=st.one_of(headers.carriers, anything))
def propagators(carrier: dict[str, str]) -> None:
    results = []
    for core in IMPLEMENTATIONS:
        parent, bag = core.TraceContextTextMapPropagator(), core.W3CBaggagePropagator()
        found = bag.extract(carrier, parent.extract(carrier, Context()))
        sent: dict[str, str] = {}
        parent.inject(sent, found)
        bag.inject(sent, found)
        # What was understood is sent so that it is understood again.
        again = parent.extract(sent, Context())
        assert (
            trace.get_current_span(again).get_span_context()
            == trace.get_current_span(found).get_span_context()
        )
        results.append((seen(found), sent))
    assert all(result == results[0] for result in results)


@target(
    member=headers.mutated(st.text("thrv:;0123456789abcdef_", max_size=300)), threshold=st.integers(0, 2**56)
)
def tracestate_entry(member: str, threshold: int) -> None:
    state = TraceState([("ot", member), ("vendor", "x")])
    after = _thresholds.with_threshold(state, threshold or None)
    assert after is not None and after.get("vendor") == "x"
    if 0 < threshold < 2**56:
        assert _thresholds.Entry.of(after).threshold == threshold


@target(text=st.one_of(headers.entries, values, st.lists(values).map(",".join)))
def header_list(text: str) -> None:
    found, wrong, count = config.read_header_list(text)
    assert all(1 <= position <= count for position in wrong)
    for name, value in found.items():
        assert name and not set("\r\n\0") & {*name, *value}
        value.encode("latin-1")


@target(text=st.one_of(urls, values))
def endpoints(text: str) -> None:
    for read in (endpoint.parse_endpoint, grpc_settings.parse_target):
        try:
            found = read(text)
        except endpoint.Unusable as error:
            shown = str(error)
        else:
            shown = found.shown + repr(found)
            assert 0 <= found.port <= 65535
        # A secret may only be seen where the host is thought to be.
        assert f":{SECRET}@" not in shown
    assert endpoint.mask_url(text).isprintable()


VARIABLES = (
    *(
        f"OTEL_EXPORTER_OTLP_{name}"
        for name in ("ENDPOINT", "HEADERS", "TIMEOUT", "COMPRESSION", "CERTIFICATE")
    ),
    "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
    "http_proxy",
    "https_proxy",
    "all_proxy",
    "no_proxy",
    *_arguments.DEFAULTS,
    *own_trace._COUNTS.values(),
    *own_trace._LENGTHS.values(),
)


def possible(text: str) -> bool:
    """An operating system can have it in a variable."""
    try:
        return "\0" not in text and bool(os.fsencode(text) or True)
    except UnicodeEncodeError:
        return False


@target(variables=st.dictionaries(st.sampled_from(VARIABLES), st.one_of(values, urls).filter(possible)))
def environment(variables: dict[str, str]) -> None:
    with mock.patch.dict(os.environ, variables):
        found = config.resolve()
        assert found.timeout > 0 and 0 <= found.endpoint.port <= 65535
        for name in _arguments.DEFAULTS:
            assert _arguments._from_environment(name) > 0
        own_trace._limits()


@target(text=values)
def sampler_arguments(text: str) -> None:
    for make in (sampling.consistent_probability, sampling.rate_limiting):
        try:
            make(text)
        except ValueError as error:
            assert str(error)


@target(text=st.one_of(values, urls), header=st.text(st.characters(max_codepoint=255)))
def addresses(text: str, header: str) -> None:
    parts = guard.split_address(text)
    assert parts is None or 0 <= parts[1] <= 65535
    page = guard.Guard(guard.resolve("127.0.0.1:0"), "TOKEN")
    assert not page.admits(header, header) or "TOKEN" in header
    page.knows_host(header)
    page.has_token(header)


@target(
    body=messages,
    text=st.one_of(values, st.text(st.characters(max_codepoint=255))),
    kind=st.sampled_from(["text/plain", "x"]),
)
def answers(body: bytes, text: str, kind: str) -> None:
    rejected, said = answer.read_partial_success(body)
    assert 0 <= rejected < 1 << 63 and isinstance(said, str)
    seconds = (retry.read_retry_after(text), grpc_failure.read_retry_delay(body))
    assert all(wait is None or wait >= 0 for wait in seconds)
    fields = HTTPMessage()
    fields["content-type"] = kind
    answer.speaks_of_size(answer.read_error_text(answer.Answer(400, "", fields, body, "")))


@target(body=messages)
def requests(body: bytes) -> None:
    try:
        count = _parse.count_spans(body)
        if count > 1:
            assert sum(map(_parse.count_spans, _parse.halve(body, count))) == count
    except ValueError:
        pass
    try:
        for glimpse in decode.glimpses(body):
            decode.details(glimpse)
    except (ValueError, IndexError, struct.error):  # as its head says
        pass


@target(body=st.one_of(messages, messages.map(lambda body: b"2\0" + body)))
def pprof(body: bytes) -> None:
    try:
        profile = Profile.from_pprof(body)
    except ValueError:
        return
    profile.to_folded()
    Profile.from_pprof(profile.to_pprof())


@target(
    whole=all_records,
    changes=st.lists(st.tuples(st.integers(0, 2**20), octets), max_size=4),
    cut=st.integers(0, 2**20),
)
def spool_file(whole: list[tuple[bytes, int]], changes: list[tuple[int, bytes]], cut: int) -> None:
    data = bytearray(records.MAGIC)
    for payload, spans in whole:
        entry = records.Entry(
            len(data), len(payload), spans, 1, records.checksum([memoryview(payload)]), True
        )
        data += records.pack_header(entry) + payload
    for place, put in changes:
        at = place % (len(data) + 1)
        data[at : at + len(put)] = put
    if changes and len(changes) % 2:
        del data[cut % (len(data) + 1) :]
    with tempfile.TemporaryFile() as file:
        file.write(data)
        file.flush()
        end = (
            0 if len(data) < len(records.MAGIC) or not data.startswith(records.MAGIC) else len(records.MAGIC)
        )
        sound = []
        for found in records.scan(file.fileno()):
            assert found.offset == end, "what is read has no holes"
            end = found.end
            if (
                isinstance(found, records.Entry)
                and (read := records.read_payload(file.fileno(), found)) is not None
            ):
                sound.append((read, found.spans))
        assert end == len(data)
        if not changes:
            assert sound == whole
