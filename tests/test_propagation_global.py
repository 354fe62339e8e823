"""Which propagators an application gets: by configuration, and those of others on otlpfast's spans."""

from __future__ import annotations

import json
from importlib.metadata import entry_points
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.context.context import Context
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON, Sampler

import otlpfast
from otlpfast import propagation

from .starting import python
from .test_trace_surface import made

SHOW = """
import json
from opentelemetry import propagate
found = propagate.get_global_textmap()
parts = getattr(found, "_propagators", ())
print(json.dumps([f"{type(one).__module__}.{type(one).__qualname__}" for one in (found, *parts)]))
"""
CONFIGURE = "import otlpfast; otlpfast.configure(exporters=())\n"
CONFIGURATOR = "from otlpfast.autoconfigure import OtlpfastConfigurator as C; C().configure()\n"
HOME = "otlpfast._core" if otlpfast.IMPLEMENTATION == "c" else "otlpfast._pure.propagation"
OWN = [
    f"{HOME}.{name}"
    for name in ("CompositePropagator", "TraceContextTextMapPropagator", "W3CBaggagePropagator")
]
COMPOSITE, TRACE_CONTEXT, BAGGAGE = OWN
STOCK = [
    "opentelemetry.propagators.composite.CompositePropagator",
    "opentelemetry.trace.propagation.tracecontext.TraceContextTextMapPropagator",
    "opentelemetry.baggage.propagation.W3CBaggagePropagator",
]
B3 = "opentelemetry.propagators.b3.B3MultiFormat"
ALONE = {"OTEL_TRACES_EXPORTER": "none", "OTLPFAST_QUIET": "true"}


def in_use(code: str, **variables: str) -> list[str]:
    done = python(code + SHOW, **{**ALONE, **variables})
    assert done.stderr == ""
    found: list[str] = json.loads(done.stdout)
    return found


class TestConfiguration:
    @pytest.mark.parametrize("code", ["import opentelemetry.propagate\n" + CONFIGURE, CONFIGURATOR])
    def test_otlpfasts_are_in_the_place_of_the_apis(self, code: str) -> None:
        assert in_use(code) == OWN

    def test_variables_say_which_and_in_which_order(self) -> None:
        assert in_use(CONFIGURE, OTEL_PROPAGATORS="baggage,tracecontext") == [
            COMPOSITE,
            BAGGAGE,
            TRACE_CONTEXT,
        ]
        assert in_use(CONFIGURE, OTEL_PROPAGATORS="tracecontext") == [COMPOSITE, TRACE_CONTEXT]
        assert in_use(CONFIGURE, OTEL_PROPAGATORS="none") == STOCK[:1]

    def test_those_of_others_stay(self) -> None:
        assert in_use(CONFIGURE, OTEL_PROPAGATORS="b3multi,baggage") == [COMPOSITE, B3, BAGGAGE]
        assert in_use(CONFIGURE, OTEL_PROPAGATORS="b3multi") == [STOCK[0], B3]

    def test_otlpfasts_can_be_named(self) -> None:
        named = "otlpfast_tracecontext, otlpfast_baggage"
        assert in_use("", OTEL_PROPAGATORS=named) == [STOCK[0], TRACE_CONTEXT, BAGGAGE]
        known = entry_points(group="opentelemetry_propagator")
        for name, kind in (("tracecontext", STOCK[1]), ("baggage", STOCK[2])):
            (entry,) = known.select(name=name)
            assert entry.value == kind[::-1].replace(".", ":", 1)[::-1]

    def test_what_the_application_has_set_stays(self) -> None:
        mine = "from opentelemetry import propagate\nfrom opentelemetry.propagators import composite\n"
        mine += "class Mine(composite.CompositePropagator): pass\npropagate.set_global_textmap(Mine([]))\n"
        assert in_use(mine + CONFIGURE) == ["__main__.Mine"]
        assert in_use(CONFIGURE + mine) == ["__main__.Mine"]

    def test_a_propagator_that_is_not_known_is_one_warning(self) -> None:
        done = python(CONFIGURE + "print('goes on')", **ALONE, OTEL_PROPAGATORS="tracecontext,unknown")
        assert done.stdout == "goes on\n"
        assert done.stderr.count("\n") == 1 and "unknown" in done.stderr

    @pytest.mark.parametrize(
        "code", ["", CONFIGURE, CONFIGURATOR], ids=["nothing", "configure()", "configurator"]
    )
    def test_switched_off_they_are_the_apis(self, code: str) -> None:
        done = python(code + SHOW, **ALONE, OTLPFAST_DISABLED="true")
        assert json.loads(done.stdout.splitlines()[-1]) == STOCK
        code = "from otlpfast import propagation as p; print(p.CompositePropagator, p.W3CBaggagePropagator)"
        assert "otlpfast" not in python(code, OTLPFAST_DISABLED="true").stdout

    def test_without_configuration_nothing_is_replaced(self) -> None:
        assert in_use("import otlpfast.propagation; otlpfast.TracerProvider()") == STOCK


# --- formats of others


class SameIds(IdGenerator):
    def generate_trace_id(self) -> int:
        return 0x0AF7651916CD43DD8448EB211C80319C

    def generate_span_id(self) -> int:
        return 0xB7AD6B7169203331


def official(name: str) -> Any:
    pytest.importorskip(f"opentelemetry.propagators.{name.partition('.')[0]}")
    (entry,) = entry_points(group="opentelemetry_propagator", name=name.partition(".")[2])
    return entry.load()()


@pytest.mark.parametrize("name", ["b3.b3", "b3.b3multi", "jaeger.jaeger", "aws.xray"])
class TestOfficialPropagators:
    @pytest.mark.parametrize("sampler", [ALWAYS_ON, ALWAYS_OFF], ids=["sampled", "not sampled"])
    def test_carry_a_span_of_otlpfasts_as_one_of_the_sdks(self, name: str, sampler: Sampler) -> None:
        options: dict[str, Any] = {"sampler": sampler, "id_generator": SameIds(), "shutdown_on_exit": False}
        found = []
        for provider in (otlpfast.TracerProvider(**options), TracerProvider(**options)):
            carrier: dict[str, str] = {}
            with provider.get_tracer("t").start_as_current_span("client"):
                official(name).inject(carrier)
            found.append(carrier)
        assert found[0] == found[1] != {}

    def test_bring_a_parent_to_a_span_of_otlpfasts(self, name: str) -> None:
        propagator = official(name)
        carrier: dict[str, str] = {}
        with made().get_tracer("t").start_as_current_span("client") as client:
            propagator.inject(carrier)
        server = made().get_tracer("t").start_span("server", propagator.extract(carrier, Context()))
        assert isinstance(server, otlpfast.Span)
        assert server.parent is not None and server.parent.is_remote
        assert server.parent.span_id == client.get_span_context().span_id
        assert server.get_span_context().trace_id == client.get_span_context().trace_id

    def test_agree_with_w3c_in_one_composite(self, name: str) -> None:
        both = propagation.CompositePropagator([propagation.TraceContextTextMapPropagator(), official(name)])
        span = made().get_tracer("t").start_span("client")
        carrier: dict[str, str] = {}
        both.inject(carrier, trace.set_span_in_context(span, Context()))
        assert "traceparent" in carrier and len(carrier) > 1
        for fields in (["traceparent"], [field for field in carrier if field != "traceparent"]):
            came = both.extract({field: carrier[field] for field in fields}, Context())
            assert trace.get_current_span(came).get_span_context().span_id == span.get_span_context().span_id
