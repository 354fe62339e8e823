"""Where the instructions of an operation go: interpreter, context variable, memory, clock, otlpfast.

    python -m bench.layers         about a minute; writes docs/performance.md; needs valgrind

Each instruction counts for the function that it is in, not for those that called it.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections import Counter
from pathlib import Path

from otlpfast.cli.circumstances import busy

from . import page
from .counting import Costs, counted
from .gate import Unmeasurable
from .tables import PERFORMANCE

OPERATIONS = {
    "start_span, end": "`start_span`, `end`",
    "with start_as_current_span": "`with`, a root",
    "with start_as_current_span, sampled out": "`with`, sampled out",
    "start_span, 10 × set_attribute, end": "`start_span`, 10 × `set_attribute`, `end`",
    "start_span, add_event with 2 attributes, end": "`start_span`, `add_event`, `end`",
}
OURS = {
    "otlpfast: encode, queue, count": re.compile(
        r"put|encode|write|SpanQueue|Batch|Group|Buffer|scope_of", re.I
    ),
    "otlpfast: the calls, ids, parent, sampler, attributes, current span, the next span": re.compile(""),
}
# The first that fits the name of a function.
OTHERS = {
    "context variable: read, set, reset": re.compile(r"^_?Py(Context|Hamt)|^(hamt|context|token)|popcount"),
    "memory, references, the garbage collector's list": re.compile(
        r"_GC_|GC|[mM]alloc|[fF]ree|[cC]alloc|NewReference|[dD]ealloc|_New$|GenericAlloc"
    ),
    "clock (the kernel's part not counted)": re.compile(r"clock_gettime|^0x"),
    "copies of bytes": re.compile(r"mem(cpy|move|set|cmp)"),
    "bytecode, and CPython's way to call a C method": re.compile(""),
}
ORDER = [*reversed(OTHERS), *reversed(OURS)]


def layers(costs: Costs, loop: Costs) -> dict[str, float]:
    """Instructions of one operation by layer; what the loop takes is the interpreter's."""
    found: Counter[str] = Counter()
    for (library, function), cost in costs.items():
        rules = OURS if "otlpfast" in Path(library).parts else OTHERS
        layer = next(name for name, rule in rules.items() if rule.search(function))
        found[layer] += cost - loop[library, function]
    return dict(found)


def table(loop: Costs, found: dict[str, Costs]) -> str:
    """A column for each operation, a row for each layer."""
    columns = [layers(costs, loop) for costs in found.values()]
    # Numbers of the loop that an operation takes over make it a few less than nothing.
    rows = [[name, *(f"{max(of.get(name, 0.0), 0):,.0f}" for of in columns)] for name in ORDER]
    rows.append(["**all**", *(f"**{sum(of.values()):,.0f}**" for of in columns)])
    return page.table(["instructions of", *(OPERATIONS[name] for name in found)], rows)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--out", type=Path, default=PERFORMANCE, help="the page to write the table into")
    arguments = parser.parse_args()
    before = busy()
    try:
        loop, found = counted(list(OPERATIONS))
    except (Unmeasurable, FileNotFoundError) as error:
        print(f"nothing was counted: {error}", file=sys.stderr)
        return 2
    text = f"{table(loop, found)}\n\n{page.conditions(before=before)}"
    page.put("layers", text, arguments.out)
    print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
