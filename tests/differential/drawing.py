"""Random programs, as a hypothesis strategy."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st

from . import sources
from .ops import Block, Decorated, Generator, Line, Op, Program

_SYNCHRONOUS, _CONCURRENT = "sdk.SynchronousMultiSpanProcessor()", "sdk.ConcurrentMultiSpanProcessor()"
# A failing program loses the lines that it does not need: they become nothing.
_KINDS = ("nothing", *["change"] * 6, "flow", "flow", "block", "block", "look", "manage")
_CHANGES = ("attribute", "attributes", "event", "link", "name", "status", "exception", "end")


class _Draws:
    """Draws lines and blocks, and keeps what they may call by name."""

    def __init__(self, draw: st.DrawFn, inside: bool, random_ids: bool, active: str | None) -> None:
        self.draw, self.inside, self.active = draw, inside, active
        self.samplers = sources.certain if random_ids else sources.samplers
        self.spans: list[str] = []
        self.managers: list[str] = []
        self.entered: list[str] = []
        self.generators: list[str] = []
        self.tracers, self._count = 1, 0
        # A program with few kinds of lines does with them what one with all kinds hardly ever does.
        self.changes = draw(st.lists(st.sampled_from(_CHANGES), max_size=3)) or list(_CHANGES)

    def new(self, letter: str) -> str:
        self._count += 1
        return f"{letter}{self._count}"

    def any(self, strategy: st.SearchStrategy[str]) -> str:
        return self.draw(strategy)

    def pick(self, *items: Any) -> Any:
        return self.draw(st.sampled_from(items))

    def lazily(self, *lines: str | Callable[[], str]) -> str:
        """One of the lines, where some are drawn only when they are picked."""
        line = self.draw(st.sampled_from(range(len(lines))))
        chosen = lines[line]
        return chosen if isinstance(chosen, str) else chosen()

    def span(self) -> str:
        """Mostly the latest: earlier ones may have ended."""
        if not self.spans:
            return str(self.pick("get_current_span()", "INVALID_SPAN"))
        return str(self.pick(*[self.spans[-1]] * 3, *self.spans[-4:]))

    def tracer(self) -> str:
        return f"t{self.draw(st.integers(0, self.tracers - 1))}"

    def context(self) -> str:
        return self.lazily(lambda: f"{self.span()}.get_span_context()", lambda: self.any(sources.contexts))

    def optional(self, **options: Callable[[], str]) -> str:
        """Keyword arguments, any of them or none."""
        chosen = self.draw(st.lists(st.sampled_from(sorted(options)), unique=True, max_size=4))
        return "".join(f", {name}={options[name]()}" for name in chosen)

    def attributes(self) -> str:
        return self.any(sources.maybe_attributes)

    def time(self) -> str:
        return self.any(sources.times)

    def flag(self) -> str:
        return self.any(sources.flags)

    def error(self) -> str | None:
        return self.any(sources.errors) if self.pick(True, False) else None

    def parent(self) -> str:
        return self.lazily(
            lambda: f"set_span_in_context({self.span()})",
            lambda: f"set_span_in_context(NonRecordingSpan({self.any(sources.contexts)}))",
            lambda: f"set_span_in_context(Foreign({self.any(sources.contexts)}))",
            *("None", "Context()", "set_span_in_context(INVALID_SPAN)"),
            *(
                "Context({SPAN_KEY: 'no span'})",
                "set_value('k', 1)",
                "Odd(set_span_in_context(INVALID_SPAN))",
            ),
        )

    def link(self) -> str:
        return self.lazily(
            "None", lambda: f"Link({self.context()}{self.optional(attributes=self.attributes)})"
        )

    def start(self, method: str, **more: Callable[[], str]) -> str:
        options = self.optional(
            context=self.parent,
            kind=lambda: self.any(sources.kinds),
            attributes=self.attributes,
            links=lambda: sources.listed([self.link() for _ in range(self.pick(0, 1, 2, 3))]),
            start_time=self.time,
            record_exception=self.flag,
            set_status_on_exception=self.flag,
            **more,
        )
        return f"{self.tracer()}.{method}({self.any(sources.names)}{options})"

    def current(self) -> str:
        return self.start("start_as_current_span", end_on_exit=self.flag)

    # --- single lines

    def change(self) -> Line:
        """What the API allows."""
        make: dict[str, Callable[[], str]] = {
            "attribute": lambda: f"set_attribute({self.any(sources.keys)}, {self.any(sources.values)})",
            "attributes": lambda: f"set_attributes({self.any(sources.attributes)})",
            "event": lambda: f"add_event({self.any(sources.names)}{self.about()})",
            "link": lambda: f"add_link({self.context()}{self.optional(attributes=self.attributes)})",
            "name": lambda: f"update_name({self.any(sources.names)})",
            "status": lambda: f"set_status({self.any(sources.statuses)})",
            "exception": lambda: (
                f"record_exception({self.any(sources.errors)}{self.about(escaped=self.flag)})"
            ),
            "end": lambda: f"end({self.time()})",
        }
        return Line(f"{self.span()}.{make[self.pick(*self.changes)]()}")

    def about(self, **more: Callable[[], str]) -> str:
        return self.optional(attributes=self.attributes, timestamp=self.time, **more)

    def look(self) -> Line:
        return Line(re.sub(r"\bspan\b", self.span(), self.pick(*sources.LOOKS)))

    def reach_in(self) -> Line:
        """What those do to a span who know its underscore fields."""
        if not self.spans:
            return self.look()
        span = self.span()
        line: str = self.pick(*sources.INSIDE)
        return Line(re.sub(r"\bspan\b", span, line))

    def manage(self) -> Line:
        """What is done to a provider and its tracers."""
        tracer, new = self.tracer(), f"t{self.tracers}"
        line = self.lazily(
            lambda: self.any(sources.tracers),
            self.add,
            lambda: f"{tracer}.sampler = {self.any(self.samplers)}",
            *(line.replace("tracer", tracer) for line in sources.MANAGING),
        )
        if not line.startswith("provider.get_tracer"):
            return Line(line)
        self.tracers += 1
        return Line(line, new)

    def add(self) -> str:
        # Several that run at the same time would be noted in any order.
        return "provider.shutdown()" if self.active == _CONCURRENT else f"add({self.any(sources.processors)})"

    # --- lines that start, enter and leave

    def flow(self) -> Line:
        more = [self.leave] * bool(self.entered) * 2 + [self.enter] * bool(self.managers) * 2
        more += [self.resume] * bool(self.generators) * 2
        # Under another's holder of processors spans are encoded late, and a copy's events are the span's own:
        # what the span is given when its copy has ended is exported with both or not, as it happens.
        more += [self.copy] * bool(self.spans and self.active is None)
        chosen: Callable[[], Line] = self.pick(
            self.begin, self.begin, self.begin, self.prepare, self.attach, *more
        )
        return chosen()

    def begin(self) -> Line:
        line = Line(self.start("start_span"), self.new("s"))
        self.spans.append(str(line.target))
        return line

    def copy(self) -> Line:
        line = Line(f"copy.copy({self.span()})", self.new("s"))
        self.spans.append(str(line.target))
        return line

    def attach(self) -> Line:
        return Line(self.pick(f"attach({self.span()})", "detach()"))

    def prepare(self) -> Line:
        self.managers.append(self.new("m"))
        return Line(self.current(), self.managers[-1])

    def enter(self) -> Line:
        self.entered.append(self.managers.pop())
        return Line(f"{self.entered[-1]}.__enter__()")

    def leave(self) -> Line:
        manager, error = self.pick(*self.entered), self.error()
        self.entered.remove(manager)
        return Line(f"leave({manager}, {error})")

    def resume(self) -> Line:
        name = self.pick(*self.generators)
        errors = self.any(sources.errors)
        return Line(self.pick(f"next({name}, 'done')", f"{name}.close()", f"{name}.throw({errors})"))

    # --- blocks

    def block(self, depth: int) -> Op:
        kind = self.pick("with", "with", "span", "use", "decorated", "generator")
        if kind == "decorated":
            return self.decorated(depth)
        if kind == "generator":
            return self.generator(depth)
        span = self.span()
        source = {
            "with": self.current,
            "use": lambda: (
                f"use_span({span}{self.optional(end_on_exit=self.flag, record_exception=self.flag)})"
            ),
            "span": lambda: self.lazily(span, lambda: self.start("start_span")),
        }[kind]()
        target = self.new("s")
        if kind == "with" or self.spans:  # INVALID_SPAN is everyone's: nothing is done to it
            self.spans.append(target)
        return Block(source, target, self.body(depth), self.error())

    def decorated(self, depth: int) -> Op:
        manager, body = self.current(), self.body(depth)
        flavour = self.pick("plain", "generator", "async coroutine", "async generator")
        return Decorated(manager, flavour, self.pick(1, 2, 0), body, self.error())

    def generator(self, depth: int) -> Op:
        manager, target, span = self.current(), self.new("g"), self.new("s")
        first, second = self.body(depth, span), self.body(depth, span)
        self.generators.append(target)
        return Generator(target, manager, span, first, second, self.error())

    def body(self, depth: int, *spans: str) -> tuple[Op, ...]:
        """Lines, whose names are theirs alone: they may not be run, or not yet."""
        kept = (self.spans, self.managers, self.entered, self.generators, self.tracers)
        self.spans = [*self.spans, *spans]
        self.managers, self.entered, self.generators = [], [], []
        lines = self.ops(self.pick(0, 1, 2, 3), depth + 1)
        self.spans, self.managers, self.entered, self.generators, self.tracers = kept
        return lines

    def ops(self, number: int, depth: int = 0) -> tuple[Op, ...]:
        """So many lines and blocks, or fewer."""
        kinds = [*_KINDS, *(["reach_in"] * 6 if self.inside else [])]
        kinds = [kind for kind in kinds if kind != "block" or depth < 3]
        made = []
        for _ in range(number):
            kind = self.pick(*kinds)
            if kind != "nothing":
                made.append(self.block(depth) if kind == "block" else getattr(self, kind)())
        return tuple(made)


@st.composite
def programs(
    draw: st.DrawFn,
    foreign: bool = True,
    inside: bool = False,
    random_ids: bool = False,
    sizes: tuple[int, ...] = (5, 15, 30),
) -> Program:
    """Programs with or without processors of others, and lines that know the underscore fields."""
    active = draw(st.sampled_from([None, None, None, _SYNCHRONOUS, _CONCURRENT])) if foreign else None
    draws = _Draws(draw, inside, random_ids, active)
    options: dict[str, str] = {"active_span_processor": active} if active else {}
    if not random_ids:
        options["id_generator"] = draw(st.sampled_from(["Ids()", "Ids(True)", "DuckIds()"]))
    if draw(st.booleans()):
        options["sampler"] = draw(draws.samplers)
    if draw(st.booleans()):
        options["span_limits"] = draw(sources.limits)
    options.update(draw(st.sampled_from([{}, {}, {"_tracer_configurator": "configure('other')"}])))
    others: list[str] = []
    own: str | None = "batch"
    if foreign:
        others = draw(sources.watchers if active == _CONCURRENT else st.lists(sources.processors, max_size=3))
        # Under another's holder of processors it can't know when a span changes no more, and encodes late.
        own = draw(st.sampled_from(["simple", None] if active and inside else ["batch", "simple", None]))
    body: list[Op] = [*(Line(f"add({other})") for other in others), Line(draw(sources.tracers), "t0")]
    if draw(st.sampled_from([True, True, True, False])):
        body.append(draws.begin())
    body += draws.ops(draw(st.sampled_from(sizes)))
    variables = {} if random_ids else draw(sources.variables)
    if inside:
        variables = {name: value for name, value in variables.items() if name != "OTEL_SDK_DISABLED"}
    return Program(tuple(body), options, variables, random_ids, own, draw(st.booleans()))
