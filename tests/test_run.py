"""``otlpfast run``: programs that know nothing of otlpfast, in real processes."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from otlpfast.cli.run import find_command, put_first

from .collector import PATIENCE, Collector
from .exporting import collector_fixture  # noqa: F401
from .pipeline import names
from .starting import LINE, NO_INSTRUMENTATION, SOURCE, TRACED, environment, finished, python, run

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")

OTHER = """\
import os, subprocess, sys
from opentelemetry import trace
tracer = trace.get_tracer("app")
tracer.start_span("parent").end()
code = "from opentelemetry import trace; trace.get_tracer('child').start_span('subprocess').end()"
subprocess.run([sys.executable, "-c", code], check=True)
if not (pid := os.fork()):
    tracer.start_span("fork").end()
    trace.get_tracer_provider().force_flush()
    os._exit(0)
os.waitpid(pid, 0)
"""


@pytest.fixture(name="app")
def app_fixture(tmp_path: Path) -> Path:
    path = tmp_path / "app.py"
    path.write_text(TRACED)
    return path


def test_a_script(collector: Collector, app: Path) -> None:
    done = finished(run(str(app), "from a script", "-m", "--x"), collector, **NO_INSTRUMENTATION)
    assert (done.returncode, done.stdout) == (0, "otlpfast.trace\n")
    assert names(collector.wait_for_spans(1)) == ["from a script"]
    shown = f"{LINE}http/protobuf to {collector.endpoint}, sampler parentbased_always_on, service unknown"
    assert done.stderr.startswith(shown) and done.stderr.count("\n") == 1


def test_a_module(collector: Collector, app: Path) -> None:
    variables = {**NO_INSTRUMENTATION, "OTLPFAST_QUIET": "true"}
    done = finished(run("-m", "app", "from a module", "-m"), collector, cwd=app.parent, **variables)
    assert (done.returncode, done.stdout, done.stderr) == (0, "otlpfast.trace\n", "")
    assert names(collector.wait_for_spans(1)) == ["from a module"]


def test_a_program_on_the_path(collector: Collector, app: Path, tmp_path: Path) -> None:
    program = tmp_path / "serve"
    program.write_text(f"#!{sys.executable}\n{TRACED}")
    program.chmod(0o755)
    path = os.pathsep.join([str(tmp_path), os.environ["PATH"]])
    done = finished(run("serve", "from a program"), collector, PATH=path, **NO_INSTRUMENTATION)
    assert (done.returncode, done.stdout) == (0, "otlpfast.trace\n"), done.stderr
    assert names(collector.wait_for_spans(1)) == ["from a program"]


def test_children_are_configured_and_keep_quiet(collector: Collector, tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(OTHER)
    quiet = {"PYTHONWARNINGS": "ignore"}  # from 3.12 on Python warns of forks with threads
    done = finished(run("app.py"), collector, cwd=tmp_path, **NO_INSTRUMENTATION, **quiet)
    assert done.returncode == 0, done.stderr
    assert sorted(names(collector.wait_for_spans(3))) == ["fork", "parent", "subprocess"]
    assert done.stderr.count("\n") == 1


def test_libraries_are_instrumented(collector: Collector, tmp_path: Path) -> None:
    pytest.importorskip("opentelemetry.instrumentation.sqlite3")
    code = "import sqlite3; sqlite3.connect(':memory:').cursor().execute('select 1')"
    (tmp_path / "app.py").write_text(code)
    done = finished(run("app.py"), collector, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert names(collector.wait_for_spans(1)) == ["select"]
    resource = collector.requests[0].message.resource_spans[0].resource
    assert "telemetry.auto.version" in {attribute.key for attribute in resource.attributes}


def test_without_opentelemetry_instrumentation_the_provider_is_configured(collector: Collector) -> None:
    code = "from otlpfast import autostart; autostart.has_instrumentation = bool; autostart.start()\n"
    done = python(code + TRACED, collector)
    assert done.stdout == "otlpfast.trace\n"
    assert names(collector.wait_for_spans(1)) == ["a span"]


def test_the_process_is_the_programs_own(tmp_path: Path) -> None:
    """Its exit status, its pid, its signals."""
    (tmp_path / "app.py").write_text(
        "import os, sys; print(os.getpid(), flush=True); sys.stdin.read(); sys.exit(7)"
    )
    for end, status in ((None, 7), (signal.SIGTERM, -signal.SIGTERM)):
        process = subprocess.Popen(
            run("app.py"),
            cwd=tmp_path,
            env=environment(OTEL_TRACES_EXPORTER="none", **NO_INSTRUMENTATION),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        try:
            assert process.stdout
            assert int(process.stdout.readline()) == process.pid
            if end:
                process.send_signal(end)
            process.communicate(timeout=PATIENCE)  # which ends the standard input
            assert process.returncode == status
        finally:
            process.kill()


@pytest.mark.parametrize(
    ("command", "status", "words"),
    [
        (["no-such-program"], 127, ["'no-such-program' was not found", "otlpfast run -m no-such-program"]),
        (["./missing.py"], 127, ["'./missing.py' was not found"]),
        (["-m", "no_such_module"], 1, ["No module named no_such_module"]),
        ([], 2, ["what is to be run?"]),
        (["-m"], 2, ["what is to be run?"]),
    ],
)
def test_what_is_missing_is_said(command: list[str], status: int, words: list[str], tmp_path: Path) -> None:
    done = finished(run(*command), cwd=tmp_path, OTEL_TRACES_EXPORTER="none", **NO_INSTRUMENTATION)
    assert done.returncode == status
    assert "Traceback" not in done.stderr
    for word in words:
        assert word in done.stderr


def test_a_sitecustomize_of_the_users_still_runs(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text("print('mine')")
    (tmp_path / "app.py").write_text("print('app')")
    path = os.pathsep.join([str(tmp_path), SOURCE])
    done = finished(
        run("app.py"), cwd=tmp_path, PYTHONPATH=path, OTEL_TRACES_EXPORTER="none", **NO_INSTRUMENTATION
    )
    # Twice: the command itself is a Python program too.
    assert done.stdout == "mine\nmine\napp\n"


def test_the_users_choice_of_a_distro_stays(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text("import os; print(os.environ['OTEL_PYTHON_CONFIGURATOR'])")
    done = finished(run("app.py"), cwd=tmp_path, OTEL_PYTHON_CONFIGURATOR="another", **NO_INSTRUMENTATION)
    assert done.stdout == "another\n"


def test_a_python_without_otlpfast_says_so_and_goes_on(tmp_path: Path) -> None:
    folder = str(Path(SOURCE) / "otlpfast" / "autostart")
    code = (
        "import sys\n"
        f"sys.path = [{folder!r}] + [entry for entry in sys.path if entry != {SOURCE!r}]\n"
        "import sitecustomize\n"
        "print('app')\n"
    )
    done = finished([sys.executable, "-S", "-c", code])
    assert (done.returncode, done.stdout) == (0, "app\n")
    assert done.stderr == f"otlpfast run: {sys.executable} is not traced: No module named 'otlpfast'\n"


GARBAGE = {
    "OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT": ("many", "a whole number"),
    "OTEL_PROPAGATORS": ("smoke", "tracecontext"),
    "OTEL_TRACES_EXPORTER": ("otpl", "otlp"),
    "OTEL_TRACES_SAMPLER": ("some", "traceidratio"),
    "OTEL_PYTHON_ID_GENERATOR": ("dice", "random"),
    "OTEL_METRICS_EXPORTER": ("ink", "console"),
    "OTEL_LOGS_EXPORTER": ("wood", "console"),
    "OTEL_EXPORTER_OTLP_PROTOCOL": ("pigeon", "http/protobuf"),
    "OTEL_EXPORTER_OTLP_TIMEOUT": ("soon", "seconds"),
    "OTEL_BSP_MAX_QUEUE_SIZE": ("-1", "a positive whole number"),
    "OTLPFAST_DISABLED": ("perhaps", "true or false"),
    "OTLPFAST_QUIET": ("maybe", "true or false"),
    "OTLPFAST_FLUSH_ON_SIGTERM": ("now", "true or false"),
    "OTLPFAST_SPOOL_DIR": ("/dev/null/spool", "spans are not spooled"),
}


def test_garbage_in_variables_is_one_line_each_and_the_program_runs(collector: Collector, app: Path) -> None:
    garbage = {variable: value for variable, (value, _) in GARBAGE.items()}
    done = finished(run(str(app)), collector, **NO_INSTRUMENTATION, **garbage)
    assert (done.returncode, done.stdout) == (0, "otlpfast.trace\n"), done.stderr
    assert "Traceback" not in done.stderr
    for variable, (value, allowed) in GARBAGE.items():
        told = [line for line in done.stderr.splitlines() if line.startswith(variable)]
        assert len(told) == 1, (variable, done.stderr)
        assert value in told[0] and allowed in told[0]
    assert names(collector.wait_for_spans(1)) == ["a span"]


@pytest.mark.parametrize(
    ("variable", "value", "words"),
    [
        ("OTLPFAST_IMPL", "rust", "plain Python"),
        ("OTEL_CONFIG_FILE", "/no/such/file.yaml", "nothing is configured"),
    ],
)
def test_what_keeps_all_from_being_configured_lets_the_program_run(
    app: Path, variable: str, value: str, words: str
) -> None:
    done = finished(run(str(app)), **{**NO_INSTRUMENTATION, variable: value})
    assert (done.returncode, done.stdout) == (0, "opentelemetry.trace\n")
    [line] = [line for line in done.stderr.splitlines() if variable in line]
    assert value in line and words in line


@pytest.mark.skipif(
    shutil.which("gunicorn", path=str(Path(sys.executable).parent)) is None, reason="no gunicorn"
)
def test_gunicorns_workers(collector: Collector, tmp_path: Path) -> None:
    (tmp_path / "web.py").write_text(
        "import os\n"
        "from opentelemetry import trace\n"
        "def app(environ, start_response):\n"
        "    trace.get_tracer('app').start_span('a request').end()\n"
        "    start_response('200 OK', [])\n"
        "    return [str(os.getpid()).encode()]\n"
    )
    command = run("gunicorn", "--workers", "1", "--bind", "unix:socket", "--no-control-socket", "web:app")
    process = subprocess.Popen(
        command,
        cwd=tmp_path,
        env=environment(collector, **NO_INSTRUMENTATION),
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stderr
        line = next(line for line in process.stderr if line.startswith(LINE))
        assert collector.endpoint in line
        while "Booting worker" not in next(iter(process.stderr)):
            pass
        request = "import socket; s = socket.socket(socket.AF_UNIX); s.connect('socket'); "
        request += r"s.sendall(b'GET / HTTP/1.0\r\n\r\n'); print(s.recv(999).decode())"
        done = finished([sys.executable, "-c", request], cwd=tmp_path)
        assert "200 OK" in done.stdout, done.stderr
        process.terminate()
        assert process.wait(PATIENCE) == 0
        assert names(collector.wait_for_spans(1)) == ["a request"]
        assert LINE not in process.stderr.read()
    finally:
        process.kill()
        process.communicate()


def test_a_directory_hides_no_program_and_an_empty_entry_of_the_path_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin" / "serve"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o700)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    (tmp_path / "serve").mkdir()
    assert find_command(["serve", "-x"], module=False) == [str(program), "-x"]
    (tmp_path / "serve" / "__main__.py").touch()
    assert find_command(["serve", "-x"], module=False) == [sys.executable, "serve", "-x"]
    environment = {"PYTHONPATH": f"{os.pathsep}lib"}
    put_first(environment, "ours")
    assert environment["PYTHONPATH"].split(os.pathsep) == ["ours", "", "lib"]
