"""Texts of the application that otlpfast shows beside its spans, in log lines and as labels of profiles.

They may have what the processors of the process redact, and so are redacted by the same rules.
"""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ._impl import Redactor


class _Owner(weakref.ref[Any]):
    __slots__ = ("redactor",)
    redactor: Redactor


# A list, whose append and remove are atomic: a finaliser or another thread may come in between.
_owners: list[_Owner] = []


def redact_by(redactor: Redactor | None, owner: object) -> None:
    """From now on, as long as the owner lives, all texts are redacted so."""
    if redactor is not None:
        reference = _Owner(owner, _owners.remove)
        reference.redactor = redactor
        _owners.append(reference)


def is_redacting() -> bool:
    """Whether there is anything to be done."""
    return bool(_owners)


def shown(text: str) -> str:
    """The text as it may be shown."""
    for redactor in {id(owner.redactor): owner.redactor for owner in list(_owners)}.values():
        text = redactor.clean(text)
    return text
