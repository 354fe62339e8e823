"""The live page of processes that are asked for it by variables, and of their children."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import warnings
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from otlpfast import _tap, web
from otlpfast.web import listener

from .collector import PATIENCE, Collector
from .exporting import collector_fixture  # noqa: F401
from .forks import die_in, in_child
from .pages import ask, events, page_fixture, trace_names  # noqa: F401
from .starting import NO_INSTRUMENTATION, environment, finished, python, run, under_way

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")

LINE = r"otlpfast: live page of process (\d+): (http://127\.0\.0\.1:\d+/)\n"
CONFIGURE = "import otlpfast, sys; otlpfast.configure()\n"
CONFIGURATOR = "from otlpfast.autoconfigure import OtlpfastConfigurator as C; C().configure()\n"
APPLICATION = "print('app')\n"
ANY = {"OTLPFAST_WEB": "127.0.0.1:0", "OTLPFAST_QUIET": "true"}


def program(
    *command: str, cwd: Path | None = None, **variables: str
) -> AbstractContextManager[subprocess.Popen[str]]:
    """One that is under way, with these variables."""
    outputs = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE}
    return under_way(command, cwd=cwd, env=environment(**variables), **outputs)


def next_page(process: subprocess.Popen[str]) -> tuple[int, str]:
    """The process and the address of the next line that tells of a page."""
    assert process.stderr
    for line in process.stderr:
        if found := re.fullmatch(LINE, line):
            return int(found[1]), found[2]
    raise AssertionError("no page was told of")


SPANS = "from opentelemetry import trace; trace.get_tracer('app').start_span('a span').end()\n"
FLUSH = "trace.get_tracer_provider().force_flush()\n"
STAY = "sys.stdin.read()\n"


@pytest.mark.parametrize(
    "start", [CONFIGURE, "import sys\n" + CONFIGURATOR], ids=["configure", "configurator"]
)
def test_a_variable_has_the_page_served_and_one_line_says_where(start: str) -> None:
    code = start + SPANS + FLUSH + STAY
    with program(sys.executable, "-c", code, OTEL_TRACES_EXPORTER="none", **ANY) as process:
        pid, url = next_page(process)
        assert pid == process.pid
        stats = ask(url, "/api/stats").json
        assert stats["process"]["pid"] == pid
        # Exported nowhere, and seen all the same.
        assert [p["destination"] for p in stats["processors"]] == ["this page alone"]
        with events(url) as stream:
            while trace_names(url) != ["a span"]:
                next(stream)


def test_otlpfast_run_with_the_page(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text("import sys\n" + SPANS + STAY)
    for words in (["--web", "app.py"], ["--web=127.0.0.1:0", "app.py"], ["--web", "0", "-m", "app"]):
        with program(
            *run(*words), cwd=tmp_path, OTEL_TRACES_EXPORTER="none", **NO_INSTRUMENTATION
        ) as process:
            pid, url = next_page(process)
            assert pid == process.pid
            assert ask(url, "/api/stats").json["process"]["pid"] == pid


def test_a_token_by_a_variable() -> None:
    token = {"OTLPFAST_WEB_TOKEN": "wonder", "OTLPFAST_WEB": "0.0.0.0:0"}
    code = CONFIGURE + STAY
    with program(sys.executable, "-c", code, OTEL_TRACES_EXPORTER="none", **token) as process:
        _, url = next_page(process)
        assert "wonder" not in url
        assert ask(url, "/api").status == 401
        assert ask(url, "/api", authorization="Bearer wonder").status == 200


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("0.0.0.0:0", "it takes a token (OTLPFAST_WEB_TOKEN)"),
        ("here", "allowed: HOST:PORT"),
        ("127.0.0.1:70000", "allowed: HOST:PORT"),
        ("no-such-host.invalid:0", "is not known here"),
        ("203.0.113.9:1", "it takes a token"),
    ],
)
def test_what_can_not_be_is_one_line_and_the_application_starts(address: str, words: str) -> None:
    done = python(CONFIGURE + APPLICATION, OTEL_TRACES_EXPORTER="none", OTLPFAST_WEB=address)
    assert done.stdout == "app\n"
    assert done.stderr.count("\n") == 1
    assert (
        done.stderr.startswith(f"OTLPFAST_WEB='{address}': no live page of process ") and words in done.stderr
    )


def test_a_token_that_is_none_is_one_line_that_does_not_show_it() -> None:
    done = python(
        CONFIGURE + APPLICATION, OTEL_TRACES_EXPORTER="none", OTLPFAST_WEB="0", OTLPFAST_WEB_TOKEN="won der"
    )
    assert done.stdout == "app\n"
    assert done.stderr.count("\n") == 1 and "visible ASCII" in done.stderr and "won" not in done.stderr


def test_a_port_in_use_is_one_line_and_the_application_starts(page: web.Server) -> None:
    address = page.url.split("/")[2]
    done = python(CONFIGURE + APPLICATION, OTEL_TRACES_EXPORTER="none", OTLPFAST_WEB=address)
    assert done.stdout == "app\n"
    assert done.stderr.count("\n") == 1
    assert f"OTLPFAST_WEB='{address}'" in done.stderr and "the port is in use, port 0 takes" in done.stderr


def test_switched_off_no_page_is_served() -> None:
    done = python(
        CONFIGURE + APPLICATION, OTLPFAST_WEB="0", OTLPFAST_DISABLED="true", OTEL_TRACES_EXPORTER="none"
    )
    assert (done.stdout, done.stderr) == ("app\n", "")


# --- children


def test_a_forked_child_does_not_serve_its_parents_page(page: web.Server) -> None:
    web.serve()  # which nobody keeps

    def work() -> dict[str, object]:
        inherited = page.closed and _tap._taps == () and not listener.served
        page.close()
        with web.serve() as own:
            return {
                "closed": inherited,
                "own": ask(own.url, "/api/stats").json["process"]["pid"] == os.getpid(),
            }

    try:
        assert in_child(work) == {"closed": True, "own": True}
        for served in list(listener.served):
            assert ask(served.url, "/api").status == 200
    finally:
        for served in list(listener.served):
            served.close()


def test_connections_of_the_parent_end_though_a_child_lives_on() -> None:
    page = web.serve()
    begun, tell_begun = os.pipe()
    ended, tell_ended = os.pipe()
    with events(page.url) as stream:
        next(stream)  # so that there is a connection at the fork
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # there are other threads: that is the point
            child = os.fork()
        if child == 0:
            die_in(3 * PATIENCE)
            os.close(tell_ended)
            os.write(tell_begun, b"x")
            os.read(ended, 1)
            os._exit(0)
        try:
            os.read(begun, 1)
            page.close()
            for _ in stream:
                pass
            with pytest.raises(ConnectionRefusedError):
                ask(page.url)
        finally:
            for descriptor in (begun, tell_begun, ended, tell_ended):
                os.close(descriptor)
            os.waitpid(child, 0)


FORKS = """\
import os, sys
from opentelemetry import trace
tracer = trace.get_tracer("app")
tracer.start_span("of the parent").end()
child = os.fork()
if not child:
    tracer.start_span("of the child").end()
    trace.get_tracer_provider().force_flush()
sys.stdin.read()
if not child:
    os._exit(0)
os.waitpid(child, 0)
"""


def test_a_forked_child_with_spans_has_a_page_of_its_own() -> None:
    quiet = {"PYTHONWARNINGS": "ignore", "OTEL_TRACES_EXPORTER": "none"}
    with program(sys.executable, "-c", CONFIGURE + FORKS, **ANY, **quiet) as process:
        parent, first = next_page(process)
        child, second = next_page(process)
        assert parent == process.pid and child != parent and first != second
        assert ask(second, "/api/stats").json["process"]["pid"] == child
        assert trace_names(second) == ["of the child"]
        assert ask(first, "/api/stats").json["process"]["pid"] == parent
        with events(first) as stream:
            while trace_names(first) != ["of the parent"]:
                next(stream)


def test_a_child_that_is_not_forked_says_where_its_page_is_once_it_exports() -> None:
    """One that has no spans, or exports none before it ends, serves none."""
    child = "import otlpfast; otlpfast.configure()\n"
    code = (
        "import subprocess, sys\n"
        + CONFIGURE
        + f"subprocess.run([sys.executable, '-c', {child + APPLICATION!r}])\n"
        + f"subprocess.run([sys.executable, '-c', {child + SPANS!r}])\n"
        + f"subprocess.run([sys.executable, '-c', {child + SPANS + FLUSH!r}])\n"
    )
    done = python(code, OTEL_TRACES_EXPORTER="none", **ANY)
    found = re.findall(LINE, done.stderr)
    assert len(found) == 2 == done.stderr.count("\n"), done.stderr


def test_a_fixed_port_is_the_parents_and_a_child_says_so(page: web.Server) -> None:
    """The port is given to the test's own page: which one is free can't be known before."""
    address = page.url.split("/")[2]
    code = CONFIGURE + "import os\n" + SPANS + "if not os.fork():\n    " + SPANS.replace("\n", "; ") + FLUSH
    done = python(
        code,
        OTEL_TRACES_EXPORTER="none",
        OTLPFAST_WEB=address,
        PYTHONWARNINGS="ignore",
        OTLPFAST_QUIET="true",
    )
    lines = [line for line in done.stderr.splitlines() if "the port is in use" in line]
    assert len(lines) == done.stderr.count("\n") == 1


@pytest.mark.skipif(
    shutil.which("gunicorn", path=str(Path(sys.executable).parent)) is None, reason="no gunicorn"
)
def test_each_of_gunicorns_workers_has_a_page(tmp_path: Path) -> None:
    (tmp_path / "web_app.py").write_text(
        "from opentelemetry import trace\n"
        "def app(environ, start_response):\n"
        "    raise NotImplementedError\n"
        "trace.get_tracer('app').start_span('loading').end()\n"
    )
    command = run(
        "--web", "gunicorn", "--workers", "2", "--bind", "unix:socket", "--no-control-socket", "web_app:app"
    )
    variables = {"OTEL_TRACES_EXPORTER": "none", "PYTHONWARNINGS": "ignore", **NO_INSTRUMENTATION}
    with program(*command, cwd=tmp_path, **variables) as process:
        pages = dict(next_page(process) for _ in range(3))
        assert process.pid in pages and len(set(pages.values())) == 3
        for pid, url in pages.items():
            assert ask(url, "/api/stats").json["process"]["pid"] == pid
            assert trace_names(url) == ([] if pid == process.pid else ["loading"])
        process.terminate()
        assert process.wait(PATIENCE) == 0


def test_spans_are_delivered_as_without_the_page(collector: Collector) -> None:
    code = CONFIGURE + SPANS
    done = finished([sys.executable, "-c", code], collector, **ANY)
    assert done.returncode == 0, done.stderr
    assert [span.name for span in collector.wait_for_spans(1)] == ["a span"]
    assert json.dumps(done.stdout) == '""'
