"""Random headers of W3C trace context and baggage, right and wrong, and what is to be sent in them."""

from __future__ import annotations

from hypothesis import strategies as st
from opentelemetry.trace import SpanContext, TraceFlags, TraceState

# --- what comes

HEX = "0123456789abcdef"
EDGES = [
    "",
    " ",
    "\t",
    ",",
    ";",
    "=",
    "-",
    "%",
    "+",
    '"',
    "\\",
    "\n",
    "\x00",
    "\x7f",
    "@",
    "_",
    "*",
    "/",
    "A",
    "é",
    "€",
    "😀",
]


def mutated(texts: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    """Texts of which some are damaged at a few places."""

    def damage(text: str, changes: list[tuple[int, int, str]]) -> str:
        for at, taken, put in changes:
            start = at % (len(text) + 1)
            text = text[:start] + put + text[start + taken :]
        return text

    puts = st.one_of(st.sampled_from(EDGES), st.sampled_from(HEX), st.text("g0 ,=", max_size=3))
    change = st.tuples(st.integers(0, 200), st.integers(0, 2), puts)
    return st.one_of(texts, st.builds(damage, texts, st.lists(change, min_size=1, max_size=3)))


def digits(count: int) -> st.SearchStrategy[str]:
    return st.one_of(st.just("0" * count), st.text(HEX, min_size=count, max_size=count))


versions = st.one_of(st.just("00"), st.sampled_from(["01", "cc", "fe", "ff"]), digits(2))
rests = st.sampled_from(["", "", "-", "-what", "-what-else", ".", " "])
parents = mutated(
    st.builds(lambda v, t, s, f, r: f"{v}-{t}-{s}-{f}{r}", versions, digits(32), digits(16), digits(2), rests)
)

blanks = st.sampled_from(["", "", "", " ", "\t", "  "])
keys = st.one_of(
    st.text("abcz019_-*/", min_size=1, max_size=6),
    st.builds(lambda a, b: f"{a}@{b}", st.text("ab09_", max_size=3), st.text("xy1", max_size=3)),
    st.sampled_from(
        ["k" * 256, "k" * 257, "t" * 241 + "@v", "t" * 242 + "@v", "t@" + "v" * 14, "t@" + "v" * 15]
    ),
)
values = st.one_of(st.text("abXY09 !~<>;:", max_size=6), st.sampled_from(["v" * 256, "v" * 257, " a", "a "]))
state_members = st.builds(lambda a, k, v, b: f"{a}{k}={v}{b}", blanks, keys, values, blanks)
states = mutated(
    st.one_of(
        st.lists(st.one_of(state_members, blanks), max_size=5).map(",".join),
        st.integers(30, 34).map(lambda n: ",".join(f"k{i}=v" for i in range(n))),
        st.integers(8190, 8194).map(lambda n: ",".join(f"k{i}={'v' * 250}" for i in range(32)).ljust(n, ",")),
    )
)

tokens = st.one_of(
    st.text("abXY019!#$&'*+-.^_`|~%", min_size=1, max_size=6), st.sampled_from(["a%20b", "a%zz"])
)
octets = st.one_of(
    st.text("abXY019!#:/?[]{}()@=+%", max_size=8),
    st.sampled_from(
        ["a%20b", "%C3%A9", "%e2%82%ac", "%ff", "%", "%4", "+a+", "%20a%20", "a;p=1", "a ; p", "a;;"]
    ),
)
baggage_members = st.builds(
    lambda a, k, b, c, v, d: f"{a}{k}{b}={c}{v}{d}", blanks, tokens, blanks, blanks, octets, blanks
)
entries = mutated(
    st.one_of(
        st.lists(st.one_of(baggage_members, blanks), max_size=5).map(",".join),
        st.integers(178, 182).map(lambda n: ",".join(f"k{i}=v" for i in range(n))),
        st.integers(4093, 4097).map(lambda n: f"a=b,k={'v' * n},c=d"),
        st.integers(8188, 8194).map(lambda n: f"a={'b' * 4000},c={'d' * 4000},e=".ljust(n, "f")),
    )
)

carriers = st.fixed_dictionaries(
    {}, optional={"traceparent": parents, "tracestate": states, "baggage": entries, "other": st.just("x")}
)

# --- what is sent

numbers = st.one_of(st.just(0), st.integers(0, 2**64 - 1))
trace_states = st.one_of(
    st.none(),
    st.just(TraceState()),
    st.lists(st.tuples(st.text("abc", min_size=1), st.text("xyz =!", max_size=3)), max_size=4).map(
        TraceState
    ),
)
contexts = st.builds(
    SpanContext,
    st.one_of(numbers, st.integers(0, 2**128 - 1)),
    numbers,
    st.booleans(),
    st.integers(0, 255).map(TraceFlags),
    trace_states,
)
things = st.one_of(
    st.text(max_size=8).map(lambda t: t.encode("utf-8", "replace").decode()), st.integers(), st.none()
)
bags = st.one_of(
    st.dictionaries(st.text("aé €😀%+;=,~_.-", max_size=5), things, max_size=5),
    st.integers(178, 182).map(lambda n: {f"k{i}": "v" for i in range(n)}),
    st.integers(4090, 4097).map(lambda n: {"a": "b", "k": "v" * n, "c": "d"}),
    st.integers(8170, 8195).map(lambda n: {"a": "b" * 4000, "c": "d" * 4000, "e": "f" * (n - 8010)}),
)
