"""Kept frames: they follow the source that is shown, are bounded and keep nothing alive."""

from __future__ import annotations

import gc
import importlib
import linecache
import subprocess
import sys
import threading
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from otlpfast import _stacktrace
from otlpfast._stacktrace import format_exception

from . import raisers
from .raisers import RAISING, caught
from .telling import KEEPS_FRAMES, expected, forget, same

keeps_frames = pytest.mark.skipif(not KEEPS_FRAMES, reason="a package replaced parts of traceback")


@pytest.fixture(autouse=True)
def _nothing_kept() -> Iterator[None]:
    forget()
    yield
    forget()


def at_a_later_time(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    now = _stacktrace.monotonic() + seconds
    monkeypatch.setattr(_stacktrace, "monotonic", lambda: now)


# Source that changes


def written(path: Path, text: str) -> Callable[[], object]:
    """The function ``work`` of a module with that source."""
    path.write_text(text)
    space: dict[str, Any] = {"__name__": path.stem}
    exec(compile(text, str(path), "exec"), space)
    return space["work"]  # type: ignore[no-any-return]


SOURCE = "def work():\n    return 1 / 0  # old\n"


@keeps_frames
def test_an_edited_file_is_noticed_when_it_is_looked_at_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    error = caught(written(tmp_path / "edited.py", SOURCE))
    old = same(error)
    (tmp_path / "edited.py").write_text("def work():\n    return 1 / 0  # edited since\n")
    assert format_exception(error) == old
    at_a_later_time(monkeypatch, _stacktrace.RECHECK_SECONDS)
    assert "# edited since" in format_exception(error)
    same(error)


def test_an_edit_that_others_noticed_is_noticed_at_once(tmp_path: Path) -> None:
    error = caught(written(tmp_path / "edited.py", SOURCE))
    same(error)
    (tmp_path / "edited.py").write_text("# moved\ndef work():\n    return 1 / 0  # edited since\n")
    assert "def work" in expected(error)
    assert "# old" not in same(error)


def test_an_edit_that_is_noticed_while_a_text_is_made_and_then_undone_leaves_nothing_wrong(
    tmp_path: Path,
) -> None:
    error = caught(written(tmp_path / "edited.py", SOURCE))
    assert "# old" in expected(error)
    (tmp_path / "edited.py").write_text("def work():\n    return 1 / 0  # edited since\n")
    assert "# edited since" in format_exception(error)
    (tmp_path / "edited.py").write_text(SOURCE)
    assert "# old" in expected(error)
    same(error)


def test_a_deleted_file_and_one_that_appears_are_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    error = caught(written(tmp_path / "gone.py", SOURCE))
    assert "# old" in same(error)
    (tmp_path / "gone.py").rename(tmp_path / "kept")
    at_a_later_time(monkeypatch, _stacktrace.RECHECK_SECONDS)
    assert "# old" not in format_exception(error)
    same(error)
    (tmp_path / "kept").rename(tmp_path / "gone.py")
    at_a_later_time(monkeypatch, _stacktrace.RECHECK_SECONDS)
    assert "# old" in format_exception(error)
    same(error)


def test_a_module_that_is_reloaded_after_an_edit_shows_its_new_lines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    (tmp_path / "reloaded_here.py").write_text(SOURCE)
    module = importlib.import_module("reloaded_here")
    same(caught(module.work))
    (tmp_path / "reloaded_here.py").write_text("def work():\n    return 10 / 0  # reloaded\n")
    importlib.reload(module)
    at_a_later_time(monkeypatch, _stacktrace.RECHECK_SECONDS)
    assert "# reloaded" in format_exception(caught(module.work))
    same(caught(module.work))
    del sys.modules["reloaded_here"]


def in_cell(text: str, file: str) -> BaseException:
    """What a cell of a notebook raises, with its source in linecache as notebooks and attrs put it there."""
    linecache.cache[file] = (len(text), None, text.splitlines(keepends=True), file)
    return caught(lambda: exec(compile(text, file, "exec"), {}))


@pytest.mark.parametrize("file", ["<cell>", "cell.py", "<stdin>"])
def test_cells_of_the_same_name_show_the_lines_that_linecache_has(
    file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(linecache, "cache", dict(linecache.cache))
    first = in_cell("1 / 0  # a", file)
    assert "# a" in same(first)
    second = in_cell("1 / 0  # b", file)
    assert "# b" in same(second)
    assert "# b" in same(first)
    linecache.cache.clear()
    assert "# b" not in same(second)


def test_a_line_that_comes_to_linecache_later_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(linecache, "cache", dict(linecache.cache))
    error = caught(RAISING["code_without_source"])
    assert "in inner\nValueError" in same(error)
    in_cell("\n# a\n# b\n1 / 0", "<string>")
    assert "# a" in same(error)


@pytest.mark.skipif(not hasattr(linecache, "_register_code"), reason="source is registered from 3.13 on")
def test_source_typed_in_under_an_old_name_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("cache", "_interactive_cache"):
        if hasattr(linecache, name):
            monkeypatch.setattr(linecache, name, dict(getattr(linecache, name)))
    error = caught(RAISING["code_without_source"])
    same(error)
    by_name = not hasattr(linecache, "_interactive_cache")
    for line in ("1 / 0  # a", "1 / 0  # b"):
        text = f"\n\n\n{line}"
        code: Any = compile(text, "<string>", "exec")
        linecache._register_code("<string>" if by_name else code, text, "<string>")
        assert line in same(caught(lambda code=code: exec(code, {})))
        assert line in same(error)
    (linecache.cache if by_name else linecache._interactive_cache).clear()
    assert "1 / 0" not in same(error)


def test_source_that_is_shown_by_a_replaced_linecache_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    error = caught(RAISING["code_without_source"])
    same(error)
    getlines = linecache.getlines
    with monkeypatch.context() as patch:  # as doctest does while it runs
        patch.setattr(
            linecache,
            "getlines",
            lambda file, *rest: ["# shown\n"] * 9 if file == "<string>" else getlines(file, *rest),
        )
        assert "# shown" in same(error)
    assert "# shown" not in same(error)


# What is kept


def test_what_is_told_with_hardly_a_call_left_does_not_spoil_later_texts() -> None:
    """Near the limit of recursion the standard library leaves out carets, or raises."""
    told: list[str] = []

    def nest() -> None:
        try:
            nest()
        except RecursionError as error:
            error.__traceback__, error.__context__ = kept.__traceback__, None
            told.append(format_exception(error))
            raise

    for name in ("a_subscript_in_an_expression", "a_call_over_many_lines", "wide_characters"):
        kept = caught(RAISING[name])
        expected(kept)
        caught(nest)
        assert all(type(text) is str for text in told)
        same(kept)


@keeps_frames
def test_nothing_of_a_call_is_kept_alive() -> None:
    class Local:
        pass

    alive: list[weakref.ref[Any]] = []

    def work() -> None:
        local = Local()
        alive.append(weakref.ref(local))
        raise raisers.Dotted.Error(local)

    error = caught(work)
    alive.append(weakref.ref(error))
    same(error)
    assert _stacktrace._kept(error.__traceback__)
    del error
    gc.collect()
    assert [reference() for reference in alive] == [None, None]


@keeps_frames
def test_what_is_kept_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_stacktrace, "MAX_FRAMES", 50)
    most = 0
    for number in range(120):
        code = compile("\n" * number + "1 / 0", f"<generated {number}>", "exec")
        same(caught(lambda code=code: exec(code, {})))
        most = max(most, len(_stacktrace._frames))
        assert len(_stacktrace._due) <= 51
    assert 40 < most <= 50


def test_a_traceback_with_more_frames_than_are_kept_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_stacktrace, "MAX_FRAMES", 3)
    same(caught(RAISING["mutual_recursion_5"]))
    assert len(_stacktrace._frames) <= 3


def test_a_very_long_line_is_told_but_not_kept(tmp_path: Path) -> None:
    text = f"def work():\n    return {'1 + ' * 2000} None\n"
    same(caught(written(tmp_path / "long.py", text)))
    assert not [frame for frame in _stacktrace._frames.values() if frame.file == str(tmp_path / "long.py")]


def test_equal_code_of_different_files_is_not_mixed_up() -> None:
    texts = set()
    for number in range(200):
        code = compile("1 / 0", f"<equal {number}>", "exec")
        texts.add(same(caught(lambda code=code: exec(code, {})), times=2))
        del code
    assert len(texts) == 200


def test_threads_tell_the_same_while_everything_is_forgotten() -> None:
    errors = [caught(RAISING[name]) for name in RAISING if "300" not in name and "end" not in name]
    wanted = [expected(error) for error in errors]
    wrong: list[str] = []
    done = threading.Event()

    def tell() -> None:
        for _ in range(5):
            wrong.extend(
                text
                for error, want in zip(errors, wanted, strict=True)
                if (text := format_exception(error)) != want
            )

    def disturb() -> None:
        while not done.is_set():
            forget()
            done.wait(0.001)

    threads = [threading.Thread(target=tell) for _ in range(4)]
    disturber = threading.Thread(target=disturb)
    for thread in (disturber, *threads):
        thread.start()
    for thread in threads:
        thread.join()
    done.set()
    disturber.join()
    assert wrong == []


def test_frames_are_kept_in_an_interpreter_where_nobody_replaced_anything() -> None:
    program = """
from tests.raisers import RAISING, caught
from tests.telling import formatted_frames, same
errors = [caught(work) for work in RAISING.values()]
texts = [same(error) for error in errors]
error = caught(RAISING["a_context"])
same(error)
assert formatted_frames(lambda: same(error, times=0)) == 0
"""
    root = Path(__file__).parent.parent
    subprocess.run([sys.executable, "-c", program], cwd=root, check=True, timeout=300)
