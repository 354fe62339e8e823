"""The ``otlpfast`` command itself: wrong words, Ctrl-C, terminals; and what ``run`` does, in this process."""

from __future__ import annotations

import io
import logging
import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import otlpfast
from otlpfast import autostart
from otlpfast.autostart import mend, voice
from otlpfast.cli import circumstances, main
from otlpfast.cli.console import Console

Patch, Capture, Log = pytest.MonkeyPatch, pytest.CaptureFixture[str], pytest.LogCaptureFixture


def usage_error(capsys: Capture, *words: str) -> str:
    """What the command says last where it is called in a wrong way."""
    with pytest.raises(SystemExit) as raised:
        main(words)
    assert raised.value.code == 2
    return capsys.readouterr().err.splitlines()[-1]


def test_the_version_and_what_runs(capsys: Capture) -> None:
    with pytest.raises(SystemExit) as raised:
        main(["--version"])
    assert raised.value.code == 0
    assert capsys.readouterr().out == f"otlpfast {otlpfast.__version__} ({otlpfast.IMPLEMENTATION})\n"


def test_a_command_has_to_be_named(capsys: Capture) -> None:
    assert "required: COMMAND" in usage_error(capsys)


@pytest.mark.parametrize("seconds", ["soon", "0", "nan", "3601"])
def test_a_wrong_number_of_seconds(capsys: Capture, seconds: str) -> None:
    said = usage_error(capsys, "bench", "--seconds", seconds)
    assert f"a number of seconds from 1 to 3600 is allowed, not '{seconds}'" in said


@pytest.mark.parametrize(("raised", "status"), [(KeyboardInterrupt, 130), (BrokenPipeError, 1)])
def test_how_a_command_is_ended_from_outside(
    monkeypatch: Patch, capsys: Capture, raised: type[BaseException], status: int
) -> None:
    def end(*_: object) -> None:
        raise raised

    monkeypatch.setattr("otlpfast.cli.doctor.examination.examine", end)
    assert main(["doctor"]) == status
    said = capsys.readouterr()
    assert said.out + said.err == ""


# --- progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def shown(stream: io.StringIO) -> str:
    console = Console(stream)
    console.step("sending")
    console.update("3 of 7")
    console.note("one was late")
    console.step("adding up")
    console.clear()
    return stream.getvalue()


def test_progress_on_a_terminal_is_one_line(monkeypatch: Patch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("NO_COLOR", "1")
    renewed, gone = "\r\x1b[K", "\r\x1b[K"
    lines = f"{renewed}sending{renewed}sending 3 of 7{gone}one was late\n{renewed}adding up{gone}"
    assert shown(Terminal()) == lines
    monkeypatch.delenv("NO_COLOR")
    assert "\x1b[2msending 3 of 7\x1b[0m" in shown(Terminal())
    assert "\x1b[33mone was late\x1b[0m\n" in shown(Terminal())


def test_progress_elsewhere_is_plain_lines(monkeypatch: Patch) -> None:
    assert shown(io.StringIO()) == "sending\none was late\nadding up\n"
    monkeypatch.setenv("TERM", "dumb")
    assert shown(Terminal()) == "sending\none was late\nadding up\n"


def test_progress_that_nobody_reads_is_no_error() -> None:
    class Broken(Terminal):
        def write(self, _: str) -> int:
            raise BrokenPipeError

    assert shown(Broken()) == ""


def test_what_a_system_does_not_tell_of_itself(monkeypatch: Patch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError

    monkeypatch.setattr(circumstances, "open", refuse, raising=False)
    monkeypatch.setattr(os, "getloadavg", refuse, raising=False)
    assert circumstances.busy() == "load average unknown"
    assert circumstances.circumstances()["machine"]
    assert circumstances.version_of("a-package-of-nobody") == "not installed"


# --- run


class Became(Exception):
    """What the process is now."""

    def __init__(self, _: str, words: list[str], environment: dict[str, str]) -> None:
        self.words, self.environment = words[1:], environment


@pytest.fixture(name="run")
def run_fixture(monkeypatch: Patch, tmp_path: Path) -> Callable[..., Became]:
    """``otlpfast run`` in a folder with an ``app.py``, up to where it becomes the program."""

    def become(*given: object) -> None:
        raise Became(*given)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "execve", become)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "app.py").touch()

    def run(*words: str) -> Became:
        with pytest.raises(Became) as became:
            main(["run", *words])
        return became.value

    return run


@pytest.mark.parametrize(
    ("words", "becomes", "web", "pprof"),
    [
        (["app.py", "--web", "7"], ["app.py", "--web", "7"], None, None),
        (["--", "app.py"], ["app.py"], None, None),
        (["-m", "app", "-m"], ["-m", "app", "-m"], None, None),
        (["--web", "app.py"], ["app.py"], "127.0.0.1:0", None),
        (["--web", "8080", "app.py"], ["app.py"], "8080", None),
        (["--web", "[::1]:8080", "-m", "app"], ["-m", "app"], "[::1]:8080", None),
        (
            ["--web=0.0.0.0:1", "--pprof", "app.py", "--pprof"],
            ["app.py", "--pprof"],
            "0.0.0.0:1",
            "127.0.0.1:0",
        ),
        (["--pprof", "localhost:6060", "--web", "app.py"], ["app.py"], "127.0.0.1:0", "localhost:6060"),
        (["--pprof", "app.py", "--web"], ["app.py", "--web"], None, "127.0.0.1:0"),
    ],
)
def test_options_end_where_the_program_begins(
    run: Callable[..., Became], words: list[str], becomes: list[str], web: str | None, pprof: str | None
) -> None:
    became = run(*words)
    assert became.words == becomes
    assert became.environment.get("OTLPFAST_WEB") == web
    assert became.environment.get("OTLPFAST_PPROF") == pprof
    assert became.environment["PYTHONPATH"].split(os.pathsep)[0] == autostart.FOLDER
    assert became.environment["OTEL_PYTHON_CONFIGURATOR"] == "otlpfast"


@pytest.mark.parametrize("words", [[], ["--"], ["-m"], ["--web"], ["--web", "127.0.0.1:80"]])
def test_a_program_has_to_be_named(capsys: Capture, words: list[str]) -> None:
    assert "what is to be run? A script, -m and a module, or a program" in usage_error(capsys, "run", *words)


# --- what it does before the program


def test_without_instrumentation_of_the_api(monkeypatch: Patch) -> None:
    for name in ("opentelemetry.instrumentation", autostart.INSTRUMENTATION):  # one may have been loaded
        monkeypatch.setitem(sys.modules, name, None)
    assert not autostart.has_instrumentation()


def test_a_start_that_fails_is_one_line(monkeypatch: Patch, capsys: Capture) -> None:
    monkeypatch.setattr(mend, "mend", lambda: 1 / 0)
    monkeypatch.setattr(voice, "speak_up", lambda: None)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([autostart.FOLDER, "mine"]))
    autostart.start()
    assert capsys.readouterr().err == "otlpfast run: nothing is traced: ZeroDivisionError: division by zero\n"
    assert os.environ["PYTHONPATH"] == os.pathsep.join([autostart.FOLDER, "mine"])


@pytest.mark.parametrize(
    ("variables", "mended", "words"),
    [
        (
            {"SPAN_ATTRIBUTE_COUNT_LIMIT": "few"},
            {},
            "OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT='few' is ignored, 128 is used",
        ),
        (
            {"SPAN_ATTRIBUTE_COUNT_LIMIT": "-1", "ATTRIBUTE_COUNT_LIMIT": "7"},
            {"ATTRIBUTE_COUNT_LIMIT": "7"},
            "OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT='-1' is ignored, 7 is used",
        ),
        (
            {"PROPAGATORS": "pigeon"},
            {},
            "OTEL_PROPAGATORS='pigeon' is not known in all its parts, tracecontext,baggage",
        ),
        (
            {"PROPAGATORS": "pigeon, baggage"},
            {"PROPAGATORS": "baggage"},
            "all its parts, baggage is used; allowed: ",
        ),
        ({"PROPAGATORS": "none,baggage", "SPAN_ATTRIBUTE_COUNT_LIMIT": "5"}, None, ""),
    ],
)
def test_variables_that_keep_the_api_from_being_imported(
    monkeypatch: Patch, caplog: Log, variables: dict[str, str], mended: dict[str, str] | None, words: str
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(f"OTEL_{name}", value)
    mend.mend()
    left = {name[5:]: value for name, value in os.environ.items() if name.startswith("OTEL_")}
    assert left == (variables if mended is None else mended)
    assert [words in message for message in caplog.messages] == [True] * bool(words)


def test_propagators_of_other_packages_are_known(monkeypatch: Patch, caplog: Log, tmp_path: Path) -> None:
    folder = tmp_path / "mine-1.0.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: mine\nVersion: 1.0\n")
    (folder / "entry_points.txt").write_text("[opentelemetry_propagator]\nmine = nowhere:mine\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("OTEL_PROPAGATORS", "mine,baggage")
    mend.mend()
    assert (os.environ["OTEL_PROPAGATORS"], caplog.messages) == ("mine,baggage", [])


def test_warnings_come_to_standard_error_unless_the_program_has_handlers(
    monkeypatch: Patch, capsys: Capture
) -> None:
    monkeypatch.setattr(logging.getLogger("otlpfast"), "handlers", [])
    monkeypatch.setattr(logging.getLogger(), "handlers", [])
    voice.speak_up()
    voice.speak_up()
    logging.getLogger("otlpfast.any").warning("heard once")
    logging.getLogger().addHandler(logging.NullHandler())
    logging.getLogger("otlpfast.any").warning("heard by the program")
    assert capsys.readouterr().err == "heard once\n"
