"""Random programs, as hypothesis strategies: everything in them is source."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from .ops import Block, Decorated, Generator, Line, Op, Program

# --- values: all of them sources

_words = st.sampled_from(["'a'", "'b'", "'c'", "'d'", "'e'", "'key.é'"])
_texts = st.sampled_from(
    ["''", "'x'", "'text'", "'x' * 200", "'é' * 20", "'東😀'", "'\\ud800'", "'a\\x00b'", "Word('w')", "Color.RED"]
) | st.text(max_size=4).map(repr)
_numbers = st.sampled_from(
    [
        *("0", "1", "-1", "127", "128", "2**63 - 1", "2**63", "-2**63", "-2**63 - 1", "10**30", "Number(5)"),
        *("Level.HIGH", "0.0", "-0.0", "1.5", "1e308", "nan", "inf", "-inf", "Real(2.5)", "np.float64(1.5)"),
    ]
)
_odd = st.sampled_from(
    [
        *("bytearray(b'ab')", "memoryview(b'ab')", "Octets(b'o')", "Spoken()", "Written()", "Opaque()", "1j"),
        *("Shape.ROUND", "SpanKind.CLIENT", "range(3)", "deque([1, 'a'])", "{1}", "frozenset()", "int", "..."),
        *("Decimal('1.50')", "date(2020, 1, 2)", "UUID(int=5)", "ValueError('x')", "Row(1, Row('x'))", "box"),
        *("UserList([1, [2]])", "UserDict({'a': 1})", "MappingProxyType({'a': [1]})", "Pairs(('a', 1))"),
        *("OrderedDict(z=1, a=2)", "np.int64(3)", "np.bool_(True)", "np.str_('t')", "Row()", "NotImplemented"),
        *("{'': 1, 1: 2, None: 3, 'ok': 4}", "{Opaque(): 1, Word('k'): 2, b'k': 3}", "{1: 'a', '1': 'b'}"),
    ]
)
_simple = st.sampled_from(["None", "True", "False", "b''", "b'octets'"]) | _numbers | _texts


def _listed(items: list[str]) -> str:
    return f"[{', '.join(items)}]"


def _mapped(items: list[tuple[str, str]]) -> str:
    return f"{{{', '.join(f'{key}: {value}' for key, value in items)}}}"


_values = st.recursive(
    _simple | _odd,
    lambda inner: (
        st.lists(inner, max_size=3).map(_listed)
        | st.lists(inner, max_size=3).map(lambda items: f"({''.join(f'{item}, ' for item in items)})")
        | st.lists(st.tuples(_words, inner), max_size=3).map(_mapped)
    ),
    max_leaves=4,
)
_keys = st.one_of(
    _words, _words, _words, st.sampled_from(["''", "Word('a')", "'\\ud800'", "'k' * 100", "Color.RED"])
)
_odd_keys = _keys | st.sampled_from(["1", "None", "True", "0", "b'k'", "(1,)", "Opaque()", "Spoken()", "Level.HIGH"])
_attributes = st.one_of(
    st.lists(st.tuples(_words, _values), max_size=6).map(_mapped),
    st.lists(st.tuples(_odd_keys, _values), max_size=6).map(_mapped),
    st.lists(st.tuples(_words, _values), max_size=3).map(lambda items: f"Pairs(*{_mapped(items)}.items())"),
    st.lists(st.tuples(_words, _values), max_size=3).map(lambda items: f"MappingProxyType({_mapped(items)})"),
    st.lists(st.tuples(_words, _values), max_size=3).map(lambda items: f"UserDict({_mapped(items)})"),
)
_maybe_attributes = _attributes | st.just("None")
_times = st.sampled_from(["None", "0", "1", "5", "1000", "2**63", "2**64", "-1", "1.5"])
_names = st.sampled_from(["'a'", "'GET /'", "''", "'é'", "Word('n')", "'n' * 200", "None", "5", "'\\ud800'"])
_kinds = st.sampled_from([f"SpanKind.{name}" for name in ("INTERNAL", "SERVER", "CLIENT", "PRODUCER", "CONSUMER")])
_states = st.sampled_from(["None", "TraceState()", "TraceState([('a', '1'), ('b', '2')])"])
_flags = st.sampled_from(["None", *(f"TraceFlags({bits})" for bits in (0, 1, 2, 3, 0xFF))])
_contexts = st.one_of(
    st.builds(
        "SpanContext({}, {}, {}, {}, {})".format,
        st.sampled_from(["7", "2**127 + 5", "2**128 - 1", "2**63", "0", "2**128"]),
        st.sampled_from(["8", "2**64 - 1", "0", "2**64"]),
        st.booleans(),
        _flags,
        _states,
    ),
    st.builds("SpanContext({}, 9, {}, {})".format, st.sampled_from(["7", "2**127"]), st.booleans(), _flags),
)
_flag = st.booleans().map(str)
_errors = st.sampled_from(
    [
        *("ValueError('x')", "ValueError()", "Trouble('é', 1)", "Trouble.Deep('x')", "KeyError('k')", "OSError(2, 'no')"),
        *("KeyboardInterrupt('stop')", "GeneratorExit()", "SystemExit(3)", "StopIteration(1)", "RuntimeError('\\ud800')"),
        *("StopAsyncIteration()", "raised(ValueError('deep'), 5)", "raised(Trouble('c'), 1, KeyError('cause'))"),
        *("handling(ValueError('again'))", "noted(ValueError('n'))", "group(ValueError('a'), raised(KeyError('b')))"),
        *("raised(RecursionError('r'), 8)", "SyntaxError('s', ('f.py', 1, 2, 'x = = 1', 1, 3))", "UnicodeDecodeError('utf-8', b'\\xff', 0, 1, 'bad')"),
    ]
)
_statuses = st.sampled_from(
    [
        *("StatusCode.OK", "StatusCode.ERROR", "StatusCode.UNSET", "Status()", "Status(StatusCode.OK)", "None"),
        *("Status(StatusCode.ERROR, 'bad')", "Status(StatusCode.OK, 'x')", "StatusCode.ERROR, 'bad'", "'OK'"),
        *("StatusCode.OK, 'fine'", "StatusCode.UNSET, 'u'", "Status(StatusCode.ERROR), 'd'", "Status(StatusCode.OK), ''"),
        *("StatusCode.ERROR, 5", "StatusCode.ERROR, ''", "Status(StatusCode.ERROR, Word('w'))", "status=StatusCode.OK"),
    ]
)

# --- providers

_limits = st.one_of(
    st.just("None"),
    st.dictionaries(
        st.sampled_from(
            [
                *("max_attributes", "max_events", "max_links", "max_span_attributes", "max_event_attributes"),
                *("max_link_attributes", "max_attribute_length", "max_span_attribute_length"),
            ]
        ),
        st.sampled_from(["0", "1", "2", "3", "-1"]),
        max_size=4,
    ).map(lambda limits: f"sdk.SpanLimits({', '.join(f'{name}={limit}' for name, limit in limits.items())})"),
)
_decisions = st.sampled_from(["Decision.DROP", "Decision.RECORD_ONLY", "Decision.RECORD_AND_SAMPLE"])
_leaves = st.one_of(
    st.sampled_from(["sampling.ALWAYS_ON", "sampling.ALWAYS_OFF", "sampling.DEFAULT_ON", "sampling.DEFAULT_OFF"]),
    st.sampled_from(["0.0", "0.3", "0.5", "1.0", "1"]).map("sampling.TraceIdRatioBased({})".format),
    st.sampled_from(["0.0", "0.5", "1.0"]).map("sampling.ParentBasedTraceIdRatio({})".format),
    st.builds("sampler({}, {}, {}, {})".format, _decisions, _maybe_attributes, _states, _flag),
)
_certain = st.sampled_from(
    ["None", "sampling.ALWAYS_ON", "sampling.ALWAYS_OFF", "sampling.TraceIdRatioBased(1)", "sampling.DEFAULT_OFF"]
)
_samplers = st.one_of(
    st.just("None"),
    st.just("sampling.ALWAYS_ON"),
    _leaves,
    st.builds("sampling.ParentBased({}, {}, {}, {}, {})".format, *[_leaves] * 5),
    _leaves.map("sampling.AlwaysRecordSampler({})".format),
)
_VARIABLES = {
    "OTEL_TRACES_SAMPLER": ["always_on", "always_off", "parentbased_always_off", "traceidratio", "wrong", "ALWAYS_ON"],
    "OTEL_TRACES_SAMPLER_ARG": ["0.0", "0.5", "1", "x", "2"],
    "OTEL_SDK_DISABLED": ["true", "TRUE ", "false", ""],
    "OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT": ["1", "", "0"],
    "OTEL_ATTRIBUTE_COUNT_LIMIT": ["2", ""],
    "OTEL_SPAN_EVENT_COUNT_LIMIT": ["1", "0"],
    "OTEL_SPAN_LINK_COUNT_LIMIT": ["1", "0"],
    "OTEL_EVENT_ATTRIBUTE_COUNT_LIMIT": ["1"],
    "OTEL_LINK_ATTRIBUTE_COUNT_LIMIT": ["1"],
    "OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT": ["3", "0"],
    "OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT": ["2"],
    "OTEL_RESOURCE_ATTRIBUTES": ["a=b"],
}
_variables = st.fixed_dictionaries(
    {}, optional={name: st.sampled_from(values) for name, values in _VARIABLES.items()}
).map(lambda variables: dict(list(variables.items())[:3]))
# What processors do with a span that starts, that is ending or has ended, and with one that has.
_ALLOWED = [
    *("span.set_attribute('p', 1)", "span.update_name('changed')", "span.add_event('p', {'a': 1}, 7)"),
    *("span.add_link(SpanContext(3, 4, True), {'a': 1})", "span.set_status(StatusCode.ERROR, 'p')"),
    *("span.record_exception(ValueError('p'), None, 5)", "look(span)", "span.attributes.get('a')", "span.end(7)"),
]
_FIELDS = [
    *("setattr(span, '_name', 'changed')", "setattr(span, '_kind', SpanKind.SERVER)", "setattr(span, 'own', 1)"),
    *("redact(span)", "span._attributes._dict.update(added='x')", "span._attributes._dict.pop('a', None)"),
    *("setattr(span, '_status', Status(StatusCode.ERROR, 'set'))", "setattr(span, '_resource', Resource({'r': 1}))"),
    *("span._events.append(Event('p', {'e': 1}, 9))", "span._links.append(Link(SpanContext(3, 4, True)))"),
    *("setattr(span, '_parent', SpanContext(5, 6, True))", "setattr(span, '_start_time', 3)"),
    *("setattr(span, '_events', span._new_events())", "setattr(span, '_links', span._new_links(()))"),
    *("setattr(span, '_instrumentation_scope', InstrumentationScope('other', '9'))", "look(span)"),
]
_ENDED = [
    *(line for line in _FIELDS if "_new_" not in line),
    *("setattr(span, '_attributes', {'replaced': True})", "setattr(span, '_links', ())", "setattr(span, '_events', [])"),
    *("setattr(span, '_end_time', 12345)", "setattr(span, '_attributes', None)", "t0.start_span('another').end()"),
]
_processors = st.one_of(
    st.builds("recording('{}', '{}')".format, st.sampled_from("pqr"), st.sampled_from(["calls", "public", "private"])),
    st.sampled_from(_ALLOWED + _FIELDS).map(lambda line: f'doing(start="{line}")'),
    st.sampled_from(_ALLOWED + _FIELDS).map(lambda line: f'doing(ending="{line}")'),
    st.sampled_from(_ENDED).map(lambda line: f'doing(end="{line}")'),
    st.sampled_from(["only_ends()", "duck()"]),
)
_tracers = st.builds(
    "provider.get_tracer({}, {}, {}, {})".format,
    st.sampled_from(["'lib'", "'lib'", "'other'", "None", "''"]),
    st.sampled_from(["None", "''", "'1.0'"]),
    st.sampled_from(["None", "''", "'https://schema/1'"]),
    st.sampled_from(["None", "{'scope': 1}", "{'': 1, 'x': [1]}"]),
)
_SYNCHRONOUS, _CONCURRENT = "sdk.SynchronousMultiSpanProcessor()", "sdk.ConcurrentMultiSpanProcessor()"
_calls = st.sampled_from([[], ["recording('p', 'public')"], ["duck()"]])  # one: several run at the same time


# --- programs


class _Draws:
    """Draws a program and keeps what its lines may call by name."""

    def __init__(self, draw: st.DrawFn, inside: bool, random_ids: bool) -> None:
        self.draw, self.inside, self.random_ids = draw, inside, random_ids
        self.spans: list[str] = []
        self.managers: list[str] = []
        self.generators: list[str] = []
        self.tracers = 1
        self.active: str | None = None  # who calls the processors, if not the provider's own
        self._count = 0

    def new(self, letter: str) -> str:
        self._count += 1
        return f"{letter}{self._count}"

    def any(self, strategy: st.SearchStrategy[str]) -> str:
        return self.draw(strategy)

    def pick(self, *items: Any) -> Any:
        return self.draw(st.sampled_from(items))

    def span(self) -> str:
        return str(self.pick(*self.spans)) if self.spans else "INVALID_SPAN"

    def tracer(self) -> str:
        return f"t{self.draw(st.integers(0, self.tracers - 1))}"

    def context(self) -> str:
        return f"{self.span()}.get_span_context()" if self.pick(True, False) else self.any(_contexts)

    def optional(self, **options: Any) -> str:
        """Keyword arguments, any of them or none."""
        chosen = self.draw(st.lists(st.sampled_from(sorted(options)), unique=True, max_size=4))
        return "".join(f", {name}={options[name]()}" for name in chosen)

    def parent(self) -> str:
        kind = self.pick("span", "remote", "empty", "foreign", "none", "other")
        if kind == "span":
            return f"set_span_in_context({self.span()})"
        if kind in ("remote", "foreign"):
            made = "NonRecordingSpan" if kind == "remote" else "Foreign"
            return f"set_span_in_context({made}({self.any(_contexts)}))"
        return {
            "empty": "Context()",
            "none": "None",
            "other": str(self.pick("Context({SPAN_KEY: 'no span'})", "set_value('k', 1)", "set_span_in_context(INVALID_SPAN)")),
        }[kind]

    def start(self, method: str, **more: Any) -> str:
        links = st.lists(st.sampled_from(["None"]) | st.just("Link"), max_size=3)
        options = self.optional(
            context=self.parent,
            kind=lambda: self.any(_kinds | st.sampled_from(["None", "3"])),
            attributes=lambda: self.any(_maybe_attributes),
            links=lambda: _listed([self.link() if link == "Link" else link for link in self.draw(links)]),
            start_time=lambda: self.any(_times),
            record_exception=lambda: self.any(_flag),
            set_status_on_exception=lambda: self.any(_flag),
            **more,
        )
        return f"{self.tracer()}.{method}({self.any(_names)}{options})"

    def current(self) -> str:
        return self.start("start_as_current_span", end_on_exit=lambda: self.any(_flag))

    def link(self) -> str:
        attributes = f", {self.any(_maybe_attributes)}" if self.pick(True, False) else ""
        return f"Link({self.context()}{attributes})"

    def error(self) -> str | None:
        return self.any(_errors) if self.pick(True, False) else None

    # --- single lines

    def change(self) -> Line:
        span = self.span()
        what = self.pick("attribute", "attribute", "attributes", "event", "link", "name", "status", "exception", "end")
        if what == "attribute":
            return Line(f"{span}.set_attribute({self.any(_keys)}, {self.any(_values)})")
        if what == "attributes":
            return Line(f"{span}.set_attributes({self.any(_attributes)})")
        if what == "event":
            more = self.optional(attributes=lambda: self.any(_maybe_attributes), timestamp=lambda: self.any(_times))
            return Line(f"{span}.add_event({self.any(_names)}{more})")
        if what == "link":
            more = self.optional(attributes=lambda: self.any(_maybe_attributes))
            return Line(f"{span}.add_link({self.context()}{more})")
        if what == "name":
            return Line(f"{span}.update_name({self.any(_names)})")
        if what == "status":
            return Line(f"{span}.set_status({self.any(_statuses)})")
        if what == "exception":
            more = self.optional(
                attributes=lambda: self.any(_maybe_attributes),
                timestamp=lambda: self.any(_times),
                escaped=lambda: self.any(_flag),
            )
            return Line(f"{span}.record_exception({self.any(_errors)}{more})")
        return Line(f"{span}.end({self.any(_times)})")

    def look(self) -> Line:
        span = self.span()
        return Line(
            self.pick(
                *(f"look({span})", f"{span}.is_recording()", f"{span}.get_span_context()", f"hash({span}) > 0"),
                *("get_current_span()", f"{span}.attributes", f"{span}.name", f"{span}.kind"),
                *(f"{span}.events", f"{span}.status", f"{span}.parent", f"{span}.dropped_attributes"),
            )
        )

    def reach_in(self) -> Line:
        """What is done to a span by those who know its underscore fields."""
        if not self.spans:
            return self.look()
        span = self.span()
        lines = [line.replace("(span", f"({span}").replace("span.", f"{span}.") for line in _FIELDS]
        return Line(
            self.pick(
                *(f"look_inside({span})", f"{span}._name = 'set'", f"{span}._kind = SpanKind.CLIENT"),
                *(f"{span}._attributes['direct'] = 1", f"{span}._attributes.pop('a', None)"),
                *(f"{span}._attributes = BoundedAttributes(2, {{'x': 1}}, immutable=False)", f"{span}._limits = sdk.SpanLimits(2)"),
                *(f"{span}._events = {span}._new_events()", f"{span}._links = {span}._new_links([Link(SpanContext(3, 4, True))])"),
                *(f"{span}._add_event(Event('e', {{'a': 1}}, 4))", f"{span}._add_link(Link(SpanContext(3, 4, True)))"),
                *(f"{span}._record_exception = False", f"{span}._set_status_on_exception = False", f"{span}._sampler = None"),
                *(f"{span}._context = SpanContext(11, 12, False, TraceFlags(1))", f"{span}._span_processor = recording('z')"),
                *(f"patch({span}, 'end')", f"patch({span}, 'set_attribute')", f"patch({span}, 'record_exception')"),
                *(f"{span}.own = {{'a': 1}}", f"vars({span})['own'] = 2", f"{span}.start(5)", f"view = {span}.attributes"),
                *lines,
            )
        )

    def manage(self) -> Line:
        """What is done to a provider and its tracers."""
        if self.pick(True, False, False):
            line = Line(self.any(_tracers), f"t{self.tracers}")
            self.tracers += 1
            return line
        tracer = self.tracer()
        return Line(
            self.pick(
                *(self.add(), "provider.force_flush()", "provider.shutdown()", f"{tracer}._is_enabled()"),
                *("provider._set_tracer_configurator(tracer_configurator=configure('lib'))", f"{tracer}.resource"),
                *("provider._set_tracer_configurator(tracer_configurator=configure())", f"{tracer}.instrumentation_info"),
                *(f"{tracer}.sampler = {self.any(_samplers.filter(lambda s: s != 'None'))}", f"{tracer}.id_generator = DuckIds()"),
                *(f"{tracer}.resource = Resource({{'changed': 1}})", f"{tracer}._set_resource(Resource({{'set': 1}}))"),
                *(f"{tracer}.span_processor = recording('new', 'calls')", f"{tracer}._span_limits = sdk.SpanLimits(1)"),
                *("provider._update_resource(Resource({'forked': 1}))", f"{tracer} is provider.get_tracer('lib', '')"),
                *("provider.sampler = sampling.ALWAYS_OFF", "provider._span_limits.max_events = 1"),
            )
        )

    def add(self) -> str:
        return "provider.force_flush()" if self.active == _CONCURRENT else f"add({self.any(_processors)})"

    # --- lines that start, enter and leave

    def flow(self) -> Op:
        what = self.pick("start", "start", "start", "copy", "enter", "leave", "attach", "detach", "resume", "lazy")
        if what == "start":
            line = Line(self.start("start_span"), self.new("s"))
        elif what == "copy" and self.spans:
            line = Line(f"copy.copy({self.span()})", self.new("s"))
        elif what == "enter":
            manager = self.new("m")
            self.managers.append(manager)
            return Line(self.current(), manager)
        elif what == "leave" and self.managers:
            return self.leave()
        elif what == "resume" and self.generators:
            return self.resume()
        elif what == "attach":
            return Line(f"attach({self.span()})")
        elif what == "detach":
            return Line("detach()")
        else:
            return Line(self.current())
        assert line.target
        self.spans.append(line.target)
        return line

    def leave(self) -> Line:
        manager = self.pick(*self.managers)
        if manager.startswith("m"):
            self.managers[self.managers.index(manager)] = f"entered {manager}"
            return Line(f"{manager}.__enter__()")
        self.managers.remove(manager)
        name, error = manager.split()[1], self.error()
        if error:
            return Line(f"(lambda e: {name}.__exit__(type(e), e, e.__traceback__))(raised({error}))")
        return Line(f"{name}.__exit__(None, None, None)")

    def resume(self) -> Line:
        name = self.pick(*self.generators)
        return Line(self.pick(f"next({name}, 'done')", f"{name}.close()", f"{name}.throw({self.any(_errors)})"))

    # --- blocks

    def block(self, depth: int) -> Op:
        kind = self.pick("with", "with", "with", "span", "use", "decorated", "generator")
        if kind in ("decorated", "generator"):
            return self.function(kind, depth)
        span = self.span()
        uses = f"use_span({span}, {self.any(_flag)}, {self.any(_flag)}, {self.any(_flag)})"
        manager = {"with": self.current, "use": lambda: uses, "span": lambda: self.pick(span, self.start("start_span"))}
        source, target = manager[kind](), self.new("s")
        if "INVALID_SPAN" not in source or kind == "with":  # it is everyone's, so that nothing is done to it
            self.spans.append(target)
        return Block(source, target, self.body(depth), self.error())

    def function(self, kind: str, depth: int) -> Op:
        manager, known = self.current(), len(self.spans)
        target, span = self.new("g"), self.new("s")
        if kind == "decorated":
            body = self.body(depth)
            del self.spans[known:]  # they may not be there if a disabled tracer or an error came in between
            flavour = self.pick("plain", "plain", "generator", "async coroutine", "async generator")
            return Decorated(manager, flavour, self.pick(1, 2, 0), body, self.error())
        self.spans.append(span)
        first, second = self.body(depth), self.body(depth)
        del self.spans[known:]
        self.generators.append(target)
        return Generator(target, manager, span, first, second, self.error())

    def body(self, depth: int) -> tuple[Op, ...]:
        managers, generators, tracers = list(self.managers), list(self.generators), self.tracers
        lines = tuple(self.op(depth + 1) for _ in range(self.draw(st.integers(0, 3))))
        self.managers, self.generators, self.tracers = managers, generators, tracers
        return lines

    def op(self, depth: int) -> Op:
        kinds = ["change"] * 5 + ["flow"] * 3 + ["look"] + ["block"] * (2 if depth < 3 else 0) + ["manage"] * (depth == 0)
        kind = self.pick(*kinds, *(["reach_in"] * 2 if self.inside else []))
        if kind == "block":
            return self.block(depth)
        made: Op = getattr(self, kind)()
        return made


@st.composite
def programs(
    draw: st.DrawFn, foreign: bool = True, inside: bool = False, random_ids: bool = False, size: int = 10
) -> Program:
    """Programs with or without processors of others, and with or without lines that know the underscore fields."""
    draws = _Draws(draw, inside, random_ids)
    chosen: dict[str, str] = {}
    if draw(st.booleans()):
        chosen = {"sampler": draw(_certain if random_ids else _samplers), "span_limits": draw(_limits)}
        chosen["_tracer_configurator"] = draw(st.sampled_from(["None", "None", "configure('other')"]))
    options = {name: source for name, source in chosen.items() if source != "None"}
    if not random_ids:
        options["id_generator"] = draw(st.sampled_from(["Ids()", "Ids(True)", "DuckIds()"]))
    body: list[Op] = []
    own = "batch"
    if foreign:
        draws.active = draw(st.sampled_from([None, None, None, _SYNCHRONOUS, _CONCURRENT]))
        options.update({"active_span_processor": draws.active} if draws.active else {})
        others = draw(_calls if draws.active == _CONCURRENT else st.lists(_processors, max_size=3))
        body += [Line(f"add({source})") for source in others]
        # Under another's holder of processors it can't know when a span changes no more, and encodes late.
        own = draw(st.sampled_from(["simple", None] if draws.active and inside else ["batch", "simple", None]))
    body.append(Line(draw(_tracers), "t0"))
    body += [draws.op(0) for _ in range(draw(st.integers(1, size)))]
    variables = {} if random_ids else draw(st.one_of(st.just({}), _variables))
    if inside:
        variables.pop("OTEL_SDK_DISABLED", None)  # whose spans are INVALID_SPAN
    return Program(tuple(body), options, variables, random_ids, own, draw(st.booleans()))
