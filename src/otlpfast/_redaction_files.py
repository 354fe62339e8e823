"""Rules of redaction as a JSON file has them."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Any

from ._patterns.plans import SWITCHES

_FIELDS = (
    "default",
    "keys",
    "allow",
    "patterns",
    "action",
    "mask",
    "hash_key",
    "hash_key_variable",
    *SWITCHES,
)


def arguments_of(found: Any, where: str) -> tuple[bool, dict[str, Any]]:
    """Whether the rules extend the default ones, and the arguments of RedactionRules.

    Raises:
        ValueError: it is not of the form of such a file.
    """
    is_object = isinstance(found, Mapping)
    unknown = sorted(map(str, set(found) - {*_FIELDS})) if is_object else type(found).__name__
    if unknown:  # names alone: a value may be the key of hashes
        fields = ", ".join(_FIELDS)
        raise ValueError(f"{where}: an object with some of {fields} is expected, not {unknown!r:.200}")
    for name in ("default", *SWITCHES):
        if not isinstance(found.get(name, False), bool):
            raise ValueError(f"{where}: {name}: true or false is expected, not {found[name]!r:.100}")
    arguments = {name: found[name] for name in ("action", "mask", "hash_key", *SWITCHES) if name in found}
    for name, kind in (("keys", "key"), ("allow", "key"), ("patterns", "pattern")):
        if name in found:
            arguments[name] = _rules(f"{where}: {name}", found[name], kind, name != "allow")
    if "hash_key_variable" in found:
        arguments["hash_key"] = _variable(f"{where}: hash_key_variable", found)
    return bool(found.get("default")), arguments


def _variable(where: str, found: Mapping[str, Any]) -> str:
    name = found["hash_key_variable"]
    if "hash_key" in found or not isinstance(name, str):
        raise ValueError(f"{where}: the name of a variable is expected, and no hash_key beside it")
    if not os.environ.get(name):
        raise ValueError(f"{where}: {name} is not set")
    return os.environ[name]


def _rules(where: str, found: Any, kind: str, with_action: bool) -> list[Any]:
    if not isinstance(found, list):
        raise ValueError(f"{where}: a list is expected, not {found!r:.200}")
    return [
        item if isinstance(item, str) else _rule(f"{where}[{n}]", item, kind, with_action)
        for n, item in enumerate(found)
    ]


def _rule(where: str, item: Any, kind: str, with_action: bool) -> Any:
    """One that is an object, as ``{"key": "user.*", "action": "hash"}`` or ``{"regex": "^x-"}``."""
    allowed = {kind, "regex", "ignore_case"} | ({"action"} if with_action else set())
    given = [item[name] for name in (kind, "regex") if name in item] if isinstance(item, dict) else []
    if (
        len(given) != 1
        or not isinstance(given[0], str)
        or set(item) - allowed
        or ("ignore_case" in item and "regex" not in item)
    ):
        action = ', and an "action"' if with_action else ""
        wanted = f'a text, or an object with "{kind}" or "regex" (then with "ignore_case", too){action}'
        raise ValueError(f"{where}: {wanted} is expected, not {item!r:.200}")
    pattern = _compiled(where, item) if "regex" in item else given[0]
    return (pattern, item["action"]) if "action" in item else pattern


def _compiled(where: str, item: Mapping[str, Any]) -> re.Pattern[str]:
    try:
        return re.compile(item["regex"], re.IGNORECASE if item.get("ignore_case") else 0)
    except re.error as error:
        raise ValueError(f"{where}: {item['regex']!r:.200} is no regular expression: {error}") from None
