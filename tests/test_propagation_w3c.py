"""W3C trace context, sentence by sentence: a service that has a server and a client span.

The sentences are those of "Trace Context" (traceparent, tracestate), a request is what a service gets, and
what it sends is what the next one gets: once from propagator to propagator, once over HTTP between processes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.context.context import Context
from opentelemetry.trace.span import TraceState

from otlpfast.propagation import TraceContextTextMapPropagator

from .forwarding import Headers, last_service, passed, quiet_fixture, service, values  # noqa: F401
from .test_trace_surface import made

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
CAME = f"00-{TRACE}-{PARENT}-01"
# docs/compatibility.md, "SDK versions"
BEGINS_WITH_SPACE = pytest.mark.skipif(
    not TraceState.from_header([" a=1"]), reason="this API loses a tracestate that begins with a space"
)


@pytest.fixture(scope="module", name="real_service")
def real_service_fixture() -> Iterator[str]:
    """The address of a service whose requests can be seen."""
    with ExitStack() as stack:
        last = stack.enter_context(last_service())
        yield stack.enter_context(service(last, OTEL_PROPAGATORS="tracecontext"))


def sent_in_process(headers: Headers) -> Headers:
    """What a service sends on, without a network between."""
    carrier: dict[str, list[str]] = {}
    for name, value in headers:
        carrier.setdefault(name, []).append(value)
    propagator = TraceContextTextMapPropagator()
    server = made().get_tracer("t").start_span("server", propagator.extract(carrier))
    sent: dict[str, str] = {}
    propagator.inject(sent, trace.set_span_in_context(server, Context()))
    return list(sent.items())


PassedOn = Callable[..., tuple[list[str], str | None]]


@pytest.fixture(name="passed_on", params=["in process", "over HTTP"])
def passed_on_fixture(request: pytest.FixtureRequest) -> PassedOn:
    """Gives the fields of the traceparent that the service sends, and its tracestate."""
    if request.param == "over HTTP":
        address = request.getfixturevalue("real_service")

    def pass_on(traceparent: Any, tracestate: Any = None) -> tuple[list[str], str | None]:
        headers: Headers = []
        for name, given in (("traceparent", traceparent), ("tracestate", tracestate)):
            if given is not None:
                headers += [(name, value) for value in (given if isinstance(given, list) else [given])]
        if request.param == "over HTTP":
            (sent,) = passed(address, headers).sent
        else:
            sent = sent_in_process(headers)
        (parent,) = values(sent, "traceparent")
        version, trace_id, span_id, flags = parent.split("-")
        assert version == "00" and int(trace_id, 16) and int(span_id, 16)
        assert (len(trace_id), len(span_id), len(flags)) == (32, 16, 2)
        assert parent == parent.lower()
        assert span_id != PARENT
        states = values(sent, "tracestate")
        assert len(states) <= 1
        return [trace_id, span_id, flags], states[0] if states else None

    return pass_on


@pytest.fixture(name="continues")
def continues_fixture(passed_on: PassedOn) -> Callable[..., bool]:
    """Says whether the service goes on with the trace of the request."""
    return lambda traceparent, tracestate=None: passed_on(traceparent, tracestate)[0][0] == TRACE


Continues = Callable[..., bool]


class TestTraceparent:
    def test_a_valid_one_is_continued(self, passed_on: PassedOn, continues: Continues) -> None:
        assert passed_on(CAME)[0][0] == TRACE
        assert continues(f"00-{TRACE}-{PARENT}-00")

    @pytest.mark.parametrize(
        "wrong",
        [
            "",
            "00",
            "00-",
            f"00-{TRACE}",
            f"00-{TRACE}-{PARENT}",
            f"00-{TRACE}-{PARENT}-",
            f"00-{TRACE}-{PARENT}-1",
            f"00-{TRACE}-{PARENT}-001",
            f"00_{TRACE}_{PARENT}_01",
            f"0-{TRACE}-{PARENT}-01",
            f"000-{TRACE}-{PARENT}-01",
            f".0-{TRACE}-{PARENT}-01",
            f"0g-{TRACE}-{PARENT}-01",
        ],
    )
    def test_one_that_is_not_of_its_form_restarts_the_trace(self, continues: Continues, wrong: str) -> None:
        assert not continues(wrong)

    @pytest.mark.parametrize(
        "trace_id", ["0" * 32, TRACE[:-1], TRACE + "0", TRACE.upper(), "." + TRACE[1:], TRACE[:-1] + "g"]
    )
    def test_if_the_trace_id_is_invalid_the_traceparent_is_ignored(
        self, passed_on: PassedOn, trace_id: str
    ) -> None:
        """ "for example if it contains non-allowed characters or all zeros" """
        found, state = passed_on(f"00-{trace_id}-{PARENT}-01", "a=1")
        assert found[0] not in (TRACE, "0" * 32) and state is None

    @pytest.mark.parametrize(
        "parent", ["0" * 16, PARENT[:-1], PARENT + "0", PARENT.upper(), "." + PARENT[1:]]
    )
    def test_if_the_parent_id_is_invalid_the_traceparent_is_ignored(
        self, passed_on: PassedOn, parent: str
    ) -> None:
        """ "for example, if it contains non-lowercase hex characters" """
        found, state = passed_on(f"00-{TRACE}-{parent}-01", "a=1")
        assert found[0] != TRACE and state is None

    @pytest.mark.parametrize("flags", ["", "0", "0g", ".1", "001", "FF", "-1"])
    def test_flags_are_two_lowercase_hexadecimal_digits(self, continues: Continues, flags: str) -> None:
        assert not continues(f"00-{TRACE}-{PARENT}-{flags}")

    @pytest.mark.parametrize("flags", ["00", "01", "02", "03", "08", "09", "fe", "ff"])
    def test_the_sampled_flag_is_one_bit_and_other_flags_are_set_to_zero(
        self, passed_on: PassedOn, flags: str
    ) -> None:
        """ "a flag 00000001 could be encoded as 01 in hex, or 09"; "Vendors MUST set those to zero." """
        sent = int(passed_on(f"00-{TRACE}-{PARENT}-{flags}")[0][2], 16)
        assert sent & ~3 == 0
        came = trace.get_current_span(
            TraceContextTextMapPropagator().extract({"traceparent": f"00-{TRACE}-{PARENT}-{flags}"})
        )
        assert came.get_span_context().trace_flags.sampled is bool(int(flags, 16) & 1)

    def test_one_of_two_is_not_chosen(self, passed_on: PassedOn) -> None:
        """ "its combined field value consists of the list of corresponding field line values" (RFC 9110)"""
        other = f"00-{TRACE[::-1]}-{PARENT}-01"
        found, state = passed_on([CAME, other], "a=1")
        assert found[0] not in (TRACE, TRACE[::-1]) and state is None
        assert passed_on([CAME, CAME])[0][0] != TRACE

    @pytest.mark.parametrize("spaced", [f" {CAME}", f"{CAME} ", f"\t{CAME}\t"])
    def test_spaces_around_it_are_none_of_it(self, continues: Continues, spaced: str) -> None:
        assert continues(spaced)


class TestVersions:
    def test_ff_is_invalid(self, continues: Continues) -> None:
        assert not continues(f"ff-{TRACE}-{PARENT}-01")

    @pytest.mark.parametrize("version", ["01", "cc", "fe"])
    @pytest.mark.parametrize("more", ["", "-", "-what-the-future-will-be-like"])
    def test_a_higher_one_is_parsed_as_far_as_it_is_known(
        self, continues: Continues, version: str, more: str
    ) -> None:
        """ "either at the end of the string or followed by a dash" """
        assert continues(f"{version}-{TRACE}-{PARENT}-01{more}")

    @pytest.mark.parametrize(
        "rest", [f"{PARENT}-01.what", f"{PARENT}-0", f"{PARENT}.01", f"{PARENT[:-1]}-01"]
    )
    def test_a_higher_one_of_another_form_restarts_the_trace(self, continues: Continues, rest: str) -> None:
        assert not continues(f"cc-{TRACE}-{rest}")

    @pytest.mark.parametrize("more", ["-", "-01", ".", "-what"])
    def test_00_has_nothing_after_the_flags(self, continues: Continues, more: str) -> None:
        assert not continues(CAME + more)


class TestTracestate:
    def test_is_passed_on_in_its_order(self, passed_on: PassedOn) -> None:
        header = "rojo=00f067aa0ba902b7,congo=t61rcWkgMzE"
        assert passed_on(CAME, header)[1] == header

    def test_is_not_parsed_without_a_traceparent(self, passed_on: PassedOn) -> None:
        """ "If the vendor failed to parse traceparent, it MUST NOT attempt to parse tracestate." """
        assert passed_on(None, "a=1")[1] is None
        assert passed_on("00-wrong", "a=1")[1] is None

    @pytest.mark.parametrize(
        "wrong",
        [
            "a",
            "=1",
            "a=1=2",
            "A=1",
            "a=é",
            "a =1",
            "a=",
            "a@=1",
            "@a=1",
            "a@@b=1",
            "a@b@c=1",
            "k" * 257 + "=1",
            "t" * 242 + "@v=1",
            "t@" + "v" * 15 + "=1",
            "a=" + "v" * 257,
            "a=1,b",
            "a=1,a=2",
        ],
        ids=lambda header: header[:12],
    )
    def test_one_that_is_wrong_is_dropped_and_the_trace_goes_on(
        self, passed_on: PassedOn, wrong: str
    ) -> None:
        """ "failure to parse tracestate MUST NOT affect the parsing of traceparent" """
        found, state = passed_on(CAME, wrong)
        assert found[0] == TRACE and state is None

    @pytest.mark.parametrize(
        "key",
        ["a", "z0_-*/", "k" * 256, "fw529a3039@dt", "0tenant@v", "t" * 241 + "@v", "t@" + "v" * 14],
        ids=lambda key: key[:12],
    )
    def test_keys_of_every_allowed_form(self, passed_on: PassedOn, key: str) -> None:
        assert passed_on(CAME, f"{key}=1")[1] == f"{key}=1"

    @pytest.mark.parametrize("value", ["1", " 1", "a b", "!\"#$%&'()*+-./:;<>?@[]^_`{|}~\\", "v" * 256])
    def test_values_of_every_allowed_form(self, passed_on: PassedOn, value: str) -> None:
        assert passed_on(CAME, f"a={value},b=2")[1] == f"a={value},b=2"

    @pytest.mark.parametrize(
        "header",
        [
            "a=1 , b=2",
            "a=1\t,\tb=2",
            pytest.param(" a=1,b=2 ", marks=BEGINS_WITH_SPACE),
            "a=1,,b=2",
            "a=1, ,b=2,",
            ",a=1,b=2",
        ],
    )
    def test_spaces_and_tabs_surrounding_members_are_ignored_and_members_may_be_empty(
        self, passed_on: PassedOn, header: str
    ) -> None:
        assert passed_on(CAME, header)[1] == "a=1,b=2"

    @pytest.mark.parametrize("header", ["", " ", ",", " , ,"])
    def test_an_empty_one_is_accepted_and_not_sent(self, passed_on: PassedOn, header: str) -> None:
        """ "Vendors MUST accept empty tracestate headers but SHOULD avoid sending them." """
        assert passed_on(CAME, header)[1] is None

    @pytest.mark.parametrize(
        "headers",
        [
            ["a=1", "b=2"],
            ["a=1,b=2", ""],
            pytest.param(["", "a=1", " ", "b=2"], marks=BEGINS_WITH_SPACE),
        ],
    )
    def test_several_headers_are_combined_into_one(self, passed_on: PassedOn, headers: list[str]) -> None:
        assert passed_on(CAME, headers)[1] == "a=1,b=2"

    def test_there_can_be_32_members(self, passed_on: PassedOn) -> None:
        members = [f"k{number}={number}" for number in range(33)]
        assert passed_on(CAME, ",".join(members[:32]))[1] == ",".join(members[:32])
        assert passed_on(CAME, ",".join(members))[1] is None
        assert passed_on(CAME, [",".join(members[:20]), ",".join(members[20:])])[1] is None

    def test_512_characters_are_propagated_and_more(self, passed_on: PassedOn) -> None:
        """ "Vendors SHOULD propagate at least 512 characters of a combined header." """
        header = ",".join(f"k{number}={'v' * 240}" for number in range(32))
        assert passed_on(CAME, header)[1] == header


class TestRequests:
    """What only a real one shows."""

    @pytest.mark.parametrize("name", ["TraceParent", "TRACEPARENT", "traceParent"])
    def test_header_names_are_expected_in_any_case_and_sent_in_lowercase(
        self, real_service: str, name: str
    ) -> None:
        (sent,) = passed(real_service, [(name, CAME), ("TraceState", "a=1")]).sent
        assert values(sent, "traceparent")[0].split("-")[1] == TRACE
        assert [key for key, _ in sent if key.lower().startswith("trace")] == ["traceparent", "tracestate"]

    @pytest.mark.parametrize("name", ["trace-parent", "trace.parent", "trace_parent"])
    def test_other_names_are_none_of_it(self, real_service: str, name: str) -> None:
        (sent,) = passed(real_service, [(name, CAME), ("tracestate", "a=1")]).sent
        assert values(sent, "traceparent")[0].split("-")[1] != TRACE and not values(sent, "tracestate")

    @pytest.mark.parametrize(
        "came", [CAME, None, f"00-{'0' * 32}-{PARENT}-01"], ids=["valid", "none", "wrong"]
    )
    def test_all_requests_of_one_are_of_one_trace(self, real_service: str, came: str | None) -> None:
        sent = passed(real_service, [("traceparent", came)] if came else [], times=3).sent
        fields = [values(headers, "traceparent")[0].split("-") for headers in sent]
        assert len({trace_id for _, trace_id, _, _ in fields}) == 1
        assert len({span_id for _, _, span_id, _ in fields}) == 3
        assert (fields[0][1] == TRACE) is (came == CAME)

    def test_requests_without_a_traceparent_have_nothing_to_do_with_each_other(
        self, real_service: str
    ) -> None:
        sent = [passed(real_service, [("tracestate", "a=1")]).sent[0] for _ in range(2)]
        assert len({values(headers, "traceparent")[0].split("-")[1] for headers in sent}) == 2
        assert not any(values(headers, "tracestate") for headers in sent)
