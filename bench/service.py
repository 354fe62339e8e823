"""Real services under wrk: requests/s, p99, and the CPU that tracing adds to a request, by layer.

    python -m bench.service                       two services, five ways to trace, 3 repeats of 3 s
    python -m bench.service --only flask --seconds 10

FastAPI under uvicorn and Flask under gunicorn, one worker process each, with the official instrumentations;
the ways take turns. Needs Linux and wrk. The table goes into docs/benchmarks.md, all figures into
build/service.json.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import urllib.request
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from otlpfast.cli.circumstances import busy, version_of
from otlpfast.cli.console import Console
from otlpfast.cli.demo.children import Child, Deadline
from otlpfast.cli.demo.runs import environment

from . import page

ROOT = Path(__file__).parents[1]
SERVICES = {
    "fastapi": [
        "uvicorn",
        "--factory",
        "bench.service_app:fastapi",
        "--no-access-log",
        "--log-level=warning",
    ],
    "flask": ["gunicorn", "bench.service_app:flask()", "--threads=4", "--log-level=warning"],
}
TITLES = {
    "bare": "not instrumented",
    "api": "instrumented, no SDK",
    "sdk": "SDK",
    "processor": "otlpfast processor",
    "otlpfast": "otlpfast",
}
PACKAGES = ("fastapi", "uvicorn", "flask", "gunicorn", "opentelemetry-instrumentation")
CONNECTIONS = 8
_WARM_SECONDS = 0.5
_UNITS = {"us": 1e-3, "ms": 1.0, "s": 1e3}  # of wrk, in ms

Figures = dict[tuple[str, str], list[dict[str, Any]]]


def cpu_seconds(pid: int) -> float:
    """CPU time of a process and of those below it, so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    below = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    spent = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return spent + sum(map(cpu_seconds, map(int, below)))


def wrk(url: str, seconds: float) -> dict[str, Any]:
    """Requests, and the p99 in milliseconds, of a run; ``failed`` counts those that went wrong."""
    duration = f"--duration={max(round(seconds), 1)}s"
    command = ["wrk", "--threads=1", f"--connections={CONNECTIONS}", duration, "--latency", url]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    total = re.search(r"(\d+) requests in", said)
    rate = re.search(r"Requests/sec:\s*([\d.]+)", said)
    p99 = re.search(r"99%\s+([\d.]+)(us|ms|s)\b", said)
    if not (total and rate and p99):
        raise RuntimeError(f"wrk said:\n{said}")
    wrong = re.search(r"Non-2xx or 3xx responses: (\d+)", said)
    return {
        "requests": int(total[1]),
        "rate": float(rate[1]),
        "p99": float(p99[1]) * _UNITS[p99[2]],
        "failed": int(wrong[1]) if wrong else 0,
    }


@contextmanager
def service(name: str, pipeline: str, endpoint: str, variables: dict[str, str]) -> Iterator[tuple[str, int]]:
    """A running service: its URL and its process; ended in order, so that all of its spans are exported."""
    module, *options = SERVICES[name]
    with socket.create_server(("127.0.0.1", 0), backlog=128) as listening:
        listening.set_inheritable(True)
        # uvicorn takes it for a unix socket and would leave Nagle's algorithm on: 40 ms a request.
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        number = listening.fileno()
        given = f"--fd={number}" if module == "uvicorn" else f"--bind=fd://{number}"
        running = subprocess.Popen(
            [sys.executable, "-m", module, *options, given],
            cwd=ROOT,
            env={**variables, "BENCH_PIPELINE": pipeline, "BENCH_ENDPOINT": endpoint},
            pass_fds=[number],
        )
        try:
            # The socket listens already: this waits in its queue until the service is there.
            url = f"http://127.0.0.1:{listening.getsockname()[1]}/items/17"
            urllib.request.urlopen(url, timeout=60).read()
            yield url, running.pid
            # uvicorn dies of the SIGTERM that it has handled, without the interpreter's end and last export.
            running.send_signal(signal.SIGINT if module == "uvicorn" else signal.SIGTERM)
            running.wait(60)
        finally:
            if running.poll() is None:
                running.kill()
                running.wait()


def measure(services: list[str], seconds: float, repeats: int, console: Console) -> Figures:
    """All services in all ways, by turns."""
    figures: Figures = defaultdict(list)
    variables = environment(None, os.environ)
    steps = [(name, pipeline) for _ in range(repeats) for name in services for pipeline in TITLES]
    deadline = Deadline(300 + (seconds + 60) * len(steps))
    with Child("otlpfast.cli.receiver", (), variables, deadline, bare=True) as sink:
        base = f"http://127.0.0.1:{sink.answer()['port']}"
        console.step("measuring")
        for number, (name, pipeline) in enumerate(steps):
            console.update(f"{number} of {len(steps)}: {name}, {TITLES[pipeline]}")
            path = f"/{number}/v1/traces"
            with service(name, pipeline, base + path, variables) as (url, pid):
                warm = wrk(url, _WARM_SECONDS)
                before = cpu_seconds(pid)
                found = wrk(url, seconds)
                found["microseconds"] = (cpu_seconds(pid) - before) / found["requests"] * 1e6
            # wrk leaves without waiting for the last answers: there were a few more than it counts.
            found["spans_a_request"] = sink.ask("account", path=path)["spans"] / (
                found["requests"] + warm["requests"] + 1
            )
            figures[name, pipeline].append(found)
    return figures


def table(figures: Figures) -> str:
    """The table, as markdown."""
    rows = []
    for (name, pipeline), repeats in figures.items():
        took = [repeat["microseconds"] for repeat in repeats]
        added = [mine - bare for mine, bare in zip(took, _took(figures, name, "bare"), strict=True)]
        above = [mine - api for mine, api in zip(took, _took(figures, name, "api"), strict=True)]
        spans = sum(repeat["spans_a_request"] for repeat in repeats) / len(repeats)
        rows.append(
            [
                f"{name}, {TITLES[pipeline]}",
                page.spread([repeat["rate"] for repeat in repeats], 0),
                page.spread([repeat["p99"] for repeat in repeats]),
                page.spread(took, 0),
                "-" if pipeline == "bare" else page.spread(added, 0),
                "-" if pipeline in ("bare", "api") else page.spread(above, 0),
                f"{spans:.2f}" if spans else "-",
            ]
        )
    heading = ["", "requests/s", "p99, ms", "CPU, µs a request", "tracing adds", "SDK or otlpfast adds"]
    return page.table([*heading, "spans arrived a request"], rows)


def _took(figures: Figures, name: str, pipeline: str) -> list[float]:
    return [repeat["microseconds"] for repeat in figures[name, pipeline]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--seconds", type=float, default=3.0, help="of each run of wrk (default 3)")
    parser.add_argument("--repeats", type=int, default=3, help="of each measurement (default 3)")
    parser.add_argument("--only", choices=SERVICES, help="one of the services")
    parser.add_argument("--out", type=Path, default=page.PAGE, help="the page to write the table into")
    parser.add_argument("--json", type=Path, default=Path("build/service.json"), help="all figures")
    arguments = parser.parse_args()
    if shutil.which("wrk") is None or sys.platform != "linux":
        parser.exit(1, "needs Linux and wrk: on Debian and Ubuntu, apt install wrk\n")
    console, before = Console(), busy()
    services = [arguments.only] if arguments.only else list(SERVICES)
    figures = measure(services, arguments.seconds, arguments.repeats, console)
    console.clear()
    notes = [
        f"{arguments.seconds:g} s a measurement, {arguments.repeats} repeats: median (least to most)",
        f"wrk with {CONNECTIONS} connections on the same machine; CPU of the whole service",
        ", ".join(f"{name} {version_of(name)}" for name in PACKAGES),
    ]
    text = f"{table(figures)}\n\n{page.conditions(*notes, before=before)}"
    arguments.json.parent.mkdir(parents=True, exist_ok=True)
    arguments.json.write_text(json.dumps({", ".join(key): found for key, found in figures.items()}))
    page.put("service", text, arguments.out)
    print(text)


if __name__ == "__main__":
    main()
