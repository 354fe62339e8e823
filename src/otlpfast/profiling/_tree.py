"""Stacks as a tree of calls, of a bounded size: what is widest is kept."""

from __future__ import annotations

import heapq
from dataclasses import dataclass, field
from itertools import count

from ._stacks import per_frame
from .profile import Frame, Profile

MAX_NODES = 10_000
MIN_SHARE = 0.0005
"""Of the total: half a pixel in a common window."""

Place = tuple[str, str, int]
"""Name, file and first line of a function."""
Path = tuple[list[int], int]
"""Numbers of functions, the outermost first, and a value."""


@dataclass(slots=True)
class Node:
    """A function, called as those above it say."""

    place: Place
    weight: int = 0
    """The sum of values without their signs: as wide is it, and what it called fits below it."""
    value: int = 0
    own: int = 0
    """What was counted in itself."""
    start: int = 0
    """Where it begins, in weights from the left."""
    depth: int = 0
    children: list[Node] = field(default_factory=list)
    merged: int = 0
    """Of how many functions too small to be shown this one is made; 0 is a function itself."""


@dataclass(slots=True)
class Tree:
    """All calls of a profile."""

    root: Node
    depth: int = 0
    """Of the deepest node."""
    least: float = 0.0
    """The share of the total from which on all nodes are there."""
    signed: bool = False
    """Whether it is of a difference."""


def grow(profile: Profile, index: int, most: int = MAX_NODES) -> Tree:
    """The tree of one value type, of at most about ``most`` nodes."""
    places: dict[Place, int] = {}

    def number(frame: Frame) -> int:
        return places.setdefault((frame.name, frame.filename, frame.first_line), len(places))

    counted = [sample for sample in profile.samples if sample.values[index]]
    numbers = per_frame(counted, number)
    paths: list[Path] = [
        (list(map(numbers.__getitem__, map(id, reversed(sample.stack)))), sample.values[index])
        for sample in counted
    ]
    root = _node(("all", "", 0), paths, 0)
    tree = Tree(root, signed=any(value < 0 for _, value in paths))
    names = list(places)
    # The widest first, so that a limit takes away what would be seen least.
    turns = count()
    waiting = [(-root.weight, next(turns), root, paths)]
    made = 1
    while waiting and made < most:
        _, _, node, paths = heapq.heappop(waiting)
        for child, below in _expand(node, paths, names, root.weight * MIN_SHARE):
            made += 1
            tree.depth = max(tree.depth, child.depth)
            if below:
                heapq.heappush(waiting, (-child.weight, next(turns), child, below))
    tree.least = MIN_SHARE if root.children else 0.0
    for negative, _, node, paths in waiting:
        if deeper := [path for path in paths if len(path[0]) > node.depth]:
            tree.least = max(tree.least, -negative / root.weight)
            tree.depth = max(tree.depth, node.depth + 1)
            node.own = sum(value for path, value in paths if len(path) == node.depth)
            _append(node, _merged(node, [deeper]), node.start)
    return tree


def _expand(node: Node, paths: list[Path], names: list[Place], least: float) -> list[tuple[Node, list[Path]]]:
    """Gives a node its children; each with the paths that lead through it, none for what was merged."""
    depth = node.depth
    groups: dict[int, list[Path]] = {}
    for path in paths:
        functions, value = path
        if len(functions) > depth:
            groups.setdefault(functions[depth], []).append(path)
        else:
            node.own += value
    children: list[tuple[Node, list[Path]]] = []
    small: list[list[Path]] = []
    for function, below in groups.items():
        child = _node(names[function], below, depth + 1)
        if child.weight < least:
            small.append(below)
        else:
            children.append((child, below))
    children.sort(key=lambda pair: (-pair[0].weight, pair[0].place))
    if small:
        children.append((_merged(node, small), []))
    start = node.start
    for child, _ in children:
        start = _append(node, child, start)
    return children


def _node(place: Place, paths: list[Path], depth: int) -> Node:
    values = [value for _, value in paths]
    return Node(place, sum(map(abs, values)), sum(values), depth=depth)


def _merged(node: Node, groups: list[list[Path]]) -> Node:
    made = _node(("", "", 0), [path for group in groups for path in group], node.depth + 1)
    made.merged = len({path[0][node.depth] for group in groups for path in group})
    return made


def _append(node: Node, child: Node, start: int) -> int:
    child.start = start
    node.children.append(child)
    return start + child.weight
