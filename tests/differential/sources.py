"""Strategies for what programs are made of: values, times, samplers, limits. All of them are source."""

from __future__ import annotations

from hypothesis import strategies as st


def _each(text: str) -> list[str]:
    return [item.strip() for line in text.splitlines() for item in line.split(" | ") if item.strip()]


# --- values

_TEXTS = _each(r"""
    '' | 'x' | 'text' | 'x' * 200 | 'é' * 20 | '東😀' | '\ud800' | 'a\x00b' | Word('w') | Color.RED
""")
_NUMBERS = _each("""
    0 | 1 | -1 | 127 | 128 | 2**63 - 1 | 2**63 | -2**63 | -2**63 - 1 | 10**30 | Number(5) | Level.HIGH
    0.0 | -0.0 | 1.5 | 1e308 | nan | inf | -inf | Real(2.5) | np.float64(1.5)
""")
_ODD = _each("""
    bytearray(b'ab') | memoryview(b'ab') | Octets(b'o') | Spoken() | Written() | Opaque() | 1j
    NotImplemented | Shape.ROUND | SpanKind.CLIENT | range(3) | deque([1, 'a']) | {1} | frozenset()
    int | ... | ValueError('x') | Decimal('1.50') | date(2020, 1, 2) | UUID(int=5)
    Row(1, Row('x')) | Row() | box | UserList([1, [2]]) | UserDict({'a': 1}) | MappingProxyType({'a': [1]})
    Pairs(('a', 1)) | OrderedDict(z=1, a=2) | np.int64(3) | np.bool_(True) | np.str_('t')
    {'': 1, 1: 2, None: 3, 'ok': 4} | {1: 'a', '1': 'b'} | {Opaque(): 1, Label('k'): 2, b'k': 3}
""")
VALUES = [*_each("None | True | False | b'' | b'octets'"), *_NUMBERS, *_TEXTS, *_ODD]


def listed(items: list[str]) -> str:
    """A list of values."""
    return f"[{', '.join(items)}]"


def _paired(items: list[str]) -> str:
    return f"({''.join(f'{item}, ' for item in items)})"


def _mapped(items: list[tuple[str, str]]) -> str:
    return f"{{{', '.join(f'{key}: {value}' for key, value in items)}}}"


_words = st.sampled_from(_each("'a' | 'b' | 'c' | 'key.é'"))
values = st.recursive(
    st.sampled_from(VALUES) | st.text(max_size=4).map(repr),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3).map(listed),
        st.lists(inner, max_size=3).map(_paired),
        st.lists(st.tuples(_words, inner), max_size=3).map(_mapped),
    ),
    max_leaves=4,
)
_more_keys = st.sampled_from(_each(r"'' | Word('a') | '\ud800' | 'k' * 100 | Color.RED"))
keys = st.one_of(_words, _words, _words, _more_keys)
_no_keys = st.sampled_from(_each("1 | None | True | 0 | b'k' | (1,) | Opaque() | Spoken() | Level.HIGH"))


def _mappings(keys: st.SearchStrategy[str], form: str) -> st.SearchStrategy[str]:
    return st.lists(st.tuples(keys, values), max_size=5).map(lambda items: form.format(_mapped(items)))


attributes = st.one_of(
    *(_mappings(_words, "{}"), _mappings(keys | _no_keys, "{}"), _mappings(_words, "Pairs(*{}.items())")),
    *(_mappings(_words, "MappingProxyType({})"), _mappings(_words, "UserDict({})")),
)
maybe_attributes = attributes | st.just("None")
times = st.sampled_from(_each("None | 0 | 1 | 5 | 1000 | 2**63 | 2**64 | -1 | 1.5"))
names = st.sampled_from(_each(r"'a' | 'GET /' | '' | 'é' | Word('n') | 'n' * 200 | None | 5 | '\ud800'"))
kinds = st.sampled_from(
    [*(f"SpanKind.{name}" for name in ("INTERNAL", "SERVER", "CLIENT", "PRODUCER", "CONSUMER")), "None", "3"]
)
flags = st.booleans().map(str)
ERRORS = _each(r"""
    ValueError('x') | ValueError() | Trouble('é', 1) | Trouble.Deep('x') | KeyError('k') | OSError(2, 'no')
    KeyboardInterrupt('stop') | GeneratorExit() | SystemExit(3) | StopIteration(1) | StopAsyncIteration()
    RuntimeError('\ud800') | raised(ValueError('deep'), 5) | raised(Trouble('c'), 1, KeyError('cause'))
    handling(ValueError('again')) | noted(ValueError('n')) | group(ValueError('a'), raised(KeyError('b')))
    raised(RecursionError('r'), 8) | SyntaxError('s', ('f.py', 1, 2, 'x = = 1', 1, 3))
    UnicodeDecodeError('utf-8', b'\xff', 0, 1, 'bad') | endless(300)
""")
errors = st.sampled_from(ERRORS)
STATUSES = _each("""
    StatusCode.OK | StatusCode.ERROR | StatusCode.UNSET | Status() | Status(StatusCode.OK) | None | 'OK'
    Status(StatusCode.ERROR, 'bad') | Status(StatusCode.OK, 'x') | StatusCode.ERROR, 'bad'
    StatusCode.OK, 'fine' | StatusCode.UNSET, 'u' | Status(StatusCode.ERROR), 'd' | Status(StatusCode.OK), ''
    StatusCode.ERROR, 5 | StatusCode.ERROR, '' | Status(StatusCode.ERROR, Word('w')) | status=StatusCode.OK
""")
statuses = st.sampled_from(STATUSES)
_states = st.sampled_from(_each("None | TraceState() | TraceState([('a', '1'), ('b', '2')])"))
_bits = st.sampled_from(["None", *(f"TraceFlags({bits})" for bits in (0, 1, 2, 3, 0xFF))])
contexts = st.builds(
    "SpanContext({}, {}, {}, {}, {})".format,
    st.sampled_from(_each("7 | 2**127 + 5 | 2**128 - 1 | 2**63 | 2**127 | 0 | 2**128")),
    st.sampled_from(_each("8 | 9 | 2**64 - 1 | 0 | 2**64")),
    *(flags, _bits, _states),
)

# --- providers

limits = st.dictionaries(
    st.sampled_from(
        _each("""
            max_attributes | max_events | max_links | max_span_attributes | max_event_attributes
            max_link_attributes | max_attribute_length | max_span_attribute_length
        """)
    ),
    st.sampled_from(_each("0 | 1 | 2 | 3 | -1")),
    max_size=4,
).map(lambda limits: f"sdk.SpanLimits({', '.join(f'{name}={limit}' for name, limit in limits.items())})")
_decisions = st.sampled_from(_each("Decision.DROP | Decision.RECORD_ONLY | Decision.RECORD_AND_SAMPLE"))
_leaves = st.one_of(
    st.sampled_from(
        _each("sampling.ALWAYS_ON | sampling.ALWAYS_OFF | sampling.DEFAULT_ON | sampling.DEFAULT_OFF")
    ),
    st.sampled_from(_each("0.0 | 0.3 | 0.5 | 1.0 | 1")).map("sampling.TraceIdRatioBased({})".format),
    st.sampled_from(_each("0.0 | 0.5 | 1.0")).map("sampling.ParentBasedTraceIdRatio({})".format),
    st.builds("sampler({}, {}, {}, {})".format, _decisions, maybe_attributes, _states, flags),
)
# Of those that decide the same for any id.
certain = st.sampled_from(
    _each("sampling.ALWAYS_ON | sampling.ALWAYS_OFF | sampling.TraceIdRatioBased(1) | sampling.DEFAULT_OFF")
)
samplers = st.one_of(
    _leaves,
    st.builds("sampling.ParentBased({}, {}, {}, {}, {})".format, *[_leaves] * 5),
    _leaves.map("sampling.AlwaysRecordSampler({})".format),
)
_VARIABLES = [
    variable.split("=", 1)
    for variable in _each("""
        OTEL_TRACES_SAMPLER=always_on | OTEL_TRACES_SAMPLER=always_off | OTEL_TRACES_SAMPLER=wrong
        OTEL_TRACES_SAMPLER=parentbased_always_off | OTEL_TRACES_SAMPLER=traceidratio
        OTEL_TRACES_SAMPLER=PARENTBASED_TRACEIDRATIO | OTEL_TRACES_SAMPLER=traceidratio
        OTEL_TRACES_SAMPLER_ARG=0 | OTEL_TRACES_SAMPLER_ARG=0.5 | OTEL_TRACES_SAMPLER_ARG=x
        OTEL_SDK_DISABLED=true | OTEL_SDK_DISABLED=TRUE | OTEL_SDK_DISABLED=false | OTEL_SDK_DISABLED=
        OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT=1 | OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT=
        OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT=0
        OTEL_ATTRIBUTE_COUNT_LIMIT=2 | OTEL_ATTRIBUTE_COUNT_LIMIT= | OTEL_RESOURCE_ATTRIBUTES=a=b
        OTEL_SPAN_EVENT_COUNT_LIMIT=0 | OTEL_SPAN_EVENT_COUNT_LIMIT=1 | OTEL_SPAN_EVENT_COUNT_LIMIT=
        OTEL_SPAN_LINK_COUNT_LIMIT=0 | OTEL_SPAN_LINK_COUNT_LIMIT=1 | OTEL_SPAN_LINK_COUNT_LIMIT=
        OTEL_EVENT_ATTRIBUTE_COUNT_LIMIT=0 | OTEL_EVENT_ATTRIBUTE_COUNT_LIMIT=1
        OTEL_LINK_ATTRIBUTE_COUNT_LIMIT=0 | OTEL_LINK_ATTRIBUTE_COUNT_LIMIT=1
        OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT=0 | OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT=3
        OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT= | OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT=2
    """)
]
variables = st.lists(st.sampled_from(_VARIABLES), max_size=3).map(dict)
tracers = st.builds(
    "provider.get_tracer({}, {}, {}, {})".format,
    st.sampled_from(_each("'lib' | 'lib' | 'other' | None | ''")),
    st.sampled_from(_each("None | '' | '1.0'")),
    st.sampled_from(_each("None | '' | 'https://schema/1'")),
    st.sampled_from(_each("None | {'scope': 1} | {'': 1, 'x': [1]}")),
)

# --- what is done to spans, by processors and others

ALLOWED = _each("""
    span.set_attribute('p', 1) | span.update_name('changed') | span.add_event('p', {'a': 1}, 7)
    span.add_link(SpanContext(3, 4, True), {'a': 1}) | span.set_status(StatusCode.ERROR, 'p')
    span.record_exception(ValueError('p'), None, 5) | look(span) | span.attributes.get('a') | span.end(7)
""")
FIELDS = _each("""
    setattr(span, '_name', 'changed') | setattr(span, '_kind', SpanKind.SERVER) | setattr(span, 'own', 1)
    redact(span) | span._attributes._dict.update(added='x') | span._attributes._dict.pop('a', None)
    setattr(span, '_status', Status(StatusCode.ERROR, 'set')) | setattr(span, '_resource', Resource({'r': 1}))
    span._events.append(Event('p', {'e': 1}, 9)) | span._links.append(Link(SpanContext(3, 4, True)))
    setattr(span, '_parent', SpanContext(5, 6, True)) | setattr(span, '_start_time', 3) | look(span)
    setattr(span, '_instrumentation_scope', InstrumentationScope('other', '9'))
""")
LIVE = _each("""
    setattr(span, '_events', span._new_events()) | setattr(span, '_links', span._new_links(()))
""")
ENDED = _each("""
    setattr(span, '_attributes', {'replaced': True}) | setattr(span, '_links', ())
    setattr(span, '_events', []) | setattr(span, '_end_time', 12345) | setattr(span, '_attributes', None)
    t0.start_span('another').end()
""")
INSIDE = [
    *FIELDS,
    *LIVE,
    *_each("""
        look_inside(span) | span._name = 'set' | span._kind = SpanKind.CLIENT | span._attributes['direct'] = 1
        span._attributes.pop('a', None) | view = span.attributes | span._sampler = None | span.start(5)
        span._attributes = BoundedAttributes(2, {'x': 1}, immutable=False) | span._limits = sdk.SpanLimits(2)
        span._links = span._new_links([Link(SpanContext(3, 4, True))])
        span._add_event(Event('e', {'a': 1}, 4)) | span._add_link(Link(SpanContext(3, 4, True)))
        span._record_exception = False | span._set_status_on_exception = False
        span._context = SpanContext(11, 12, False, TraceFlags(1)) | span._span_processor = recording('z')
        patch(span, 'end') | patch(span, 'set_attribute') | patch(span, 'record_exception')
        patch(span, 'set_status') | span.own = {'a': 1} | vars(span)['own'] = 2
    """),
]
LOOKS = _each("""
    look(span) | span.is_recording() | span.get_span_context() | hash(span) > 0 | get_current_span()
    span.attributes | span.name | span.kind | span.events | span.status | span.dropped_attributes
""")
processors = st.one_of(
    st.builds(
        "recording('{}', '{}')".format,
        st.sampled_from("pqr"),
        st.sampled_from(["calls", "public", "private"]),
    ),
    st.sampled_from(ALLOWED + FIELDS + LIVE).map(lambda line: f'doing(start="{line}")'),
    st.sampled_from(ALLOWED + FIELDS + LIVE).map(lambda line: f'doing(ending="{line}")'),
    st.sampled_from(FIELDS + ENDED).map(lambda line: f'doing(end="{line}")'),
    st.sampled_from(["only_ends()", "duck()", "recording('failing', 'calls')"]),
)
watchers = st.sampled_from([[], ["recording('p', 'public')"], ["duck()"]])  # no two: they would run at once
MANAGING = _each("""
    provider.force_flush() | provider.shutdown() | tracer._is_enabled() | tracer.instrumentation_info
    provider._set_tracer_configurator(tracer_configurator=configure('lib'))
    provider._set_tracer_configurator(tracer_configurator=configure())
    provider._set_tracer_configurator(tracer_configurator=lambda scope: 1 / 0)
    tracer.id_generator = DuckIds() | tracer.resource | tracer.resource = Resource({'changed': 1})
    tracer._set_resource(Resource({'set': 1})) | tracer.span_processor = recording('new', 'calls')
    tracer._span_limits = sdk.SpanLimits(1) | provider._update_resource(Resource({'forked': 1}))
    tracer is provider.get_tracer('lib', '') | provider.sampler = sampling.ALWAYS_OFF
    tracer.sampler.get_description()
""")
