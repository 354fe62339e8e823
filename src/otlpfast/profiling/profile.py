"""Profile: what a profiler found, and the forms it can be had in."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from types import CodeType
from typing import TYPE_CHECKING, NamedTuple

from ._names import module_of

if TYPE_CHECKING:
    from ._top import By, Granularity, Top


class ValueType(NamedTuple):
    """What a number of a sample says: pprof's ``ValueType``, such as ``("cpu", "nanoseconds")``."""

    type: str
    unit: str


class Frame(NamedTuple):
    """A function, and where in it a thread was."""

    function: str
    """Qualified name (CPython 3.10: the name alone)."""
    filename: str
    line: int
    """Being executed, or from which the frame before was called; 0 is unknown."""
    first_line: int = 0
    """Of the function; 0 is unknown."""

    @classmethod
    def of(cls, code: CodeType, line: int | None) -> Frame:
        """The frame of a code object at a line."""
        name = getattr(code, "co_qualname", code.co_name)
        return cls(name, code.co_filename, line or 0, code.co_firstlineno)

    @property
    def name(self) -> str:
        """The function's with its module's, as profiles show it: ``app.views.Orders.get``."""
        module = module_of(self.filename)
        return f"{module}.{self.function}" if module and self.function else self.function


Stack = tuple[Frame, ...]
"""The innermost frame first."""

Label = tuple[str, "str | int"]
"""Key and value: ``("trace_id", "4bf92f…")``, ``("thread", "MainThread")``."""


class Sample(NamedTuple):
    """A stack, and what was counted there."""

    stack: Stack
    values: tuple[int, ...]
    """One for each value type of the profile."""
    labels: tuple[Label, ...] = ()
    """Sorted by key; each key once."""


@dataclass(frozen=True)
class Profile:
    """Samples of one kind, taken over a time."""

    kind: str
    """``cpu``, ``wall``, ``heap``, ``threads``, ``tasks``, ``block`` or ``mutex``; of others their name."""
    value_types: tuple[ValueType, ...]
    samples: tuple[Sample, ...]
    time_unix_nano: int
    """When it began; for a snapshot, when that was taken."""
    duration_nanos: int = 0
    """0 for a snapshot."""
    default_type: str = ""
    """The type of the values that a viewer shows first; empty is that of the last value type."""
    period_type: ValueType | None = None
    """What lay between two samples, and ``period`` of it; None where nothing was sampled."""
    period: int = 0
    comments: tuple[str, ...] = ()
    """How it was taken, and what about it is not exact."""

    def __repr__(self) -> str:
        types = ", ".join(value_type.type for value_type in self.value_types)
        return f"<Profile {self.kind}: {types} of {len(self.samples)} stacks>"

    def value_index(self, value: str | None = None) -> int:
        """Where in ``values`` of a sample those of a type are: ``"inuse_space"``; None is the default type.

        A default type that is none of its types stands for the last, as for ``go tool pprof``.

        ValueError, with the types that there are, for any other.
        """
        types = [value_type.type for value_type in self.value_types]
        if value is None:
            value = self.default_type if self.default_type in types else types[-1]
        if value not in types:
            raise ValueError(f"value={value!r}: a {self.kind} profile has {', '.join(types)}")
        return types.index(value)

    def total(self, value: str | None = None) -> int:
        """The sum of all samples, in the unit of that value type."""
        index = self.value_index(value)
        return sum(sample.values[index] for sample in self.samples)

    def top(
        self, n: int = 20, value: str | None = None, by: By = "flat", granularity: Granularity = "functions"
    ) -> Top:
        """The ``n`` functions (or lines) that cost most: ``print(profile.top())``.

        ``by="flat"`` sorts by what they cost themselves, ``by="cum"`` together with what they called.
        """
        from ._top import top

        return top(self, n, value, by, granularity)

    def focus(self, function: str | None = None, **labels: str | int) -> Profile:
        """The samples with these labels, and with such a function in the stack: ``focus(trace_id="4bf9…")``.

        ``function`` is a regular expression, looked for in names of functions, with module, and of files.
        Ids may be given as ints.
        """
        from ._combine import focus

        return focus(self, function, labels)

    def diff(self, base: Profile) -> Profile:
        """This minus an earlier one: what grew is positive, what shrank negative, what stayed is left out.

        Labels of one request, thread or task (``trace_id``, ``span_id``, ``thread``, ``task``) are left out,
        as no two profiles have them in common: ``focus`` before. ValueError if value types differ.
        """
        from ._combine import diff

        return diff(self, base)

    def merge(self, *others: Profile) -> Profile:
        """The sum of this and others; their durations are added too. ValueError if value types differ."""
        from ._combine import merge

        return merge((self, *others))

    def to_pprof(self) -> bytes:
        """For ``go tool pprof`` and all that read its format: a gzipped ``profile.proto``.

        The same profile gives the same bytes. Lone surrogates become U+FFFD.
        """
        from ._pprof import encode

        return encode(self)

    @classmethod
    def from_pprof(cls, data: bytes) -> Profile:
        """Reads what ``to_pprof`` made, or others, gzipped or not; ValueError for what is no profile.

        128 MiB uncompressed at most. Addresses and units of labels, which a Profile has not, are left out.
        """
        from ._pprof_reading import decode

        return decode(data)

    def to_speedscope(self) -> str:
        """JSON for speedscope.app: a view for each value type; of a difference two, of more and of less."""
        from ._speedscope import speedscope

        return speedscope(self)

    def to_folded(self, value: str | None = None) -> str:
        """Collapsed stacks, a line each: ``main;work;step 42``, for flamegraph.pl and its kin."""
        from ._folded import folded

        return folded(self, value)

    def to_svg(self, value: str | None = None, title: str | None = None, focus: str | None = None) -> str:
        """A flame graph, the outermost function at the top, that needs nothing else than a browser.

        Frames can be zoomed into (click or Enter; Escape for back) and searched (``/`` or Ctrl-F). The
        narrowest are merged, so that it stays below 5 MB. ``focus`` is as ``function`` of ``focus()``.
        """
        from ._flame import flame_graph

        return flame_graph(self, value, title, focus)

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Writes a file in the format of its suffix, and gives its path.

        ``.pb.gz`` (or ``.pprof``) for pprof, ``.speedscope.json``, ``.svg`` for a flame graph, ``.txt`` for
        tables of functions, ``.folded`` for collapsed stacks; ValueError for any other.
        """
        from ._files import save

        return save(self, Path(path))

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Profile:
        """Reads a file that ``save`` or another program wrote in pprof's format; ValueError, OSError."""
        from ._files import load

        return load(Path(path))
