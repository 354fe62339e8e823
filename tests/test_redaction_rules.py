"""Rules of redaction: which keys and texts they name, what stands in their place, and how they are read."""

from __future__ import annotations

import dataclasses
import gc
import hashlib
import hmac
import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otlpfast import IMPLEMENTATION
from otlpfast._impl import Redactor
from otlpfast.redaction import RedactionRules, Verdict

from .starting import python

ANY_TEXT = st.text(st.characters(blacklist_categories=()))


def cleaned(text: str, *patterns: Any, **arguments: Any) -> str:
    return RedactionRules(patterns=patterns, **arguments).redactor().clean(text)


def verdict(key: str, *keys: Any, **arguments: Any) -> Verdict:
    return Verdict(RedactionRules(keys=keys, **arguments).redactor().action(key))


class TestKeys:
    @pytest.mark.parametrize(
        ("pattern", "key"),
        [
            ("user.id", "user.id"),
            ("user.id", "User.ID"),
            ("*password*", "db.PASSWORD.old"),
            ("*password*", "password"),
            ("http.request.header.*", "http.request.header.x"),
            ("*.pin", "acme.card.pin"),
            ("item.?", "item.7"),
            ("item.?", "item.é"),
            ("item.[0-9]", "item.5"),
            ("item.[a-c]", "item.B"),
            ("item.[!0-9]", "item.x"),
            ("item.[]]", "item.]"),
            ("item.[!]]", "item.x"),
            ("a[b", "a[b"),
            ("maß.*", "MAß.x"),
            ("ключ", "КЛЮЧ"),
            ("kelvin", "\u212aelvin"),
            (re.compile("pass|secret"), "my.secret.x"),
            (re.compile("^user"), "user.id"),
            (re.compile("id$"), "user.id"),
            (re.compile("(?i)ID$"), "user.id"),
            ("*", ""),
            ("*", "any\nthing"),
        ],
    )
    def test_a_pattern_names_a_key(self, pattern: Any, key: str) -> None:
        assert verdict(key, pattern) is Verdict.MASK

    @pytest.mark.parametrize(
        ("pattern", "key"),
        [
            ("user.id", "user.id2"),
            ("user.id", "my.user.id"),
            ("user.id", "userxid"),
            ("item.?", "item."),
            ("item.?", "item.10"),
            ("item.[0-9]", "item.x"),
            ("item.[!0-9]", "item.5"),
            (re.compile("^id"), "user.id"),
            (re.compile("ID"), "user.id"),
            (re.compile("user$"), "user\nx"),
            ("", "x"),
        ],
    )
    def test_or_it_does_not(self, pattern: Any, key: str) -> None:
        assert verdict(key, pattern) is Verdict.SCAN

    def test_the_first_rule_that_matches_decides(self) -> None:
        rules = RedactionRules(
            keys=[("a.*", "keep"), ("*.b", "hash"), (re.compile("c"), "drop"), ("*", "scan")], action="mask"
        )
        redactor = rules.redactor()
        found = [Verdict(redactor.action(key)).name for key in ("a.b", "x.b", "c.b", "xcx", "other")]
        assert found == ["KEEP", "HASH", "HASH", "DROP", "SCAN"]

    @pytest.mark.parametrize("action", ["mask", "hash", "drop"])
    def test_a_rule_without_an_action_takes_that_of_all(self, action: str) -> None:
        assert verdict("x", "x", action=action) is Verdict[action.upper()]

    def test_with_a_list_of_what_may_stay_all_else_goes(self) -> None:
        allowed = ["http.*", re.compile("^db")]
        redactor = RedactionRules([("http.url", "hash")], allowed, action="drop").redactor()
        keys = ["http.url", "http.x", "db.name", "user.id", ""]
        found = [Verdict(redactor.action(key)).name for key in keys]
        assert found == ["HASH", "SCAN", "SCAN", "DROP", "DROP"]
        assert verdict("x", allow=[]) is Verdict.MASK

    def test_more_keys_than_are_kept_in_mind(self) -> None:
        redactor = RedactionRules(keys=["*7", ("*3*", "hash")]).redactor()
        for _ in range(2):
            for n in range(3000):
                key = f"key.{n}"
                wanted = Verdict.MASK if key.endswith("7") else Verdict.HASH if "3" in key else Verdict.SCAN
                assert redactor.action(key) == wanted

    @pytest.mark.parametrize("size", [255, 256, 257, 511, 512, 513, 1024, 5000])
    def test_keys_of_any_length(self, size: int) -> None:
        redactor = RedactionRules(keys=["x*y", (re.compile("secret"), "drop")]).redactor()
        assert redactor.action("x" * (size - 1) + "y") == Verdict.MASK
        assert redactor.action("x" * size) == Verdict.SCAN
        assert redactor.action("é" * (size // 2) + "secret" + "é" * (size // 2)) == Verdict.DROP

    def test_a_key_of_a_class_of_its_own(self) -> None:
        class Key(str):
            __slots__ = ()

            def __hash__(self) -> int:
                raise AssertionError("no code of others runs")

            def __eq__(self, other: object) -> bool:
                raise AssertionError("no code of others runs")

        assert verdict(Key("user.id"), "user.*") is Verdict.MASK

    def test_surrogates_are_what_stands_for_them(self) -> None:
        assert verdict("a\ud800b", "a?b") is Verdict.MASK
        assert verdict("a\ud800b", "a\ufffdb") is Verdict.MASK

    @pytest.mark.parametrize("key", [None, 5, b"x"])
    def test_what_is_no_text_is_refused(self, key: Any) -> None:
        redactor = RedactionRules().redactor()
        with pytest.raises(TypeError, match="a str is allowed"):
            redactor.action(key)
        with pytest.raises(TypeError, match="a str is allowed"):
            redactor.clean(key)

    def test_keys_are_let_go(self) -> None:
        keys = [f"a key of {n}" for n in range(3000)]
        before = [sys.getrefcount(key) for key in keys]
        redactor = RedactionRules(keys=["a*"]).redactor()
        for n in range(3000):
            redactor.action(keys[n])
        del redactor
        gc.collect()
        assert [sys.getrefcount(key) for key in keys] == before


class TestTexts:
    def test_what_matches_is_masked_and_nothing_else(self) -> None:
        assert cleaned("a 12 b 345", r"\d+") == "a [REDACTED] b [REDACTED]"
        assert cleaned("a 12 b 345", r"\d+", mask="") == "a  b "
        assert cleaned("a 12 b 345", r"\d+", mask="é" * 500) == f"a {'é' * 500} b {'é' * 500}"
        assert cleaned("nothing", r"\d+") == "nothing"
        assert cleaned("", r"\d+") == ""

    def test_a_group_named_secret_is_what_is_replaced(self) -> None:
        assert cleaned("pin=1234; pin=5;", r"pin=(?P<secret>\d+);") == "pin=[REDACTED]; pin=[REDACTED];"
        assert cleaned("pin: 7", r"pin(?:=(?P<secret>\d+)|: \d)") == "[REDACTED]"
        assert cleaned("xyz", r"x(?P<other>y)z") == "[REDACTED]"

    def test_at_a_place_the_first_pattern_has_it(self) -> None:
        rules = [("a[b]", "drop"), "a[b]c", ("b[c]d", "hash")]
        assert cleaned("abcd", *rules) == "cd"
        assert cleaned("abcd", *rules[1:]) == "[REDACTED]d"

    def test_what_one_has_replaced_is_not_searched_again(self) -> None:
        assert cleaned("a", "[a]", r"\[RED\w+\]") == "[REDACTED]"
        assert cleaned("aa", ("[a]", "mask"), mask="aa") == "aaaa"

    def test_hashes_are_keyed_and_equal_for_equal_values(self) -> None:
        first, second = (RedactionRules(patterns=[r"\d+"], action="hash", hash_key=key) for key in ("k", "l"))
        one, other = first.redactor(), second.redactor()
        digest = hmac.new(b"k", b"42", hashlib.sha256).hexdigest()[:16]
        assert one.clean("a 42 b 42") == f"a {digest} b {digest}"
        assert one.hash("42") == one.hash(b"42") == digest != other.hash("42")

    def test_without_a_key_hashes_of_a_process_can_be_compared(self) -> None:
        one, other = RedactionRules().redactor(), RedactionRules(action="hash").redactor()
        assert one.hash("x") == other.hash("x")
        assert one.hash("x") != one.hash("y")
        elsewhere = python("from otlpfast.redaction import *; print(RedactionRules().redactor().hash('x'))")
        assert elsewhere.stdout.strip() != one.hash("x")

    def test_a_key_goes_for_what_is_found_in_it_also_where_the_mask_is_the_same(self) -> None:
        redactor = RedactionRules(patterns=["SECRET"], mask="SECRET").redactor()
        assert redactor.action("a SECRET") == Verdict.DROP

    @pytest.mark.parametrize("size", [0, 1, 31, 32, 54, 55, 56, 57, 63, 64, 65, 119, 120, 127, 128, 1000])
    def test_hashes_are_hmac_sha256(self, size: int) -> None:
        data = bytes(n % 251 for n in range(size))
        for key in (b"k", data or b"another"):
            redactor = RedactionRules(hash_key=key).redactor()
            assert redactor.hash(data) == hmac.new(key, data, hashlib.sha256).hexdigest()[:16]

    @given(ANY_TEXT)
    def test_a_text_without_matches_comes_back_as_it_is_encoded(self, text: str) -> None:
        shown = "".join("\ufffd" if "\ud800" <= c <= "\udfff" else c for c in text)
        assert cleaned(text, "never matched: [0-9]{40}") == shown

    def test_switches_are_passed_on(self) -> None:
        names = ["span_names", "events", "exceptions", "statuses", "links"]
        for name in names:
            redactor: Any = RedactionRules(**{name: False}).redactor()  # type: ignore[arg-type]
            assert [each for each in names if not getattr(redactor, each)] == [name]
        assert redactor.mask == "[REDACTED]"


class TestRules:
    def test_they_are_values(self) -> None:
        rules = RedactionRules(keys=["a"], patterns=("email",), hash_key="the key of hashes")
        assert rules == RedactionRules(keys=("a",), patterns=["email"], hash_key="the key of hashes")
        assert "the key" not in repr(rules)
        assert dataclasses.replace(rules, mask="-").redactor().clean("x@example.com") == "-"
        with pytest.raises(dataclasses.FrozenInstanceError):
            rules.mask = "x"  # type: ignore[misc]

    @pytest.mark.parametrize(
        ("arguments", "error", "message"),
        [
            ({"keys": "password"}, TypeError, "keys: a sequence of patterns, not str"),
            ({"keys": {"password": "mask"}}, TypeError, "keys: a sequence of patterns, not dict"),
            ({"keys": None}, TypeError, "keys: a sequence of patterns, not NoneType"),
            ({"allow": "http.*"}, TypeError, "allow: a sequence of patterns, not str"),
            ({"keys": [5]}, TypeError, r"keys\[0\]: a str or a compiled regular expression, not int"),
            ({"keys": ["a", re.compile(b"x")]}, TypeError, r"keys\[1\]: .* of text, not of bytes"),
            ({"patterns": [5]}, TypeError, r"patterns\[0\]: a str or a compiled regular expression, not int"),
            ({"patterns": [re.compile(b"x")]}, TypeError, r"patterns\[0\]: .* of text, not of bytes"),
            ({"mask": 5}, TypeError, "mask: a str, not int"),
            ({"hash_key": 5}, TypeError, "hash_key: a str or bytes, not int"),
            ({"hash_key": ""}, ValueError, "hash_key: it is empty"),
            ({"events": "no"}, TypeError, "events: a bool, not str"),
            ({"action": "delete"}, ValueError, "action: 'delete' is not known; allowed: mask, hash, drop"),
            ({"action": "keep"}, ValueError, "action: 'keep' is not known; allowed: mask, hash, drop"),
            ({"keys": [("a", "x")]}, ValueError, r"keys\[0\]: 'x' .* allowed: keep, scan, mask, hash, drop"),
            ({"keys": [("a", "mask", "b")]}, ValueError, r"keys\[0\]: a pattern, or a pattern and an action"),
            ({"keys": ["[z-a]"]}, ValueError, r"keys\[0\]: \[z-a\]: 'z' comes after 'a'"),
            (
                {"patterns": [("email", "keep")]},
                ValueError,
                r"patterns\[0\]: 'keep' is not known; allowed: mask",
            ),
            (
                {"patterns": ["emial"]},
                ValueError,
                r"patterns\[0\]: 'emial' .* allowed: email, card, token, a regular",
            ),
            ({"patterns": [""]}, ValueError, r"patterns\[0\]: '' is not known"),
            ({"patterns": ["(a"]}, ValueError, r"patterns\[0\]: '\(a' is no regular expression: missing \)"),
            ({"patterns": ["x*"]}, ValueError, r"patterns\[0\]: 'x\*' also matches nothing"),
            ({"patterns": [r"\b|^"]}, ValueError, "also matches nothing"),
            (
                {"patterns": [r"(a)\1"]},
                ValueError,
                r"patterns\[0\]: .* a reference to a group can't be matched",
            ),
            ({"patterns": ["(a)?b(?(1)c|d)"]}, ValueError, "a condition on a group can't be matched"),
            ({"patterns": ["a(?=b)"]}, ValueError, "looking ahead or behind can't be matched in linear time"),
            ({"patterns": ["a(?!b)"]}, ValueError, "looking ahead or behind"),
            ({"patterns": ["(?<=a)b"]}, ValueError, "looking ahead or behind"),
            ({"patterns": ["(?<!a)b"]}, ValueError, "looking ahead or behind"),
            ({"keys": [re.compile("a(?=b)")]}, ValueError, r"keys\[0\]: 'a\(\?=b\)': looking ahead"),
            ({"patterns": ["(?:a{100}){1000}"]}, ValueError, "patterns: more than 16000 steps"),
            ({"patterns": ["(?:(?:(?:a{99}){99}){99}){99}"]}, ValueError, "patterns: more than 16000 steps"),
            ({"keys": ["x" * 20_000]}, ValueError, "keys: more than 16000 steps"),
        ],
    )
    def test_what_is_wrong_is_said(
        self, arguments: dict[str, Any], error: type[Exception], message: str
    ) -> None:
        with pytest.raises(error, match=message):
            RedactionRules(**arguments)
        if "allow" not in arguments and arguments.get("keys", 1) and arguments.get("patterns", 1):
            with pytest.raises(error):
                RedactionRules.default(**arguments)

    @pytest.mark.skipif(sys.version_info < (3, 11), reason="Python's parser does not know them")
    @pytest.mark.parametrize("pattern", ["(?>a+)b", "a++b", "a{2,3}+b"])
    def test_what_never_gives_back_is_refused(self, pattern: str) -> None:
        with pytest.raises(ValueError, match=r"an atomic group|a possessive repetition"):
            RedactionRules(patterns=[pattern])

    def test_many_repetitions_of_nothing_are_nothing(self) -> None:
        assert cleaned("xay", "(?:(?:(?:){9999}){9999}){9999}a") == "x[REDACTED]y"

    def test_a_redactor_is_made_of_rules_alone(self) -> None:
        make: Callable[..., Redactor] = Redactor
        with pytest.raises((TypeError, AttributeError)):
            make(None)
        with pytest.raises(TypeError):
            make()
        assert type(RedactionRules().redactor()).__module__ == (
            "otlpfast._core" if IMPLEMENTATION == "c" else "otlpfast._pure.redaction"
        )


class TestFiles:
    def test_a_file_has_what_code_has(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("REDACTION_KEY", "k")
        file = tmp_path / "rules.json"
        file.write_text(
            json.dumps(
                {
                    "keys": [
                        "*password*",
                        {"key": "user.id", "action": "hash"},
                        {"regex": "^x-.*-key$", "ignore_case": True, "action": "drop"},
                        {"regex": "pin"},
                    ],
                    "allow": ["http.*", {"regex": "^db"}],
                    "patterns": ["email", {"pattern": "card", "action": "hash"}, {"regex": "acme"}, r"\d{9}"],
                    "action": "mask",
                    "mask": "<gone>",
                    "hash_key_variable": "REDACTION_KEY",
                    "links": False,
                }
            ),
            encoding="utf-8",
        )
        assert RedactionRules.from_file(file) == RedactionRules(
            keys=[
                "*password*",
                ("user.id", "hash"),
                (re.compile("^x-.*-key$", re.IGNORECASE), "drop"),
                re.compile("pin"),
            ],
            allow=["http.*", re.compile("^db")],
            patterns=["email", ("card", "hash"), re.compile("acme"), r"\d{9}"],
            mask="<gone>",
            hash_key="k",
            links=False,
        )

    def test_one_may_extend_the_default_rules(self) -> None:
        given = {"default": True, "keys": [{"key": "user.*", "action": "hash"}], "patterns": [r"ACME-\d+"]}
        assert RedactionRules.from_dict(given) == RedactionRules.default(
            keys=[("user.*", "hash")], patterns=[r"ACME-\d+"]
        )
        assert RedactionRules.from_dict({}) == RedactionRules()
        assert RedactionRules.from_dict({"default": False}) == RedactionRules()

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("{", "is no JSON"),
            ("[]", r"an object with some of default, keys, .* is expected, not 'list'"),
            ('{"hash_key": "of the vault", "pattern": []}', r"is expected, not \['pattern'\]$"),
            ('{"key": []}', "an object with some of"),
            ('{"default": 1}', "default: true or false is expected, not 1"),
            ('{"events": null}', "events: true or false is expected, not None"),
            ('{"keys": "a"}', "keys: a list is expected, not 'a'"),
            ('{"keys": [1]}', r'keys\[0\]: a text, or an object with "key" or "regex" .* expected, not 1'),
            ('{"keys": ["a", {"key": "a", "regex": "b"}]}', r"keys\[1\]: a text, or an object"),
            ('{"keys": [{"action": "mask"}]}', r"keys\[0\]: a text, or an object"),
            ('{"keys": [{"key": "a", "ignore_case": true}]}', r"keys\[0\]: a text, or an object"),
            ('{"keys": [{"key": "a", "x": 1}]}', r"keys\[0\]: a text, or an object"),
            ('{"allow": [{"key": "a", "action": "mask"}]}', r"allow\[0\]: a text, or an object"),
            ('{"keys": [{"regex": "("}]}', r"keys\[0\]: '\(' is no regular expression: missing"),
            ('{"keys": [{"key": "a", "action": "x"}]}', r"keys\[0\]: 'x' is not known; allowed: keep, scan"),
            ('{"patterns": ["emial"]}', r"patterns\[0\]: 'emial' is not known"),
            ('{"patterns": [{"key": "email"}]}', r'patterns\[0\]: a text, or an object with "pattern"'),
            ('{"patterns": [{"regex": "a(?=b)"}]}', r"patterns\[0\]: 'a\(\?=b\)': looking ahead"),
            ('{"action": 5}', "action: 5 is not known"),
            ('{"mask": 5}', "mask: a str, not int"),
            ('{"hash_key": 5}', "hash_key: a str or bytes, not int"),
            ('{"hash_key_variable": 5}', "hash_key_variable: the name of a variable is expected"),
            ('{"hash_key_variable": "A", "hash_key": "b"}', "hash_key_variable: the name of a variable"),
            ('{"hash_key_variable": "NO_SUCH_KEY"}', "hash_key_variable: NO_SUCH_KEY is not set"),
        ],
    )
    def test_what_is_wrong_with_one_is_said(self, tmp_path: Path, text: str, message: str) -> None:
        file = tmp_path / "rules.json"
        file.write_text(text, encoding="utf-8")
        with pytest.raises(ValueError, match=f"^{re.escape(str(file))}.*{message}"):
            RedactionRules.from_file(file)

    def test_one_that_is_not_there_is_named(self, tmp_path: Path) -> None:
        with pytest.raises(FileNotFoundError, match=r"none\.json"):
            RedactionRules.from_file(tmp_path / "none.json")


def test_a_group_can_be_of_ascii_alone() -> None:
    redactor = RedactionRules(patterns=[re.compile(r"(?a:\w+)@")]).redactor()
    assert redactor.clean("grün@") == "grü[REDACTED]"
