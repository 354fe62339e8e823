"""Which resource and instrumentation scope a span belongs to, encoded once.

Spans are grouped as the official encoder groups them: by the resource, then by the scope, both by equality.
    That is
dear (the SDK's ``Resource.__hash__`` makes JSON), so what was seen is found again by identity.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

_MAX_ENTRIES = 1024
_EMPTY = (b"\n\0", b"")

Encoded = tuple[bytes, bytes]


class ResourceEntry:
    """An encoded resource: in a ResourceSpans ``head`` comes before the scopes, ``tail`` after."""

    __slots__ = ("head", "resource", "tail")

    def __init__(self, resource: Any, encoded: Encoded) -> None:
        self.resource = resource
        self.head, self.tail = encoded

    def is_same(self, other: ResourceEntry) -> bool:
        """Whether both are of equal resources, as they are where the table had forgotten the first."""
        return self is other or (
            (self.head, self.tail) == (other.head, other.tail) and _equal(self.resource, other.resource)
        )


class ScopeEntry:
    """An encoded scope of one resource: in a ScopeSpans ``head`` comes before the spans, ``tail`` after."""

    __slots__ = ("head", "resource", "scope", "tail")

    def __init__(self, resource: ResourceEntry, scope: Any, encoded: Encoded) -> None:
        self.resource = resource
        self.scope = scope
        self.head, self.tail = encoded

    @property
    def key(self) -> tuple[bytes, ...]:
        """What was encoded: entries that are the same have the same."""
        return (self.resource.head, self.resource.tail, self.head, self.tail)

    def is_same(self, other: ScopeEntry) -> bool:
        """Whether both are of equal scopes and resources, so that their spans belong into one group."""
        return self is other or (
            self.key == other.key
            and _equal(self.scope, other.scope)
            and self.resource.is_same(other.resource)
        )


def _equal(one: Any, other: Any) -> bool:
    try:
        return one is other or bool(one == other)
    except Exception:
        return False


class ScopeTable:
    """Finds the entry of a (resource, scope) pair, making it the first time.

    Bounded: past 1,024 pairs it starts anew. Never raises: what can't be hashed or compared is known by
        identity alone, what can't be encoded is empty.
    """

    def __init__(
        self, encode_resource: Callable[[Any], Encoded], encode_scope: Callable[[Any], Encoded]
    ) -> None:
        self._encode_resource = encode_resource
        self._encode_scope = encode_scope
        self.clear()

    def clear(self) -> None:
        """Forgets all pairs; entries in use live on."""
        # The objects themselves are kept with the entry: an id means something only while its object lives.
        self._by_identity: dict[tuple[int, int], tuple[Any, Any, ScopeEntry]] = {}
        self._resources: dict[Any, ResourceEntry] = {}
        self._scopes: dict[Any, ScopeEntry] = {}

    def entry(self, resource: Any, scope: Any) -> ScopeEntry:
        """The entry of a Resource and an InstrumentationScope (or None)."""
        key = (id(resource), id(scope))
        known = self._by_identity.get(key)
        if known is not None:
            return known[2]
        if len(self._by_identity) >= _MAX_ENTRIES:
            self.clear()
        resource_entry: ResourceEntry = _intern(
            self._resources,
            resource,
            lambda: ResourceEntry(resource, _encode(self._encode_resource, resource)),
        )
        # A resource entry lives as long as the table that it is in, so its identity can stand for it.
        scope_entry: ScopeEntry = _intern(
            self._scopes,
            (id(resource_entry), scope),
            lambda: ScopeEntry(resource_entry, scope, _encode(self._encode_scope, scope)),
        )
        self._by_identity[key] = (resource, scope, scope_entry)
        return scope_entry


def _encode(encode: Callable[[Any], Encoded], entity: Any) -> Encoded:
    try:
        return encode(entity)
    except Exception:
        return _EMPTY


def _intern(table: dict[Any, Any], key: Any, make: Callable[[], Any]) -> Any:
    try:
        found = table.get(key)
        if found is None:
            # What make() runs may have come here for the same key: the first entry made is the one for all.
            found = table.setdefault(key, make())
    except Exception:
        found = make()
    return found
