"""Draws the demo: what tracing costs a web service, with the stock SDK and with otlpfast; ``make picture``.

python -m bench.picture                    runs the demo; writes docs/demo.svg and docs/benchmarks.md
python -m bench.picture --json demo.json   draws what `otlpfast demo --json` printed, and no more
"""

from __future__ import annotations

import argparse
import json
from html import escape
from pathlib import Path
from typing import Any

from . import page

PICTURE = page.PAGE.with_name("demo.svg")

_SHOWN = ("no_sdk", "stock", "processor", "provider")
_WIDTH, _LEFT, _BAR, _TOP, _ROW = 820, 160, 400, 84, 46

# Light and dark are the reader's: of the system, or of the page that shows the picture.
_STYLE = """\
text{font:14px system-ui,sans-serif;fill:#1f2328}
.title{font-size:17px;font-weight:600}
.faint,.head{fill:#59636e;font-size:12px}
.strong{font-weight:600}
.service{fill:#b7bec7}.spans{fill:#d9730d}.export{fill:#b42318}
@media (prefers-color-scheme:dark){text{fill:#e6edf3}.faint,.head{fill:#9198a1}
.service{fill:#4d5661}.spans{fill:#f0933f}.export{fill:#f2655a}}"""


def picture(demo: dict[str, Any]) -> str:
    """The SVG of what ``otlpfast demo --json`` has printed: a bar for each pipeline."""
    runs = {run["name"]: run for run in demo["runs"]}
    rows = [runs[name] for name in _SHOWN if name in runs]
    most = max(_whole(run) for run in rows)
    height = _TOP + _ROW * len(rows) + 62
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" role="img">',
        f"<title>{escape(_told(runs))}</title><style>{_STYLE}</style>",
        _text(0, 20, "CPU time of a web service, µs for each span that it makes", "title"),
        *_legend(),
        _text(_LEFT + _BAR + 74, _TOP - 14, "tracing adds", "head"),
        _text(_LEFT + _BAR + 174, _TOP - 14, "peak memory", "head"),
    ]
    for number, run in enumerate(rows):
        parts += _row(run, _TOP + _ROW * number, most)
    load, conditions = demo["load"], demo["conditions"]
    versions = ", ".join(f"{name} {version}" for name, version in conditions["versions"].items())
    where = f"{conditions['python']}, {conditions['system']}, {conditions['cpus']} CPUs"
    parts += [
        _text(
            0, height - 30, f"{load['requests']:,} HTTP requests to each; {_arrived(rows)}; {where}", "faint"
        ),
        _text(0, height - 10, versions, "faint"),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _row(run: dict[str, Any], y: int, most: float) -> list[str]:
    parts, x = [_text(0, y + 20, run["title"], "strong" if "otlpfast" in run["title"] else "")], float(_LEFT)
    for kind, cost in _pieces(run):
        width = max(cost, 0) / most * _BAR
        parts.append(f'<rect class="{kind}" x="{x:.1f}" y="{y}" width="{width:.1f}" height="28"/>')
        x += width
    parts.append(_text(x + 8, y + 20, f"{_whole(run):.1f}"))
    if (tracing := run["cpu_microseconds_a_span"]["tracing"]) is not None:
        parts.append(_text(_LEFT + _BAR + 74, y + 20, f"{tracing['value']:.1f} µs", "strong"))
    parts.append(_text(_LEFT + _BAR + 174, y + 20, f"{run['peak_memory_bytes'] / 1e6:.1f} MB"))
    return parts


def _pieces(run: dict[str, Any]) -> list[tuple[str, float]]:
    cost = {
        name: found["value"] if found else 0.0
        for name, found in run["cpu_microseconds_a_span"].items()
        if name in ("process", "tracing", "export")
    }
    return [
        ("service", cost["process"] - cost["tracing"]),
        ("spans", cost["tracing"] - cost["export"]),
        ("export", cost["export"]),
    ]


def _whole(run: dict[str, Any]) -> float:
    return float(run["cpu_microseconds_a_span"]["process"]["value"])


def _arrived(rows: list[dict[str, Any]]) -> str:
    counts = [run["spans"] for run in rows if run["spans"]["made"] is not None]
    if all(spans["received"] == spans["made"] for spans in counts):
        return f"all {counts[0]['made']:,} spans of each arrived"
    return "; ".join(f"{spans['received'] or 0:,} of {spans['made']:,} spans arrived" for spans in counts)


def _told(runs: dict[str, dict[str, Any]]) -> str:
    """The picture in words, for those who do not see it."""
    added = {
        name: runs[name]["cpu_microseconds_a_span"]["tracing"]["value"] for name in ("stock", "provider")
    }
    return (
        f"Tracing adds {added['stock']:.1f} µs of CPU time a span with the stock SDK, "
        f"{added['provider']:.1f} µs with otlpfast."
    )


def _legend() -> list[str]:
    parts, x = [], _LEFT
    for kind, label in (
        ("service", "the service itself"),
        ("spans", "spans"),
        ("export", "export, where it is apart"),
    ):
        parts.append(f'<rect class="{kind}" x="{x}" y="38" width="12" height="12"/>')
        parts.append(_text(x + 18, 49, label, "head"))
        x += 40 + 7 * len(label)
    return parts


def _text(x: float, y: float, text: str, kind: str = "") -> str:
    shape = f' class="{kind}"' if kind else ""
    return f'<text x="{x:.0f}" y="{y:.0f}"{shape}>{escape(text)}</text>'


def _measured() -> dict[str, Any]:
    """Runs the demo and writes its table; what it found."""
    from otlpfast.cli.console import Console
    from otlpfast.cli.demo.children import Deadline
    from otlpfast.cli.demo.report import as_json, as_table
    from otlpfast.cli.demo.runs import Demo

    console = Console()
    result = Demo(6000, None, Deadline(120), console).run()
    console.clear()
    page.put("demo", f"```text\n{as_table(result).strip(chr(10))}\n```")
    found: dict[str, Any] = json.loads(as_json(result))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--json", type=Path, help="what `otlpfast demo --json` printed")
    parser.add_argument("--out", type=Path, default=PICTURE)
    arguments = parser.parse_args()
    demo = json.loads(arguments.json.read_text(encoding="utf-8")) if arguments.json else _measured()
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(picture(demo), encoding="utf-8")
    print(f"written: {arguments.out}")


if __name__ == "__main__":
    main()
