"""``otlpfast redact``: what a set of redaction rules is, and what it does to spans and texts."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import takewhile
from typing import TYPE_CHECKING, Any, NamedTuple

from .._patterns.plans import Verdict
from ..environment_variables import OTLPFAST_REDACTION
from ._otlp_json import Field, fields_of

if TYPE_CHECKING:
    from .._impl import Redactor
    from ..redaction import RedactionRules

    _Subcommands = argparse._SubParsersAction[argparse.ArgumentParser]

_DESCRIPTION = """\
Shows what redaction rules are, in the order in which they are asked, and what they do: to examples that come
with otlpfast, or to spans and texts of yours, before and after. Nothing is sent, and no file is changed.
"""
_EPILOG = f"""\
examples:
  otlpfast redact                                        the default rules, or those of {OTLPFAST_REDACTION}
  otlpfast redact --check rules.json                     whether a file is right, and what it does
  otlpfast redact --check rules.json --spans spans.json  what it does to your spans
  tail -f app.log | otlpfast redact --after --spans -    lines of text, as they would be exported

spans are lines of OTLP in JSON, as the Collector's file exporter writes them; any other line is a text.

rules are switched on by {OTLPFAST_REDACTION}=rules.json (or =default) in your program's environment, or by
  otlpfast.configure(redaction=RedactionRules.from_file("rules.json"))
docs/redaction.md has the form of the file; {{"default": true}} alone is the default rules.

exit status: 0 if the rules are right, 1 if they are not, or a file can't be read; 2 for wrong usage
"""
_WIDTH = 60  # characters of a value that are shown
_EXAMPLES = (
    Field("span name", None, "GET /users/alice@example.com"),
    Field("attribute", "http.request.method", "GET"),
    Field("attribute", "url.full", "https://alice:wonder1and@example.com/?item=7&access_token=Zm9vYmFy"),
    Field("attribute", "http.request.header.authorization", ("Basic YWxpY2U6d29uZGVyMWFuZA==",)),
    Field("attribute", "http.response.status_code", 200),
    Field("attribute", "db.query.text", "SELECT * FROM users WHERE mail = 'alice@example.com'"),
    Field("attribute", "enduser.id", "alice"),
    Field("attribute", "payment.card", "4111 1111 1111 1111"),
    Field("attribute", "order.number", "4111 1111 1111 1112"),
    Field("attribute", "login", {"user": "alice", "password": "wonder1and"}),
    Field("exception attribute", "exception.message", "401 for Authorization: Bearer c2VjcmV0LXRva2Vu"),
    Field(
        "exception attribute",
        "exception.stacktrace",
        '  File "pay.py", line 7\nPayError: password=wonder1and',
    ),
    Field("link attribute", "queue", "orders"),
    Field("status", None, "no account of alice@example.com"),
)

_PARTS = {  # of a span, and the switch of the rules for each
    "span name": "span_names",
    "status": "statuses",
    "event name": "events",
    "event attribute": "events",
    "exception attribute": "exceptions",
    "link attribute": "links",
}
_UNLISTED = ("resource attribute", "scope attribute")  # for which an allow-list is not


class Change(NamedTuple):
    """A field and what becomes of it; ``left_out``: it is gone; ``shown_key``: as it may be shown."""

    field: Field
    after: Any
    left_out: bool
    shown_key: str | None

    @property
    def is_one(self) -> bool:
        """Whether anything is another."""
        return self.left_out or self.after != self.field.value


def add_parser(subcommands: _Subcommands) -> None:
    """Adds ``redact`` to the command line."""
    parser = subcommands.add_parser(
        "redact",
        help="what redaction rules do, to examples or to your spans",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--check",
        metavar="FILE",
        help="the rules: a JSON file, or `default`; checks them and says what is wrong",
    )
    parser.add_argument(
        "--spans",
        metavar="FILE",
        help="OTLP in JSON or texts, line by line, in place of the examples; - is stdin",
    )
    parser.add_argument("--all", action="store_true", help="show also what stays as it is")
    parser.add_argument(
        "--after", action="store_true", help="show only what is left of values, not what was there"
    )
    parser.add_argument(
        "--json", action="store_true", help="print a JSON object a line: place, key, before, after"
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Says what the rules are and do; returns the exit status."""
    from .._arguments import default_rules, redactor
    from ..redaction import RedactionRules

    where = arguments.check or os.environ.get(OTLPFAST_REDACTION, "").strip() or "default"
    try:
        rules = default_rules() if where == "default" else RedactionRules.from_file(where)
    except (OSError, ValueError, RecursionError) as error:
        return _complain(error)
    if not arguments.json:
        _print_rules("the default rules" if where == "default" else where, rules)
    try:
        with _lines(arguments.spans) as lines:
            fields = _EXAMPLES if lines is None else fields_of(lines)
            _print_changes(_changes(fields, redactor(rules)), arguments)
    except (OSError, ValueError) as error:
        return _complain(error)
    return 0


def _complain(error: Exception) -> int:
    if isinstance(error, OSError):
        error = ValueError(f"{error.filename}: {(error.strerror or '').lower()}")
    print(f"otlpfast redact: {error}", file=sys.stderr)
    return 1


@contextmanager
def _lines(path: str | None) -> Iterator[Iterable[str] | None]:
    if path is None:
        yield None
    elif path == "-":
        yield sys.stdin
    else:
        with open(path, encoding="utf-8", errors="replace") as file:
            yield file


def _print_rules(name: str, rules: RedactionRules) -> None:
    print(f"{name}: the rules are right")
    for title, kind, given in (
        ("keys", rules.action, rules.keys),
        ("patterns in texts", rules.action, rules.patterns),
    ):
        if given:
            print(f"  {title}:")
        for number, rule in enumerate(given, 1):
            pattern, action = rule if isinstance(rule, tuple) else (rule, kind)
            print(f"    {number:>3}. {action:<5} {_pattern(pattern)}")
    if rules.allow is not None:
        allowed = ", ".join(map(_pattern, rules.allow)) or "none"
        print(f"  keys that may stay: {allowed}; of all others the value: {rules.action}")
    parts = ("span_names", "events", "exceptions", "statuses", "links")
    if spared := [part for part in parts if not getattr(rules, part)]:
        print(f"  left alone: {', '.join(spared)}")
    actions = {
        rule[1] if isinstance(rule, tuple) else rules.action for rule in (*rules.keys, *rules.patterns)
    }
    if rules.hash_key is None and "hash" in actions | {rules.action}:
        print("  hashes: there is no hash_key, so those of another process are others")


def _pattern(pattern: Any) -> str:
    return pattern if isinstance(pattern, str) else f"/{pattern.pattern}/"


def _changes(fields: Iterable[Field], redactor: Redactor) -> Iterator[Change]:
    for field in fields:
        yield _change(field, redactor)


def _change(field: Field, redactor: Redactor) -> Change:
    """As the encoder would."""
    place, key, value = field
    part = _PARTS.get(place)
    if part is not None and not getattr(redactor, part):
        return Change(field, value, False, key)
    if key is None:
        return Change(field, redactor.clean(value), False, None)
    from .._redacted import redacted_pairs  # the SDK: not for those who ask for help

    otherwise = Verdict.SCAN if place in _UNLISTED else redactor.otherwise
    left = redacted_pairs({key: value}, redactor, otherwise)
    return Change(field, left.get(key), key not in left, redactor.clean(key))


def _print_changes(changes: Iterable[Change], arguments: argparse.Namespace) -> None:
    if not arguments.json:
        print(f"{'what it does to examples' if arguments.spans is None else arguments.spans}:")
    total = changed = left_out = 0
    for change in changes:
        total += 1
        changed += change.is_one
        left_out += change.left_out
        if change.is_one or arguments.all:
            print(
                _as_json(change, arguments.after) if arguments.json else _as_line(change, arguments.after),
                flush=True,
            )
    if not arguments.json:
        print(f"{total:,} looked at: {changed - left_out:,} changed, {left_out:,} dropped")


def _as_json(change: Change, after_alone: bool) -> str:
    key = change.shown_key if after_alone else change.field.key
    shown: dict[str, Any] = {"place": change.field.place, "key": key}
    if not after_alone:
        shown["before"] = change.field.value
    if not change.left_out:
        shown["after"] = change.after
    return json.dumps(shown, ensure_ascii=False, default=_octets)


def _octets(value: bytes) -> str:
    return value.decode("utf-8", "backslashreplace")


def _as_line(change: Change, after_alone: bool) -> str:
    place, key, value = change.field
    key = change.shown_key if after_alone else key
    head = place if key is None else f"{place} {_short(_text(key), 0)}"
    if not change.is_one:
        return f"  {head}: {_short(_text(value), 0)}"
    before, after = _text(value), _text(change.after)
    same = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(before, after, strict=False)))
    start = 0 if after_alone else same
    shown = "(dropped)" if change.left_out else _short(after, start)
    return f"  {head}: {shown}" if after_alone else f"  {head}: {_short(before, start)} → {shown}"


def _text(value: Any) -> str:
    """In one line, as JSON has it but for the quotes of a text."""
    text = json.dumps(value, ensure_ascii=False, default=_octets)
    text = text[1:-1] if isinstance(value, str) else text
    return "".join(c if c.isprintable() else f"\\u{ord(c):04x}" for c in text)


def _short(text: str, start: int) -> str:
    """What there is from a little before ``start``, on a part of a line."""
    first = 0 if len(text) <= _WIDTH else max(min(start - 15, len(text) - _WIDTH), 0)
    end = first + _WIDTH
    return ("…" if first else "") + text[first:end] + ("…" if end < len(text) else "")
