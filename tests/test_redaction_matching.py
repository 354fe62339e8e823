"""Patterns find what `re` finds, in linear time, and both implementations find the same."""

from __future__ import annotations

import random
import re
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from otlpfast import IMPLEMENTATION
from otlpfast._patterns.trees import least_width, tree_of
from otlpfast._pure.redaction import Redactor as PlainRedactor
from otlpfast.redaction import RedactionRules

MASK = "[X]"
LETTERS = "abAkKs\u017f\u212aé中 _-0.\n"
CLASSES = [r"\w", r"\W", r"\d", r"\D", r"\s", r"\S", ".", "[ab]", "[^a]", "[a-zé]", r"[^a-z\n]", r"[\w-]"]
EDGES = st.sampled_from([r"\b", r"\B", "^", "$", r"\A", r"\Z"])
COUNTS = st.sampled_from(["*", "+", "?", "*?", "+?", "??", "{2}", "{1,3}", "{2,}", "{0,2}?"])
FLAGS = st.lists(st.sampled_from([re.IGNORECASE, re.MULTILINE, re.DOTALL, re.ASCII]), max_size=3).map(
    lambda flags: sum({*flags})
)


def repeated(item: str, count: str) -> str:
    """Only what takes a character is repeated: a loop over nothing ends in each engine in its own way."""
    return f"(?:{item}){count}" if least_width(tree_of(item)) else item


def larger(items: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    rows = st.lists(items | EDGES, min_size=1, max_size=4).map("".join)
    choices = st.lists(items, min_size=2, max_size=3).map(lambda found: f"(?:{'|'.join(found)})")
    return rows | choices | st.builds(repeated, items, COUNTS)


PATTERNS = st.recursive(
    st.sampled_from([re.escape(letter) for letter in LETTERS] + CLASSES), larger, max_leaves=6
)
SECRETS = st.builds("{}(?P<secret>{}){}".format, PATTERNS, PATTERNS, PATTERNS)
TEXTS = st.text(LETTERS, max_size=10)


def replaced(match: re.Match[str]) -> str:
    start, end = match.span("secret" if "secret" in match.re.groupindex else 0)
    start, end = (start, end) if start < end else match.span()
    return match.string[match.start() : start] + MASK + match.string[end : match.end()]


def cleaned(rules: RedactionRules, text: str) -> str:
    """What this implementation gives, after a look whether the plain one gives the same."""
    found = rules.redactor().clean(text)
    if IMPLEMENTATION == "c":
        assert PlainRedactor(rules._plan).clean(text) == found
    return found


@given(PATTERNS | SECRETS, FLAGS, TEXTS)
def test_matches_are_those_of_re(pattern: str, flags: int, text: str) -> None:
    compiled = re.compile(pattern, flags)
    assume(least_width(tree_of(compiled)))
    assert cleaned(RedactionRules(patterns=[compiled], mask=MASK), text) == compiled.sub(replaced, text)


@given(PATTERNS, PATTERNS, TEXTS)
def test_of_two_patterns_the_first_comes_first(one: str, other: str, text: str) -> None:
    compiled = re.compile(f"(?P<one>{one})|(?P<other>{other})")
    assume(least_width(tree_of(compiled)))
    rules = RedactionRules(patterns=[re.compile(one), (re.compile(other), "drop")], mask=MASK)
    expected = compiled.sub(lambda match: MASK if match["one"] is not None else "", text)
    assert cleaned(rules, text) == expected


@given(PATTERNS, FLAGS, TEXTS)
def test_keys_are_searched_as_re_does(pattern: str, flags: int, key: str) -> None:
    compiled = re.compile(pattern, flags)
    assume(key)  # re finds no \\B in an empty text, but for the newest
    redactor = RedactionRules(keys=[(compiled, "drop")], patterns=["x y z"]).redactor()
    assert (redactor.action(key) == 4) == bool(compiled.search(key))


@pytest.mark.parametrize("size", [0, 1, 30, 250, 255, 256, 257, 511, 512, 513, 1023, 1024, 1025, 3000])
@pytest.mark.parametrize(
    "pattern", ["a+b", "ab.*?ba", r"\ba{3}", r"(?m)^b.*$", "[^a]{40,}", "é.{2}", r"b\Z", "b$", r"\Aab", "aXb"]
)
def test_matches_at_every_place_of_long_texts(pattern: str, size: int) -> None:
    chance = random.Random(f"{pattern} {size}")
    rules = RedactionRules(patterns=[re.compile(pattern)], mask=MASK)
    for letters in ("ab", "aab \n", "abé", "a" * 50 + "b", "b" * 50 + "a", "ccccccccccaXb"):
        text = "".join(chance.choices(letters, k=size))
        assert cleaned(rules, text) == re.sub(pattern, MASK, text)


def test_a_match_over_all_of_a_long_text() -> None:
    rules = RedactionRules(patterns=["(?s)<.*>"], mask=MASK)
    for size in (10, 600, 5000, 20_000):
        assert cleaned(rules, f"a<{'b' * size}>c") == "a[X]c"
        assert cleaned(rules, f"a<{'b' * size}c") == f"a<{'b' * size}c"


@given(st.binary(max_size=200), st.integers(0, 2**32))
def test_whatever_the_bytes_are_both_implementations_give_the_same(data: bytes, seed: int) -> None:
    chance = random.Random(seed)
    words = [
        b"password=",
        b"bob@x.org",
        b"4111 1111 1111 1111",
        b"\xff",
        b"\xe4\xb8",
        b" ",
        b"Bearer a1b2c3d4",
        data,
    ]
    mixed = b"".join(chance.choices(words, k=chance.randrange(1, 30)))
    assert PLAIN_DEFAULT.clean_bytes(mixed) == DEFAULT.clean_bytes(mixed)


@given(st.text(st.characters(blacklist_categories=()), max_size=200))
def test_whatever_the_text_is_it_is_cleaned(text: str) -> None:
    found = DEFAULT.clean(f"{text} bob@example.com {text}")
    assert "bob@example.com" not in found
    assert "[REDACTED]" in found
    assert PLAIN_DEFAULT.clean(f"{text} bob@example.com {text}") == found


DEFAULT_RULES = RedactionRules.default()
DEFAULT = DEFAULT_RULES.redactor()
PLAIN_DEFAULT = PlainRedactor(DEFAULT_RULES._plan)


def steps(pattern: Any, text: str) -> int:
    """How many a fresh redactor takes."""
    redactor = RedactionRules(patterns=[pattern]).redactor()
    redactor.clean(text)
    return redactor.steps


@pytest.mark.parametrize(
    ("pattern", "text"),
    [
        ("(a+)+$", "a" * 50 + "b"),
        ("(a+)+$", "a" * 50),
        ("(a|a)*b", "a" * 50),
        ("(a|aa)+$", "a" * 50 + "b"),
        ("(.*)*x", "ab" * 25),
        ("a.*b|a", "a" * 50),  # each match but the last looks for a b as far as the text goes
        ("(?s)a.*?b.*?c", "ab" * 25),
        (r"\w+@\w+\.com", "a.b@c" * 10),
        ("x[^y]{50}z", "x" * 50),
    ],
)
def test_no_pattern_takes_more_than_linear_time(pattern: str, text: str) -> None:
    short, long = steps(pattern, text * 200), steps(pattern, text * 2000)
    assert long <= 20 * short  # ten times the text
    assert long <= 100 * len(text) * 2000


def test_neither_do_the_default_rules() -> None:
    redactor = RedactionRules.default().redactor()
    for text in (
        "password: ",
        "http://a:",
        "-----BEGIN PRIVATE KEY-----",
        "4111 ",
        "a@b.",
        "Bearer a",
        "eyJ.",
    ):
        redactor.clean(text * 500)  # what it meets is known from now on
        before = redactor.steps
        redactor.clean(text * 50)
        between = redactor.steps
        redactor.clean(text * 500)
        assert redactor.steps - between <= 20 * (between - before)


def test_states_that_are_too_many_are_forgotten_and_found_again() -> None:
    chance = random.Random(1)
    text = "".join(chance.choices("ab", k=20_000 if IMPLEMENTATION == "c" else 6_000))
    # Each of the last 13 letters may be where a match was to begin: 8192 states, from either end. The other
    # pattern makes each of them large.
    filler = ["x{4000}y"] if IMPLEMENTATION == "c" else ["x{9}y"]
    ahead = RedactionRules(patterns=["(?:a|b)*a(?:a|b){13}c", *filler], mask=MASK).redactor()
    behind = RedactionRules(patterns=["c(?:a|b){13}a(?:a|b)*", *filler], mask=MASK).redactor()
    for _ in range(2):
        assert ahead.clean(f"{text}{'a' * 14}c") == MASK
        assert ahead.clean(f"{text}{'b' * 14}c") == f"{text}{'b' * 14}c"
        assert behind.clean(f"c{'a' * 14}{text}") == MASK
        assert behind.clean(f"c{'b' * 14}{text}") == f"c{'b' * 14}{text}"
