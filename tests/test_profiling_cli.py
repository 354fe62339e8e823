"""``otlpfast profile``: programs, processes and servers, in real processes."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from otlpfast.cli import main
from otlpfast.cli.profile.remote import Server
from otlpfast.profiling import Frame, Profile, Sample, ValueType, _registry, enable_pprof_http, wall

from .pipeline import until
from .starting import NO_INSTRUMENTATION, environment, finished, under_way

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")

PATIENCE = 60  # seconds
BURN = """\
def burn(seconds):
    import time
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        sum(range(1000))
"""
QUIET = {"OTLPFAST_QUIET": "true", "OTEL_TRACES_EXPORTER": "none", **NO_INSTRUMENTATION}


def profile(*words: str) -> list[str]:
    """The command line of ``otlpfast profile``."""
    return [sys.executable, "-m", "otlpfast.cli", "profile", *words]


def functions(found: Profile) -> set[str]:
    return {frame.function.rpartition(".")[2] for sample in found.samples for frame in sample.stack}


def labels(found: Profile, key: str) -> set[object]:
    return {value for sample in found.samples for name, value in sample.labels if name == key}


@pytest.fixture(name="app")
def app_fixture(tmp_path: Path) -> Callable[[str], str]:
    """Makes a program of some lines, with ``burn(seconds)`` of CPU time."""

    def make(code: str) -> str:
        (tmp_path / "app.py").write_text(BURN + code)
        return "app.py"

    return make


App = Callable[[str], str]


# --- a program


def test_a_program_is_profiled_until_it_ends_and_keeps_output_and_status(app: App, tmp_path: Path) -> None:
    program = app("import sys; burn(0.2); print(*sys.argv[1:]); sys.exit(7)")
    done = finished(profile("-o", "cpu.pb.gz", program, "--top", "3"), cwd=tmp_path)
    assert (done.returncode, done.stdout) == (7, "--top 3\n"), done.stderr
    assert done.stderr == "otlpfast profile: cpu.pb.gz\n"
    found = Profile.load(tmp_path / "cpu.pb.gz")
    assert found.kind == "cpu" or found.default_type == "cpu"
    assert "burn" in functions(found)


def test_without_a_file_the_table_goes_where_the_programs_output_does_not(app: App, tmp_path: Path) -> None:
    done = finished(profile("--top", "1", "--", app("burn(0.2); print('done')")), cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, "done\n"), done.stderr
    assert "burn" in done.stderr and "flat%" in done.stderr
    assert len(done.stderr.partition("flat%")[2].splitlines()) == 2


def test_a_module_and_the_wall_profile(app: App, tmp_path: Path) -> None:
    app("import time; time.sleep(0.5)")
    done = finished(profile("--kind", "wall", "-o", "wall.folded", "-m", "app"), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "app" in (tmp_path / "wall.folded").read_text()


def test_a_program_that_goes_on_is_profiled_for_the_seconds_alone(app: App, tmp_path: Path) -> None:
    program = app("import sys; sys.stdin.read(1); burn(0.1); print('done')")
    command = profile("--seconds", "1", "--kind", "wall", "-o", "wall.pb.gz", program)
    options: dict[str, Any] = {"cwd": tmp_path, "env": environment()}
    with under_way(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options) as process:
        assert process.stderr and process.stdout and process.stdin
        assert process.stderr.readline() == "otlpfast profile: wall.pb.gz\n"
        assert Profile.load(tmp_path / "wall.pb.gz").samples
        process.stdin.write("x")
        process.stdin.flush()
        assert process.stdout.read() == "done\n"
        assert process.wait(PATIENCE) == 0


POOL = """
import multiprocessing, os, subprocess, sys
if __name__ == "__main__":
    print(os.getpid())
    with multiprocessing.get_context("fork").Pool(1) as pool:
        print(*pool.map(in_pool, range(1)))
        pool.close()
        pool.join()
    code = "import app, os; app.burn(0.2); print(os.getpid())"
    subprocess.run([sys.executable, "-c", code], check=True)
"""


def test_processes_that_a_program_forks_or_starts_are_in_its_profile(app: App, tmp_path: Path) -> None:
    program = app("def in_pool(_):\n    burn(0.2)\n    return os.getpid()\n" + POOL)
    done = finished(
        profile("-o", "cpu.pb.gz", program), cwd=tmp_path, PYTHONWARNINGS="ignore", PYTHONUNBUFFERED="1"
    )
    assert done.returncode == 0, done.stderr
    found = Profile.load(tmp_path / "cpu.pb.gz")
    assert {"in_pool", "burn"} <= functions(found), done.stderr
    _, forked, started = done.stdout.split()
    assert {forked, started} <= labels(found, "process")


SPAN = """
import sys
from opentelemetry import trace
with trace.get_tracer("app").start_as_current_span("request") as span:
    print(f"{span.get_span_context().trace_id:032x}")
    burn(0.2)
burn(0.2)
"""


def test_under_otlpfast_run_samples_carry_the_trace(app: App, tmp_path: Path) -> None:
    program = app(SPAN)
    words = ["--", sys.executable, "-m", "otlpfast.cli", "run", program]
    done = finished(profile("-o", "cpu.pb.gz", *words), cwd=tmp_path, **QUIET)
    assert (done.returncode, done.stderr) == (0, "otlpfast profile: cpu.pb.gz\n")
    trace = done.stdout.strip()
    shown = finished(profile("show", "cpu.pb.gz", "--trace", trace), cwd=tmp_path)
    found = Profile.load(tmp_path / "cpu.pb.gz")
    if labels(found, "trace_id"):  # not with the fallback, which may have none
        assert shown.returncode == 0 and "burn" in shown.stdout, shown.stderr
    else:
        assert shown.returncode == 1 and "no sample carries a trace id" in shown.stderr


def test_a_full_profile_of_a_program(app: App, tmp_path: Path) -> None:
    done = finished(profile("--kind", "full", "-o", "full.zip", app("burn(0.2)")), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    with zipfile.ZipFile(tmp_path / "full.zip") as archive:
        assert {"summary.txt", "cpu.pb.gz", "wall.pb.gz", "heap.pb.gz"} <= set(archive.namelist())
        summary = archive.read("summary.txt").decode()
    assert re.search(r"^program +\S*app\.py$", summary, re.MULTILINE)
    assert finished(profile("show", "full.zip"), cwd=tmp_path).stdout == summary
    shown = finished(profile("show", "full.zip", "--kind", "wall"), cwd=tmp_path)
    assert shown.returncode == 0 and "Type: wall" in shown.stdout
    assert "several profiles" in finished(profile("show", "full.zip", "-o", "x.svg"), cwd=tmp_path).stderr


STUBBORN = """
import signal, sys
def end(*_):
    print("told to end", flush=True)
    sys.exit(3)
signal.signal(signal.SIGTERM, end)
signal.signal(signal.SIGINT, end)
print("ready", flush=True)
while True:
    burn(0.01)
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_is_the_programs_after_its_profile_was_taken(app: App, tmp_path: Path, number: int) -> None:
    command = profile("-o", "cpu.pb.gz", app(STUBBORN))
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    # Without a terminal, which would give Ctrl-C to the program itself.
    with under_way(command, cwd=tmp_path, env=environment(), start_new_session=True, **pipes) as process:
        assert process.stdout and process.stdout.readline() == "ready\n"
        process.send_signal(number)
        output, errors = process.communicate(timeout=PATIENCE)
    assert (process.returncode, output) == (3, "told to end\n"), errors
    assert Profile.load(tmp_path / "cpu.pb.gz").value_types, errors


def test_a_program_that_ends_by_a_signal_has_its_status_and_its_profile(app: App, tmp_path: Path) -> None:
    command = profile(
        "-o", "wall.pb.gz", "--kind", "wall", app("print('ready', flush=True)\nwhile True: burn(1)")
    )
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with under_way(command, cwd=tmp_path, env=environment(), start_new_session=True, **pipes) as process:
        assert process.stdout and process.stdout.readline() == "ready\n"
        process.terminate()
        _, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == 128 + signal.SIGTERM, errors
    assert (tmp_path / "wall.pb.gz").exists(), errors
    assert Profile.load(tmp_path / "wall.pb.gz").value_types, errors


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("import os; os._exit(0)", "ended, or became another program, before its profile could be taken"),
        (
            "import os, signal; os.kill(os.getpid(), signal.SIGKILL)",
            "ended, or became another program, before its profile could be taken",
        ),
    ],
)
def test_a_program_that_does_not_come_to_its_end_is_told_of(
    app: App, tmp_path: Path, code: str, words: str
) -> None:
    done = finished(profile("-o", "cpu.pb.gz", app(code)), cwd=tmp_path)
    assert done.returncode != 0
    assert words in done.stderr and "Traceback" not in done.stderr
    assert not (tmp_path / "cpu.pb.gz").exists()


def test_a_program_that_is_no_python_is_told_of() -> None:
    done = finished(profile("true"))
    assert done.returncode == 1
    assert "no Python process that has otlpfast has begun" in done.stderr


def test_a_sitecustomize_of_the_users_still_runs(app: App, tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text("import sys; print('mine', file=sys.stderr)")
    folders = os.pathsep.join([str(tmp_path), environment()["PYTHONPATH"]])
    done = finished(
        profile("-o", "cpu.pb.gz", app("import sys; print(*[f for f in sys.path if 'autostart' in f])")),
        cwd=tmp_path,
        PYTHONPATH=folders,
    )
    assert done.stderr.count("mine") == 2  # the command itself is a Python program, too
    assert done.stdout == "\n"


# --- what is wrong is said before anything runs


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "what is to be profiled?"),
        (["--pid", "1", "app.py"], "one of PROGRAM, --pid and --url"),
        (["-m"], "what is to be profiled?"),
        (["--token", "x", "app.py"], "--token is for --url"),
        (["--seconds", "0", "app.py"], "above 0, at most 86400"),
        (["--frequency", "5000", "app.py"], "from 1 to 1000"),
        (["--top", "0", "app.py"], "a whole number from 1"),
        (["--kind", "goroutine", "app.py"], "invalid choice"),
        (["-o", "cpu.png", "app.py"], "the suffix says the format: one of .pb.gz"),
        (["-o", "cpu.pb.gz", "--kind", "full", "app.py"], "one of .zip"),
        (["-o", "missing/cpu.pb.gz", "app.py"], "there is no such directory"),
        (["--trace", "mine", "app.py"], "32 hexadecimal digits"),
        (["--diff", "missing.pb.gz", "app.py"], "no such file"),
        (["--kind", "full", "--trace", "1", "app.py"], "not for --kind full"),
    ],
)
def test_wrong_usage(
    words: list[str],
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "app.py").write_text("open('ran', 'w')")
    with pytest.raises(SystemExit) as ended:
        main(["profile", *words])
    assert ended.value.code == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "ran").exists()


def test_a_program_that_is_not_there(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["profile", "no-such-program"]) == 127
    assert "otlpfast profile -m no-such-program" in capsys.readouterr().err


def test_help_teaches(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["profile", "--help"])
    text = capsys.readouterr().out
    for words in ("examples:", "otlpfast profile show", "--pid 4242", "Ctrl-C", "asyncio task"):
        assert words in text
    with pytest.raises(SystemExit):
        main(["profile", "show", "--help"])
    assert "--diff before.pb.gz" in capsys.readouterr().out


# --- saved profiles


def saved(path: Path, **counts: int) -> Path:
    samples = [
        Sample(
            (Frame(name, f"/app/{name}.py", 2, 1),), (count, count * 10**7), (("trace_id", f"{count:032x}"),)
        )
        for name, count in counts.items()
    ]
    kinds = (ValueType("samples", "count"), ValueType("cpu", "nanoseconds"))
    return Profile("cpu", kinds, tuple(samples), 1, 10**9, "cpu").save(path)


def test_a_saved_profile_is_shown_converted_and_compared(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before, after = saved(tmp_path / "a.pb.gz", one=1, two=2), saved(tmp_path / "b.pb.gz", one=1, two=5)
    assert main(["profile", "show", str(after), "--top", "1"]) == 0
    shown = capsys.readouterr().out
    assert "two.two" in shown and "one.one" not in shown
    assert main(["profile", "show", str(after), "--trace", "1", "--type", "samples"]) == 0
    shown = capsys.readouterr().out
    assert "one.one" in shown and "two.two" not in shown and "Type: samples" in shown
    assert main(["profile", "show", str(after), "--diff", str(before)]) == 0
    shown = capsys.readouterr().out
    assert "30ms" in shown and "one.one" not in shown
    for suffix in (".svg", ".folded", ".speedscope.json", ".txt"):
        assert main(["profile", "show", str(after), "-o", str(tmp_path / f"c{suffix}")]) == 0
        assert "two" in (tmp_path / f"c{suffix}").read_text()
        assert capsys.readouterr().out == f"{tmp_path}/c{suffix}\n"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["missing.pb.gz"], "missing.pb.gz: no such file or directory"),
        (["junk.pb.gz"], "junk.pb.gz"),
        (["a.pb.gz", "--trace", "77"], f"no sample carries the trace id {'77':0>32}; 1 others"),
        (["a.pb.gz", "--type", "inuse_space"], "inuse_space"),
    ],
)
def test_what_can_not_be_shown_is_one_line(
    words: list[str],
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    saved(tmp_path / "a.pb.gz", one=1)
    (tmp_path / "junk.pb.gz").write_bytes(b"\xff" * 100)
    assert main(["profile", "show", *words]) == 1
    errors = capsys.readouterr().err
    assert errors.startswith("otlpfast profile: ") and said in errors and errors.count("\n") == 1


# --- a server


@pytest.fixture(name="work")
def work_fixture() -> Iterator[None]:
    """A thread of this process that has something to do."""
    end = threading.Event()

    def toil() -> None:
        while not end.wait(0.001):
            sum(range(1000))

    thread = threading.Thread(target=toil)
    thread.start()
    yield
    end.set()
    thread.join()


@pytest.mark.parametrize("kind", ["cpu", "wall", "heap", "threads", "tasks", "block", "mutex"])
def test_each_kind_of_a_server(kind: str, work: None, tmp_path: Path) -> None:
    with enable_pprof_http("127.0.0.1:0") as server:
        words = ["--seconds", "0.3"] if kind not in ("threads", "tasks") else []
        done = finished(profile("--url", server.url, "--kind", kind, *words, "-o", "p.pb.gz"), cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, "p.pb.gz\n"), done.stderr
    found = Profile.load(tmp_path / "p.pb.gz")
    if kind in ("wall", "threads"):
        assert "toil" in functions(found)
    assert f"{kind} profile of {server.url.rstrip('/')}" in done.stderr


def test_a_full_profile_of_a_server(work: None, tmp_path: Path) -> None:
    with enable_pprof_http("127.0.0.1:0") as server:
        command = profile("--url", server.url, "--kind", "full", "--seconds", "0.5", "-o", "full.zip")
        done = finished(command, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    with zipfile.ZipFile(tmp_path / "full.zip") as archive:
        assert {"summary.txt", "cpu.pb.gz", "wall.pb.gz", "threads.pb.gz"} <= set(archive.namelist())
        assert server.url.rstrip("/") in archive.read("summary.txt").decode()


def test_ctrl_c_gets_what_there_is_from_a_server(work: None, tmp_path: Path) -> None:
    command = profile("--url", "", "--kind", "wall", "--seconds", "200", "-o", "wall.pb.gz")
    with enable_pprof_http("127.0.0.1:0") as server:
        command[command.index("")] = server.url
        options: dict[str, Any] = {"cwd": tmp_path, "env": environment(), "stderr": subprocess.PIPE}
        with under_way(command, stdout=subprocess.PIPE, **options) as process:
            until(lambda: wall._busy.locked(), "the server is at it")
            process.send_signal(signal.SIGINT)
            output, errors = process.communicate(timeout=PATIENCE)
    assert (process.returncode, output) == (0, "wall.pb.gz\n"), errors
    assert "ending early" in errors
    assert "toil" in functions(Profile.load(tmp_path / "wall.pb.gz"))


def test_a_token_by_option_variable_and_url(capsys: pytest.CaptureFixture[str], monkeypatch: Any) -> None:
    with enable_pprof_http("127.0.0.1:0", token="wonder") as server:
        ask = ["profile", "--kind", "threads", "--url"]
        assert main([*ask, server.url]) == 1
        assert "not allowed (401)" in capsys.readouterr().err
        assert main([*ask, server.url, "--token", "wonder"]) == 0
        assert main([*ask, server.url.replace("http://", "http://any:wonder@")]) == 0
        assert "wonder" not in "".join(capsys.readouterr())
        monkeypatch.setenv("OTLPFAST_PPROF_TOKEN", "wonder")
        assert main([*ask, server.url]) == 0


def test_a_heap_that_is_not_sampled_is_sampled_for_some_seconds(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("otlpfast.cli.profile.remote._SECONDS_INSTEAD", 0.1)
    with enable_pprof_http("127.0.0.1:0") as server:
        assert main(["profile", "--kind", "heap", "--url", server.url]) == 0
    assert "Type: inuse_space" in capsys.readouterr().out


@contextmanager
def answering(status: int, body: bytes, **headers: str) -> Iterator[str]:
    """The URL of a server that has one answer."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize(
    ("status", "body", "said"),
    [
        (200, b"<html>hello</html>", "no profile was sent"),
        (302, b"", "does not go"),
        (404, b"404 page not found", "there is no such profile"),
        (
            500,
            b"Could not enable CPU profiling: cpu profiling already in use",
            "cpu profiling already in use",
        ),
        (500, b"\x1b[31mred", "?[31mred"),
    ],
)
def test_an_answer_that_is_no_profile(
    status: int, body: bytes, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with answering(status, body, Location="http://127.0.0.1:1/") as url:
        assert main(["profile", "--url", url, "--seconds", "0.1"]) == 1
    errors = capsys.readouterr().err
    assert said in errors and "Traceback" not in errors and "\x1b" not in errors


def test_nobody_listens(capsys: pytest.CaptureFixture[str]) -> None:
    with enable_pprof_http("127.0.0.1:0") as server:
        url = server.url
    assert main(["profile", "--url", url, "--seconds", "0.1"]) == 1
    assert "nobody listens there: does it run, with OTLPFAST_PPROF=" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("url", "path", "authorization"),
    [
        ("localhost:6060", "/debug/pprof", None),
        ("http://localhost:6060/", "/debug/pprof", None),
        ("http://localhost:6060/debug/pprof/heap?seconds=5", "/debug/pprof", None),
        ("https://host/admin/", "/admin/debug/pprof", None),
        ("http://u%40:p%3A@[::1]:1/x/debug/pprof/", "/x/debug/pprof", "Basic dUA6cDo="),
    ],
)
def test_urls(url: str, path: str, authorization: str | None) -> None:
    server = Server.of(url, None)
    assert server.path == path
    assert server.headers.get("Authorization") == authorization
    assert "p%3A" not in server.url


@pytest.mark.parametrize("url", ["ftp://host", "http://", "http://host:port", "http://[x"])
def test_what_is_no_url(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["profile", "--url", url]) == 1
    assert "is no URL of a server" in capsys.readouterr().err


# --- a process


@pytest.fixture(name="runtime", autouse=True)
def runtime_fixture(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where processes of these tests announce themselves."""
    path = tmp_path_factory.mktemp("runtime")
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(path))
    return path / "otlpfast"


SERVE = """
import sys
import otlpfast
otlpfast.configure()
print("ready", flush=True)
import threading
threading.Thread(target=lambda: [burn(0.01) for _ in iter(int, 1)], daemon=True).start()
sys.stdin.read(1)
"""


def test_a_process_that_serves_its_profiles_is_found_by_its_pid(
    app: App, tmp_path: Path, runtime: Path
) -> None:
    variables = {**QUIET, "OTLPFAST_PPROF": "127.0.0.1:0", "XDG_RUNTIME_DIR": str(runtime.parent)}
    program = app(SERVE)
    with under_way(
        [sys.executable, program], cwd=tmp_path, env=environment(**variables), stdout=subprocess.PIPE
    ) as process:
        assert process.stdout and process.stdout.readline() == "ready\n"
        command = profile("--pid", str(process.pid), "--kind", "wall", "--seconds", "0.5", "-o", "wall.pb.gz")
        done = finished(command, cwd=tmp_path, XDG_RUNTIME_DIR=str(runtime.parent))
        assert done.returncode == 0, done.stderr
        assert process.stdin
        process.stdin.write("x")
        process.stdin.flush()
        assert process.wait(PATIENCE) == 0
    assert "burn" in functions(Profile.load(tmp_path / "wall.pb.gz"))
    assert os.listdir(runtime) == []  # it has taken back what it had announced


def test_a_process_that_there_is_not(capsys: pytest.CaptureFixture[str]) -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait(PATIENCE)
    assert main(["profile", "--pid", str(gone.pid)]) == 1
    assert f"there is no process {gone.pid} here" in capsys.readouterr().err


@pytest.mark.skipif(hasattr(sys, "remote_exec"), reason="this Python can ask any process")
def test_a_process_that_does_not_serve_is_told_how_to(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["profile", "--pid", str(os.getpid())]) == 1
    errors = capsys.readouterr().err
    assert "OTLPFAST_PPROF=127.0.0.1:0 otlpfast run app.py" in errors
    assert "enable_pprof_http()" in errors


@pytest.mark.skipif(not hasattr(sys, "remote_exec"), reason="from CPython 3.14 on")
def test_a_process_that_was_not_asked_to_serve_is_asked_now(app: App, tmp_path: Path) -> None:
    program = app("import sys\nprint('ready', flush=True)\nwhile True: burn(0.01)")
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE}
    with under_way([sys.executable, program], cwd=tmp_path, env=environment(), **pipes) as process:
        assert process.stdout and process.stdout.readline() == "ready\n"
        command = profile("--pid", str(process.pid), "--kind", "wall", "--seconds", "0.5", "-o", "wall.pb.gz")
        done = finished(command, cwd=tmp_path)
        if "can't be asked" in done.stderr:
            pytest.skip(done.stderr)
        assert done.returncode == 0, done.stderr
        assert process.poll() is None
    assert "burn" in functions(Profile.load(tmp_path / "wall.pb.gz"))


# --- the registry


def test_what_is_announced_is_private_and_found_and_taken_back(runtime: Path) -> None:
    assert _registry.find(os.getpid()) is None
    _registry.announce("http://127.0.0.1:1/", "wonder")
    assert _registry.find(os.getpid()) == (os.getpid(), "http://127.0.0.1:1/", "wonder")
    [entry] = runtime.iterdir()
    assert (entry.stat().st_mode & 0o777, runtime.stat().st_mode & 0o777) == (0o600, 0o700)
    _registry.withdraw("http://127.0.0.1:2/")
    assert _registry.find(os.getpid()) is not None
    _registry.withdraw()
    assert _registry.find(os.getpid()) is None
    assert list(runtime.iterdir()) == []


def test_what_an_earlier_process_has_left_is_removed(runtime: Path) -> None:
    _registry.announce("http://127.0.0.1:1/")
    [entry] = runtime.iterdir()
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait(PATIENCE)
    of_gone = runtime / entry.name.replace(str(os.getpid()), str(gone.pid))
    of_gone.write_bytes(entry.read_bytes())
    of_another = runtime / "1-1.json"  # of another container
    of_another.write_text("")
    _registry.announce("http://127.0.0.1:1/")
    assert not of_gone.exists() and of_another.exists()
    entry.write_text(json.dumps({**json.loads(entry.read_text()), "started": "before"}))
    assert _registry.find(os.getpid()) is None
    assert not entry.exists()
    _registry.withdraw()


@pytest.mark.parametrize("spoil", ["open", "link", "junk"])
def test_what_others_may_have_written_is_not_believed(runtime: Path, tmp_path: Path, spoil: str) -> None:
    _registry.announce("http://127.0.0.1:1/")
    [entry] = runtime.iterdir()
    if spoil == "open":
        runtime.chmod(0o777)
    elif spoil == "link":
        entry.rename(tmp_path / "entry")
        entry.symlink_to(tmp_path / "entry")
    else:
        entry.write_text("[]")
    assert _registry.find(os.getpid()) is None
    _registry.withdraw()
