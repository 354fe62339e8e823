"""Puts encoded spans together into one request without touching them."""

from __future__ import annotations

from collections.abc import Sequence

from ._protobuf import varint
from ._scopes import ResourceEntry, ScopeEntry

Group = tuple[ScopeEntry, Sequence[memoryview], int]
"""The spans of one resource and scope: the entry, views of whole encoded spans, how many spans they hold."""


def request_parts(groups: Sequence[Group]) -> list[bytes | memoryview]:
    """What, joined, is an ExportTraceServiceRequest: prefixes made here, the groups' views as they are."""
    by_resource: dict[tuple[bytes, bytes], list[tuple[ResourceEntry, list[Group]]]] = {}
    resources: list[tuple[ResourceEntry, list[Group]]] = []
    for group in groups:
        resource = group[0].resource
        alike = by_resource.setdefault((resource.head, resource.tail), [])
        for known, scopes in alike:
            if known.is_same(resource):
                scopes.append(group)
                break
        else:
            resources.append((resource, [group]))
            alike.append(resources[-1])
    parts: list[bytes | memoryview] = []
    for resource, scopes in resources:
        body: list[bytes | memoryview] = [resource.head]
        for entry, views, _ in scopes:
            length = len(entry.head) + sum(view.nbytes for view in views) + len(entry.tail)
            body += [b"\x12" + varint(length) + entry.head, *views]
            if entry.tail:
                body.append(entry.tail)
        body.append(resource.tail)
        length = sum(memoryview(part).nbytes for part in body)
        parts += [b"\x0a" + varint(length) + resource.head, *body[1:-1]]
        if resource.tail:
            parts.append(resource.tail)
    return parts
