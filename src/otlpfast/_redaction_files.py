"""Rules of redaction as a JSON file has them."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Any

_SWITCHES = ("span_names", "events", "exceptions", "statuses", "links")
_FIELDS = (
    "default",
    "keys",
    "allow",
    "patterns",
    "action",
    "mask",
    "hash_key",
    "hash_key_variable",
    *_SWITCHES,
)


def arguments_of(found: Any, where: str) -> tuple[str, dict[str, Any]]:
    """Whether the rules extend the default ones ("default") or not (""), and the arguments of RedactionRules.

    Raises:
        ValueError: it is not of the form of such a file.
    """
    if not isinstance(found, Mapping) or set(found) - {*_FIELDS}:
        raise ValueError(
            f"{where}: an object with some of {', '.join(_FIELDS)} is expected, not {found!r:.200}"
        )
    arguments = {name: found[name] for name in ("action", "mask", "hash_key", *_SWITCHES) if name in found}
    for name in ("default", *_SWITCHES):
        if not isinstance(found.get(name, False), bool):
            raise ValueError(f"{where}: {name}: true or false is expected, not {found[name]!r:.100}")
    for name in ("keys", "allow", "patterns"):
        if name in found:
            arguments[name] = _rules(
                f"{where}: {name}", found[name], "key" if name != "patterns" else "pattern"
            )
    variable = found.get("hash_key_variable")
    if variable is not None:
        if "hash_key" in found or not isinstance(variable, str):
            raise ValueError(
                f"{where}: hash_key_variable: the name of a variable is expected, and no hash_key"
            )
        if not os.environ.get(variable):
            raise ValueError(f"{where}: hash_key_variable: {variable} is not set")
        arguments["hash_key"] = os.environ[variable]
    return "default" if found.get("default") else "", arguments


def _rules(where: str, found: Any, kind: str) -> list[Any]:
    if not isinstance(found, list):
        raise ValueError(f"{where}: a list is expected, not {found!r:.200}")
    return [
        item if isinstance(item, str) else _rule(f"{where}[{n}]", item, kind) for n, item in enumerate(found)
    ]


def _rule(where: str, item: Any, kind: str) -> Any:
    """One that is an object: ``{"key": "user.*", "action": "hash"}``, ``{"regex": "^x-", "ignore_case": true}``."""
    allowed = f'a text, or an object with "{kind}" or "regex", "action" and, with "regex", "ignore_case"'
    if not isinstance(item, dict) or set(item) - {kind, "regex", "action", "ignore_case"}:
        raise ValueError(f"{where}: {allowed} is expected, not {item!r:.200}")
    given = [item[name] for name in (kind, "regex") if name in item]
    if len(given) != 1 or not isinstance(given[0], str) or ("ignore_case" in item and "regex" not in item):
        raise ValueError(f"{where}: {allowed} is expected, not {item!r:.200}")
    pattern = given[0]
    if "regex" in item:
        try:
            pattern = re.compile(pattern, re.IGNORECASE if item.get("ignore_case") else 0)
        except re.error as error:
            raise ValueError(f"{where}: {pattern!r:.200} is no regular expression: {error}") from None
    return (pattern, item["action"]) if "action" in item else pattern
