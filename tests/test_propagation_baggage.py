"""W3C baggage through a service: what it gets it sends on, within the limits of the specification.

The sentences are those of "Propagation format for distributed context: Baggage", "Limits".
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from opentelemetry import baggage
from opentelemetry.context.context import Context

from otlpfast.propagation import W3CBaggagePropagator

from .forwarding import Headers, last_service, passed, quiet_fixture, service, values  # noqa: F401


@pytest.fixture(scope="module", name="address")
def address_fixture() -> Iterator[str]:
    """Of a service that passes baggage on."""
    with ExitStack() as stack:
        last = stack.enter_context(last_service())
        yield stack.enter_context(service(last, OTEL_PROPAGATORS="baggage"))


def sent(address: str, *headers: str) -> list[str]:
    """The members of the one header that the service sends; none where it sends none."""
    pairs: Headers = [("baggage", header) for header in headers]
    (found,) = passed(address, pairs).sent
    assert not values(found, "traceparent")
    came = values(found, "baggage")
    assert len(came) <= 1
    return came[0].split(",") if came else []


def members(count: int, size: int = 7) -> list[str]:
    """So many different ones, of so many bytes each."""
    return [f"{f'k{number:03}=':v<{size}}" for number in range(count)]


class TestMembers:
    def test_64_of_8192_bytes_are_propagated(self, address: str) -> None:
        """ "A platform MUST propagate all list-members including any list-members added by the platform." """
        header = ",".join([*members(63, 127), f"{'last=':v<128}"])
        assert len(header) == 8192
        assert ",".join(sent(address, header)) == header

    def test_180_are_and_no_more(self, address: str) -> None:
        assert sent(address, ",".join(members(180))) == members(180)
        assert sent(address, ",".join(members(181))) == members(180)

    def test_several_headers_have_the_limit_of_one(self, address: str) -> None:
        both = members(200)
        assert sent(address, ",".join(both[:100]), ",".join(both[100:])) == both[:180]

    def test_a_header_of_more_than_8192_bytes_is_left_out(self, address: str) -> None:
        header = ",".join(members(64, 127))
        assert len(header) == 8191
        assert len(sent(address, header)) == 64
        assert sent(address, header + "vv") == []
        assert sent(address, header, "a=b") == []

    def test_one_of_more_than_4096_bytes_costs_itself(self, address: str) -> None:
        assert sent(address, f"a=b,{'long=':v<4096},c=d") == ["a=b", f"{'long=':v<4096}", "c=d"]
        assert sent(address, f"a=b,{'long=':v<4097},c=d") == ["a=b", "c=d"]


class TestWhatIsSent:
    """What an application puts there keeps to the limits, too, with one warning in the log."""

    def header(self, entries: dict[str, str]) -> str:
        context = Context()
        for key, value in entries.items():
            context = baggage.set_baggage(key, value, context)
        carrier: dict[str, str] = {}
        W3CBaggagePropagator().inject(carrier, context)
        return carrier.get("baggage", "")

    def test_has_at_most_180_members(self) -> None:
        assert self.header({f"k{n}": "v" for n in range(180)}).count(",") == 179
        assert self.header({f"k{n}": "v" for n in range(181)}).count(",") == 179

    def test_has_at_most_8192_bytes(self) -> None:
        # A percent-encoded character counts as the three bytes that it takes.
        for value in ("v" * 100, "é" * 16, "😀" * 8):
            assert len(self.header({f"key-{n}": value for n in range(100)})) <= 8192

    def test_has_no_key_that_alone_has_more(self) -> None:
        assert self.header({"k" * 8192: "v", "\u20ac" * 3000: "v", "short": "v"}) == "short=v"

    def test_has_no_member_of_more_than_4096_bytes(self) -> None:
        assert self.header({"a": "b", "long": "é" * 1000, "c": "d"}) == "a=b,c=d"


def test_properties_and_spaces_are_read_as_the_api_reads_them(address: str) -> None:
    assert sent(address, "a = 1 ; p=q , b=%20x%C3%A9") == ["a=1+%3B+p%3Dq", "b=x%C3%A9"]
