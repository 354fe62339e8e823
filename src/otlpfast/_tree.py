"""The spans of a trace in the order in which people read them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol, TypeVar


class Node(Protocol):
    """What the order is made of."""

    @property
    def span_id(self) -> int: ...
    @property
    def parent_id(self) -> int: ...  # 0 for none
    @property
    def start(self) -> int: ...


_N = TypeVar("_N", bound=Node)


def in_order(nodes: Sequence[_N]) -> Iterator[tuple[_N, int]]:
    """Parents before children, siblings by their beginning; with the depth of each."""
    ids = {node.span_id for node in nodes}
    children: dict[int, list[_N]] = {}
    for node in sorted(nodes, key=lambda node: node.start, reverse=True):
        children.setdefault(node.parent_id if node.parent_id in ids else 0, []).append(node)
    stack = [(node, 0) for node in children.pop(0, ())]
    while stack:
        node, depth = stack.pop()
        yield node, depth
        stack.extend((child, depth + 1) for child in children.pop(node.span_id, ()))
    for ring in children.values():  # spans that say they are each other's parents
        yield from ((node, 0) for node in ring)
