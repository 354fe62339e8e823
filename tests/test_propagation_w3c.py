"""W3C trace context, sentence by sentence: a service that has a server and a client span.

The sentences are those of "Trace Context" (traceparent, tracestate), a request is what a service gets, and
what it sends is what it would give the next one.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.context.context import Context

from otlpfast.propagation import TraceContextTextMapPropagator

from .test_trace_surface import made

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
CAME = f"00-{TRACE}-{PARENT}-01"


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    logging.getLogger("opentelemetry").setLevel(logging.ERROR)
    yield
    logging.getLogger("opentelemetry").setLevel(logging.NOTSET)


def passed_on(traceparent: Any, tracestate: Any = None) -> tuple[list[str], str | None]:
    """The fields of the traceparent that the service sends, and its tracestate."""
    carrier = {"traceparent": traceparent, "tracestate": tracestate}
    propagator = TraceContextTextMapPropagator()
    came = propagator.extract({name: value for name, value in carrier.items() if value is not None})
    server = made().get_tracer("t").start_span("server", came)
    sent: dict[str, str] = {}
    propagator.inject(sent, trace.set_span_in_context(server, Context()))
    version, trace_id, span_id, flags = sent["traceparent"].split("-")
    assert version == "00" and int(trace_id, 16) and int(span_id, 16)
    assert (len(trace_id), len(span_id), len(flags)) == (32, 16, 2)
    assert sent["traceparent"] == sent["traceparent"].lower()
    assert span_id != PARENT
    return [trace_id, span_id, flags], sent.get("tracestate")


def continues(traceparent: Any, tracestate: Any = None) -> bool:
    return passed_on(traceparent, tracestate)[0][0] == TRACE


class TestTraceparent:
    def test_a_valid_one_is_continued(self) -> None:
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
    def test_one_that_is_not_of_its_form_restarts_the_trace(self, wrong: str) -> None:
        assert not continues(wrong)

    @pytest.mark.parametrize(
        "trace_id", ["0" * 32, TRACE[:-1], TRACE + "0", TRACE.upper(), "." + TRACE[1:], TRACE[:-1] + "g"]
    )
    def test_if_the_trace_id_is_invalid_the_traceparent_is_ignored(self, trace_id: str) -> None:
        """ "for example if it contains non-allowed characters or all zeros" """
        found, state = passed_on(f"00-{trace_id}-{PARENT}-01", "a=1")
        assert found[0] not in (TRACE, "0" * 32) and state is None

    @pytest.mark.parametrize(
        "parent", ["0" * 16, PARENT[:-1], PARENT + "0", PARENT.upper(), "." + PARENT[1:]]
    )
    def test_if_the_parent_id_is_invalid_the_traceparent_is_ignored(self, parent: str) -> None:
        """ "for example, if it contains non-lowercase hex characters" """
        found, state = passed_on(f"00-{TRACE}-{parent}-01", "a=1")
        assert found[0] != TRACE and state is None

    @pytest.mark.parametrize("flags", ["", "0", "0g", ".1", "001", "FF", "-1"])
    def test_flags_are_two_lowercase_hexadecimal_digits(self, flags: str) -> None:
        assert not continues(f"00-{TRACE}-{PARENT}-{flags}")

    @pytest.mark.parametrize("flags", ["00", "01", "02", "03", "08", "09", "fe", "ff"])
    def test_the_sampled_flag_is_one_bit_and_other_flags_are_set_to_zero(self, flags: str) -> None:
        """ "a flag 00000001 could be encoded as 01 in hex, or 09"; "Vendors MUST set those to zero." """
        sent = int(passed_on(f"00-{TRACE}-{PARENT}-{flags}")[0][2], 16)
        assert sent & ~3 == 0
        came = trace.get_current_span(
            TraceContextTextMapPropagator().extract({"traceparent": f"00-{TRACE}-{PARENT}-{flags}"})
        )
        assert came.get_span_context().trace_flags.sampled is bool(int(flags, 16) & 1)

    @pytest.mark.parametrize("spaced", [f" {CAME}", f"{CAME} ", f"\t{CAME}\t"])
    def test_spaces_around_it_are_none_of_it(self, spaced: str) -> None:
        assert continues(spaced)


class TestVersions:
    def test_ff_is_invalid(self) -> None:
        assert not continues(f"ff-{TRACE}-{PARENT}-01")

    @pytest.mark.parametrize("version", ["01", "cc", "fe"])
    @pytest.mark.parametrize("more", ["", "-", "-what-the-future-will-be-like"])
    def test_a_higher_one_is_parsed_as_far_as_it_is_known(self, version: str, more: str) -> None:
        """ "either at the end of the string or followed by a dash" """
        assert continues(f"{version}-{TRACE}-{PARENT}-01{more}")

    @pytest.mark.parametrize(
        "rest", [f"{PARENT}-01.what", f"{PARENT}-0", f"{PARENT}.01", f"{PARENT[:-1]}-01"]
    )
    def test_a_higher_one_of_another_form_restarts_the_trace(self, rest: str) -> None:
        assert not continues(f"cc-{TRACE}-{rest}")

    @pytest.mark.parametrize("more", ["-", "-01", ".", "-what"])
    def test_00_has_nothing_after_the_flags(self, more: str) -> None:
        assert not continues(CAME + more)


class TestTracestate:
    def test_is_passed_on_in_its_order(self) -> None:
        header = "rojo=00f067aa0ba902b7,congo=t61rcWkgMzE"
        assert passed_on(CAME, header)[1] == header

    def test_is_not_parsed_without_a_traceparent(self) -> None:
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
    def test_one_that_is_wrong_is_dropped_and_the_trace_goes_on(self, wrong: str) -> None:
        """ "failure to parse tracestate MUST NOT affect the parsing of traceparent" """
        found, state = passed_on(CAME, wrong)
        assert found[0] == TRACE and state is None

    @pytest.mark.parametrize(
        "key",
        ["a", "z0_-*/", "k" * 256, "fw529a3039@dt", "0tenant@v", "t" * 241 + "@v", "t@" + "v" * 14],
        ids=lambda key: key[:12],
    )
    def test_keys_of_every_allowed_form(self, key: str) -> None:
        assert passed_on(CAME, f"{key}=1")[1] == f"{key}=1"

    @pytest.mark.parametrize("value", ["1", " 1", "a b", "!\"#$%&'()*+-./:;<>?@[]^_`{|}~\\", "v" * 256])
    def test_values_of_every_allowed_form(self, value: str) -> None:
        assert passed_on(CAME, f"a={value},b=2")[1] == f"a={value},b=2"

    @pytest.mark.parametrize(
        "header", ["a=1 , b=2", "a=1\t,\tb=2", " a=1,b=2 ", "a=1,,b=2", "a=1, ,b=2,", ",a=1,b=2"]
    )
    def test_spaces_and_tabs_surrounding_members_are_ignored_and_members_may_be_empty(
        self, header: str
    ) -> None:
        assert passed_on(CAME, header)[1] == "a=1,b=2"

    @pytest.mark.parametrize("header", ["", " ", ",", " , ,"])
    def test_an_empty_one_is_accepted_and_not_sent(self, header: str) -> None:
        """ "Vendors MUST accept empty tracestate headers but SHOULD avoid sending them." """
        assert passed_on(CAME, header)[1] is None

    @pytest.mark.parametrize("headers", [["a=1", "b=2"], ["a=1,b=2", ""], ["", "a=1", " ", "b=2"]])
    def test_several_headers_are_combined_into_one(self, headers: list[str]) -> None:
        assert passed_on(CAME, headers)[1] == "a=1,b=2"

    def test_there_can_be_32_members(self) -> None:
        members = [f"k{number}={number}" for number in range(33)]
        assert passed_on(CAME, ",".join(members[:32]))[1] == ",".join(members[:32])
        assert passed_on(CAME, ",".join(members))[1] is None
        assert passed_on(CAME, [",".join(members[:20]), ",".join(members[20:])])[1] is None

    def test_512_characters_are_propagated_and_more(self) -> None:
        """ "Vendors SHOULD propagate at least 512 characters of a combined header." """
        header = ",".join(f"k{number}={'v' * 240}" for number in range(32))
        assert passed_on(CAME, header)[1] == header
