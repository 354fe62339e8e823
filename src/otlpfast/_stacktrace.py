"""The text of an exception: the very text that ``traceback.format_exception`` gives, at little cost.

What that function costs are the frames: for each it looks at the file, reads positions, parses source. How
a frame looks depends on its code, its instruction and the source lines there, so its text is made once, by
the standard library, and kept. A kept text is used while ``linecache`` has the same lines; files are looked
at again after RECHECK_SECONDS, where the standard library looks at each of them each time. Whatever is
unusual is left to ``traceback.format_exception``.
"""

from __future__ import annotations

import builtins
import linecache
import sys
import traceback
from collections.abc import Iterable
from operator import attrgetter
from time import monotonic
from types import CodeType, TracebackType
from typing import Any, NamedTuple

from ._plain import plain_text

MAX_FRAMES = 4096
"""How many frames are kept; all are forgotten when there are more."""
MAX_CHARACTERS = 4096
"""How many characters a kept frame may have, with its source lines."""
RECHECK_SECONDS = 1.0
"""How long a source file may have changed on disk before the text changes, too."""
UNPRINTABLE = "<unprintable traceback>"

_HEADER = "Traceback (most recent call last):\n"
_CAUSE = "\nThe above exception was the direct cause of the following exception:\n\n"
_CONTEXT = "\nDuring handling of the above exception, another exception occurred:\n\n"
_SHOWN = 3  # times that the same line is shown before the rest is counted

_GROUPS: Any = getattr(builtins, "BaseExceptionGroup", ())
_HAS_NOTES = sys.version_info >= (3, 11)
# The kinds whose last lines are more than type and message: a later Python may know others.
_SUGGESTS = hasattr(traceback, "_compute_suggestion_error")
_SPECIAL: tuple[type[BaseException], ...] = (
    (SyntaxError, NameError, AttributeError, ImportError) if _SUGGESTS else (SyntaxError,)
)
_KNOWN_PYTHON = sys.version_info < (3, 15)

# What makes the text. Packages replace some of it (exceptiongroup on 3.10, doctest while it runs).
_MAKERS = [
    "format_exception",
    "extract_tb",
    "TracebackException.__init__",
    "TracebackException.format",
    "TracebackException.format_exception_only",
    "StackSummary.extract",
    "StackSummary._extract_from_extended_frame_gen",
    "StackSummary.from_list",
    "StackSummary.format",
    "StackSummary.format_frame_summary",
    "FrameSummary.__init__",
    "FrameSummary.line",
    "linecache.getline",
    "linecache.getlines",
    "linecache.lazycache",
    "linecache.updatecache",
]


class _Unusual(Exception):
    """The standard library shall do it all."""


class _Frame(NamedTuple):
    text: str
    place: tuple[str, int, str] | None  # equal places in a row are folded; without a line number none is
    file: str
    span: slice
    lines: Any  # what linecache has at ``span`` of ``file``; None where it has no source
    code: CodeType  # so that no other code gets its id


_frames: dict[tuple[int, int, int], _Frame] = {}
_due: dict[str, float] = {}  # file: when to look whether it changed


def exception_attributes(error: BaseException, escaped: bool) -> dict[str, Any] | None:
    """The attributes of an exception event; None for what is no exception. Never raises an Exception.

    Semantic conventions: exceptions/exceptions-spans.md.
    """
    try:
        if not isinstance(error, BaseException):
            return None
    except Exception:  # a __class__ that raises
        return None
    stacktrace = format_exception(error)
    return {
        "exception.type": _type_name(type(error)),
        "exception.message": plain_text(error),
        "exception.stacktrace": stacktrace,
        "exception.escaped": plain_text(escaped),
    }


def format_exception(error: BaseException) -> str:
    """``"".join(traceback.format_exception(error))``; UNPRINTABLE where that raises."""
    try:
        if _makers(traceback) == _ORIGINALS and sys.__dict__.get("tracebacklimit") is None:
            return _chain(error)
    except Exception:
        pass  # too unusual, or near the limit of recursion: what comes is told by the standard library
    try:
        return "".join(traceback.format_exception(error))
    except Exception:
        return UNPRINTABLE


def _type_name(kind: type) -> str:
    try:
        module = kind.__module__
        return f"{module}.{kind.__qualname__}" if module and module != "builtins" else kind.__qualname__
    except Exception:  # a metaclass can do anything
        return plain_text(kind)


def _chain(error: BaseException) -> str:
    """The text of an exception with its causes and contexts."""
    first, seen = error, {id(error)}
    parts: list[str] = []  # the last first
    while True:
        last_lines = _last_lines(error)
        if last_lines is None:
            return _chain_by_parts(first)
        parts += last_lines, _stack(error.__traceback__)
        cause = error.__cause__
        if cause is not None and id(cause) not in seen:
            parts.append(_CAUSE)
            error = cause
        elif error.__suppress_context__:
            break
        else:
            context = error.__context__
            if context is None or id(context) in seen:
                break
            parts.append(_CONTEXT)
            error = context
        seen.add(id(error))
    parts.reverse()
    return "".join(parts)


def _last_lines(error: BaseException) -> str | None:
    """Type, message and notes of an exception where they are plain, else None."""
    if isinstance(error, _GROUPS):
        raise _Unusual
    # Some versions ask an exception for its truth before they look at its causes, others do not.
    if not _KNOWN_PYTHON or isinstance(error, _SPECIAL) or not error:
        return None
    try:
        message = str(error)
    except Exception:
        return None
    kind = type(error)
    name, module = kind.__qualname__, kind.__module__
    if type(message) is not str or type(name) is not str or type(module) is not str:
        return None
    if module != "__main__" and module != "builtins":
        name = f"{module}.{name}"
    lines = f"{name}: {message}\n" if message else f"{name}\n"
    if _HAS_NOTES:
        notes = getattr(error, "__notes__", None)
        if notes is not None:
            if type(notes) is not list or any(type(note) is not str for note in notes):
                return None
            lines += "".join([f"{note}\n" for note in notes])
    return lines


def _chain_by_parts(error: BaseException) -> str:
    """The same text where only the standard library knows the last lines: its lines, but kept frames.

    With a limit of 0 it formats no frame, and still gets the traceback to make its suggestions from.
    """
    told = traceback.TracebackException(type(error), error, error.__traceback__, limit=0, compact=True)
    parts: list[str] = []
    while True:
        if getattr(told, "exceptions", None) is not None:
            raise _Unusual
        parts += "".join(told.format_exception_only()), _stack(error.__traceback__)
        if told.__cause__ is not None and error.__cause__ is not None:
            parts.append(_CAUSE)
            told, error = told.__cause__, error.__cause__
        elif told.__context__ is not None and error.__context__ is not None:
            parts.append(_CONTEXT)
            told, error = told.__context__, error.__context__
        else:
            break
    parts.reverse()
    return "".join(parts)


def _stack(trace: TracebackType | None) -> str:
    if trace is None:
        return ""
    return _HEADER + _folded(_kept(trace) or _made(trace))


def _kept(trace: TracebackType | None) -> list[_Frame] | None:
    """The frames of a traceback if all are kept and still right."""
    cache, now = linecache.cache, monotonic()
    typed_in = linecache.__dict__.get("_interactive_cache")  # source that is found by name and line, 3.13 on
    frames = []
    while trace is not None:
        frame = _frames.get((id(trace.tb_frame.f_code), trace.tb_lasti, trace.tb_lineno))
        if frame is None:
            return None
        _, _, file, span, lines, _ = frame
        if _due.get(file, 0.0) <= now:
            linecache.checkcache(file)
            _due[file] = now + RECHECK_SECONDS
            if lines is None and file[:1] != "<":  # maybe there is a file now
                return None
        source: Any = cache.get(file)
        if (None if source is None or len(source) == 1 else source[2][span]) != lines:
            return None
        if typed_in and file[:1] == "<":
            return None
        frames.append(frame)
        trace = trace.tb_next
    return frames


def _made(trace: TracebackType | None) -> list[_Frame]:
    """The frames of a traceback, made by the standard library; they are kept if their source stood still.

    So a frame is kept when it is met with its source already in ``linecache``, mostly the second time.
    """
    links = []
    while trace is not None:
        links.append(trace)
        trace = trace.tb_next
    files = {link.tb_frame.f_code.co_filename for link in links}
    before = {file: linecache.cache.get(file) for file in files}
    stack = traceback.extract_tb(links[0])
    if len(stack) != len(links):  # sys.tracebacklimit was set meanwhile
        raise _Unusual
    made: dict[tuple[int, int, int], _Frame] = {}
    frames = []
    for link, summary in zip(links, stack, strict=True):
        code = link.tb_frame.f_code
        key = (id(code), link.tb_lasti, link.tb_lineno)
        if key not in made:
            made[key] = _frame(summary, code, before[code.co_filename])
        frames.append(made[key])
    if _has_room():
        _keep({key: frame for key, frame in made.items() if _is_lasting(frame, before)})
    return frames


def _frame(summary: traceback.FrameSummary, code: CodeType, source: Any) -> _Frame:
    (text,) = traceback.StackSummary.from_list([summary]).format()
    file, line, name = summary.filename, summary.lineno, summary.name
    span = slice(0)
    if line is not None:
        span = slice(max(line - 1, 0), max(getattr(summary, "end_lineno", None) or line, 0))
    lines = None if source is None or len(source) == 1 else source[2][span]
    return _Frame(text, None if line is None else (file, line, name), file, span, lines, code)


def _is_lasting(frame: _Frame, before: dict[str, Any]) -> bool:
    if linecache.cache.get(frame.file) is not before[frame.file]:
        return False
    if frame.file[:1] == "<" and linecache.__dict__.get("_interactive_cache"):
        return False
    return len(frame.text) + sum(map(len, frame.lines or ())) <= MAX_CHARACTERS


def _keep(frames: dict[tuple[int, int, int], _Frame]) -> None:
    if len(frames) > MAX_FRAMES:
        return
    if len(_frames) + len(frames) > MAX_FRAMES:
        _frames.clear()
        _due.clear()
    _frames.update(frames)


def _folded(frames: Iterable[_Frame]) -> str:
    """The texts of frames, those of the same line in a row shown three times and then counted."""
    texts: list[str] = []
    last, times = None, 0
    for text, place, _, _, _, _ in frames:
        if place is None or place != last:
            if times > _SHOWN:
                texts.append(_repeated(times - _SHOWN))
            last, times = place, 0
        times += 1
        if times <= _SHOWN:
            texts.append(text)
    if times > _SHOWN:
        texts.append(_repeated(times - _SHOWN))
    return "".join(texts)


def _repeated(times: int) -> str:
    return f"  [Previous line repeated {times} more time{'s' if times > 1 else ''}]\n"


def _has_room(levels: int = 100) -> bool:
    """Whether calls can nest deeper: the standard library silently leaves out carets where they can't."""
    try:
        return levels == 0 or next(map(_has_room, (levels - 1,)))
    except RecursionError:
        return False


def _originals() -> tuple[Any, ...] | None:
    """What makes the text, None if it isn't Python's own."""
    makers: tuple[Any, ...] = _makers(traceback)
    for maker in makers:
        function = getattr(maker, "__func__", None) or getattr(maker, "fget", None) or maker
        home = getattr(function, "__globals__", None)
        if home is not vars(traceback) and home is not vars(linecache):
            return None
    return makers


def _exists(name: str) -> bool:
    try:
        attrgetter(name)(traceback)
    except AttributeError:
        return False
    return True


_makers = attrgetter(*[name for name in _MAKERS if _exists(name)])
_ORIGINALS = _originals()
