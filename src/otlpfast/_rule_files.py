"""What files of rules have in common: they are JSON, and name kinds of spans."""

from __future__ import annotations

import json
import os
from typing import Any

from opentelemetry.trace import SpanKind


def read_json(path: str | os.PathLike[str]) -> Any:
    """What a file has.

    Raises:
        OSError: it can't be read.
        ValueError: it is no JSON; the text names it.
    """
    with open(path, encoding="utf-8") as file:
        try:
            return json.load(file)
        except ValueError as error:
            raise ValueError(f"{os.fspath(path)} is no JSON: {error}") from None


def kind_named(where: str, name: object) -> SpanKind | None:
    """The kind of that name, in any case; None where none is said.

    Raises:
        ValueError: there is no such kind; the text says where, and which there are.
    """
    if name is None:
        return None
    try:
        return SpanKind[str(name).upper()]
    except KeyError:
        kinds = ", ".join(kind.lower() for kind in SpanKind.__members__)
        raise ValueError(f"{where}: kind {name!r:.100} is not known; allowed: {kinds}") from None
