"""``otlpfast redact``: what a set of redaction rules is, and what it does to spans and texts."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

from ..environment_variables import OTLPFAST_REDACTION
from ._otlp_json import Field, fields_of

if TYPE_CHECKING:
    from ..redaction import RedactionRules, Redactor

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

rules are switched on by {OTLPFAST_REDACTION}=rules.json (or =default) in the environment of your program, or by
  otlpfast.configure(redaction=RedactionRules.from_file("rules.json"))
docs/redaction.md has the form of the file; the smallest is {{}}: the default rules.

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
    Field("event attribute", "exception.message", "401 for Authorization: Bearer c2VjcmV0LXRva2Vu"),
    Field("event attribute", "exception.stacktrace", "  File \"pay.py\", line 7\nPayError: password=wonder1and"),
    Field("link attribute", "queue", "orders"),
    Field("status", None, "no account of alice@example.com"),
)


class Change(NamedTuple):
    """A field and what becomes of it; ``left_out``: it is gone."""

    field: Field
    after: Any
    left_out: bool

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
        "--check", metavar="FILE", help="the rules: a JSON file, or `default`; checks them and says what is wrong"
    )
    parser.add_argument(
        "--spans", metavar="FILE", help="OTLP in JSON or texts, line by line, in place of the examples; - is stdin"
    )
    parser.add_argument("--all", action="store_true", help="show also what stays as it is")
    parser.add_argument(
        "--after", action="store_true", help="show only what is left of values, not what was there"
    )
    parser.add_argument("--json", action="store_true", help="print a JSON object a line: place, key, before, after")
    parser.set_defaults(run=run)
