"""Profiles of processes that are asked for them by a variable, and of their children."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from otlpfast.profiling import enable_pprof_http

from .pages import ask
from .pprof_clients import ANY_PORT
from .starting import NO_INSTRUMENTATION, environment, python, run, under_way

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")

LINE = r"otlpfast: profiles of process (\d+): (http://127\.0\.0\.1:\d+/debug/pprof/)\n"
CONFIGURE = "import otlpfast, sys; otlpfast.configure()\n"
APPLICATION = "print('app')\n"
STAY = "sys.stdin.read()\n"
NONE = {"OTEL_TRACES_EXPORTER": "none"}
ANY = {"OTLPFAST_PPROF": ANY_PORT, "OTLPFAST_QUIET": "true", "PYTHONWARNINGS": "ignore", **NONE}


def program(
    *command: str, cwd: Path | None = None, **variables: str
) -> AbstractContextManager[subprocess.Popen[str]]:
    """One that is under way, with these variables."""
    outputs = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE}
    return under_way(command, cwd=cwd, env=environment(**variables), **outputs)


def next_server(process: subprocess.Popen[str]) -> tuple[int, str]:
    """The process and the address of the next line that tells of profiles."""
    assert process.stderr
    for line in process.stderr:
        if found := re.fullmatch(LINE, line):
            return int(found[1]), found[2]
    raise AssertionError("no profiles were told of")


def pid_at(url: str) -> int:
    return int(json.loads(ask(url, "/debug/pprof/status").body)["pid"])


def test_a_variable_has_profiles_served_and_one_line_says_where() -> None:
    with program(sys.executable, "-c", CONFIGURE + STAY, **ANY) as process:
        pid, url = next_server(process)
        assert pid == process.pid == pid_at(url)


def test_otlpfast_run_with_profiles(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text("import sys\n" + STAY)
    for words in (
        ["--pprof", "app.py"],
        ["--web", "--pprof=127.0.0.1:0", "app.py"],
        ["--pprof", "0", "-m", "app"],
    ):
        with program(*run(*words), cwd=tmp_path, **NONE, **NO_INSTRUMENTATION) as process:
            pid, url = next_server(process)
            assert pid == process.pid == pid_at(url)


def test_a_token_by_a_variable() -> None:
    token = {**ANY, "OTLPFAST_PPROF": "0.0.0.0:0", "OTLPFAST_PPROF_TOKEN": "wonder"}
    with program(sys.executable, "-c", CONFIGURE + STAY, **token) as process:
        _, url = next_server(process)
        assert "wonder" not in url
        assert ask(url, "/debug/pprof/threads").status == 401
        assert ask(url, "/debug/pprof/threads", authorization="Bearer wonder").status == 200


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("0.0.0.0:0", "it takes a token (OTLPFAST_PPROF_TOKEN)"),
        ("here", "allowed: HOST:PORT"),
        ("no-such-host.invalid:0", "is not known here"),
    ],
)
def test_what_can_not_be_is_one_line_and_the_application_starts(address: str, words: str) -> None:
    done = python(CONFIGURE + APPLICATION, **NONE, OTLPFAST_PPROF=address)
    assert done.stdout == "app\n" and done.stderr.count("\n") == 1
    assert done.stderr.startswith(f"OTLPFAST_PPROF='{address}': no profiles of process ")
    assert words in done.stderr


def test_a_port_in_use_is_one_line_and_the_application_starts() -> None:
    with enable_pprof_http(ANY_PORT) as server:
        done = python(CONFIGURE + APPLICATION, **NONE, OTLPFAST_PPROF=server.url.split("/")[2])
    assert done.stdout == "app\n" and done.stderr.count("\n") == 1
    assert "the port is in use, port 0 takes a free one in each process" in done.stderr


def test_switched_off_nothing_is_served() -> None:
    done = python(CONFIGURE + APPLICATION, **ANY, OTLPFAST_DISABLED="true")
    assert (done.stdout, done.stderr) == ("app\n", "")


def test_a_forked_child_that_lives_on_has_an_address_of_its_own() -> None:
    fork = "import os\nos.fork()\n" + STAY
    with program(sys.executable, "-c", CONFIGURE + fork, **ANY) as process:
        parent, first = next_server(process)
        child, second = next_server(process)
        assert parent == process.pid and child != parent
        assert (pid_at(first), pid_at(second)) == (parent, child)


def test_a_child_that_is_not_forked_has_an_address_if_it_lives_on() -> None:
    child = f"subprocess.run([sys.executable, '-c', {CONFIGURE + STAY!r}])\n"
    with program(sys.executable, "-c", "import subprocess\n" + CONFIGURE + child, **ANY) as process:
        servers = dict(next_server(process) for _ in range(2))
        assert process.pid in servers and len(servers) == 2
        assert all(pid_at(url) == pid for pid, url in servers.items())


@pytest.mark.skipif(
    shutil.which("gunicorn", path=str(Path(sys.executable).parent)) is None, reason="no gunicorn"
)
def test_each_of_gunicorns_workers_has_an_address(tmp_path: Path) -> None:
    (tmp_path / "web_app.py").write_text("def app(environ, start_response):\n    raise NotImplementedError\n")
    command = run(
        "--pprof", "gunicorn", "--workers", "2", "--bind", "unix:socket", "--no-control-socket", "web_app:app"
    )
    variables = {**NONE, "PYTHONWARNINGS": "ignore", **NO_INSTRUMENTATION}
    with program(*command, cwd=tmp_path, **variables) as process:
        servers = dict(next_server(process) for _ in range(3))
        assert process.pid in servers and len(set(servers.values())) == 3
        assert all(pid_at(url) == pid for pid, url in servers.items())
        process.terminate()
        assert process.wait(60) == 0
