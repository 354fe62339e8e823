"""Samplers, processors and functions that note what they are called with, for the lines of programs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from opentelemetry import context as context_api
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk import trace as sdk
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor
from opentelemetry.sdk.trace.sampling import Decision, Sampler, SamplingResult

from . import names
from .run import Run


class Noting(Sampler):
    """Notes what it is asked, and decides as it was told."""

    def __init__(
        self, run: Run, decision: Decision, attributes: Any = None, state: Any = None, keep: bool = False
    ) -> None:
        self._run, self._keep = run, keep
        self._result = (decision, attributes, state)

    def should_sample(self, *args: Any, **options: Any) -> SamplingResult:
        parent = options.get("parent_context", args[0] if args else None)
        options.pop("parent_context", None)
        shown = [self._shown(arg) for arg in args[1:]]
        named = [f"{name}={self._shown(option)}" for name, option in options.items()]
        context = None if parent is None else type(parent).__name__
        self._run.note(f"sampler asked {context} {shown} {named}")
        decision, attributes, state = self._result
        given = options.get("attributes", args[4] if len(args) > 4 else None)
        return SamplingResult(decision, given if self._keep else attributes, state)

    def _shown(self, value: Any) -> str:
        # The SDK changes attributes of a link that it is given: docs/compatibility.md. It may come again.
        if type(value) in (list, tuple) and any(isinstance(item, trace.Link) for item in value):
            value = [item.context if isinstance(item, trace.Link) else item for item in value]
        return self._run.id(value) if type(value) is int else self._run.render(value)

    def get_description(self) -> str:
        return "Noting"


class Raising(Noting):
    """Raises whatever it is asked."""

    def should_sample(self, *args: Any, **options: Any) -> SamplingResult:
        raise ValueError("no decision")


# --- processors


class Recording(SpanProcessor):
    """Notes its calls and what spans show then: nothing, all that is public, or underscore fields too."""

    def __init__(self, run: Run, name: str, view: str = "public") -> None:
        self._run, self._name, self._view = run, name, view

    def _note(self, method: str, span: Any, more: str = "") -> None:
        text = (
            self._run.span(span) if isinstance(span, trace.Span) else f"{type(span).__name__} {span.name!r}"
        )
        if self._view != "calls":
            text = self._run.look(span)
        if self._view == "private":
            text += self._run.look_inside(span)
        self._run.note(f"{self._name}.{method}{more} {text}")

    def on_start(self, span: sdk.Span, parent_context: Context | None = None) -> None:
        current = self._run.render(trace.get_current_span())
        given = None if parent_context is None else type(parent_context).__name__
        self._note("on_start", span, f" in {given}, current {current}")

    def _on_ending(self, span: sdk.Span) -> None:
        self._note("_on_ending", span)

    def on_end(self, span: ReadableSpan) -> None:
        self._note("on_end", span, f" current {self._run.render(trace.get_current_span())}")

    def shutdown(self) -> None:
        self._run.note(f"{self._name}.shutdown")

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        self._run.note(f"{self._name}.force_flush")
        return self._name != "failing"


class Doing(SpanProcessor):
    """Runs lines on spans: ``span`` is theirs."""

    def __init__(self, run: Run, start: str = "None", ending: str = "None", end: str = "None") -> None:
        self._run, self._lines = run, (start, ending, end)
        self._busy = False

    def _do(self, number: int, span: Any) -> None:
        if self._busy:  # what a line starts and ends itself
            return
        self._busy, before = True, self._run.names.get("span")
        self._run.names["span"] = span
        line = self._lines[number]
        try:
            with self._run.noting(f"processor: {line}"):  # that one raises is tested elsewhere
                self._run.value(line)
        finally:
            self._busy, self._run.names["span"] = False, before

    def on_start(self, span: sdk.Span, parent_context: Context | None = None) -> None:
        self._do(0, span)

    def _on_ending(self, span: sdk.Span) -> None:
        self._do(1, span)

    def on_end(self, span: ReadableSpan) -> None:
        self._do(2, span)


class RaisingProcessor(Doing):
    """Raises in one of its methods."""

    def _do(self, number: int, span: Any) -> None:
        if self._lines[number] == "raise":
            raise ValueError("a processor raised")


class OnlyEnds(SpanProcessor):
    def __init__(self, run: Run) -> None:
        self._run = run

    def on_end(self, span: ReadableSpan) -> None:
        self._run.note(f"only ends {span.name!r}")


class Duck:
    """No SpanProcessor by class."""

    def __init__(self, run: Run) -> None:
        self._run = run

    def __getattr__(self, name: str) -> Callable[..., bool]:
        if name not in ("on_start", "_on_ending", "on_end", "shutdown", "force_flush"):
            raise AttributeError(name)

        def noting(*args: Any, **options: Any) -> bool:
            self._run.note(f"duck.{name} {len(args)} {list(options)}")
            return True

        return noting


def cast(run: Run) -> dict[str, Any]:
    """The names that a program's lines may use."""
    tokens: list[Any] = []

    def attach(span: Any) -> None:
        tokens.append(context_api.attach(trace.set_span_in_context(span)))

    def detach() -> None:
        if tokens:
            context_api.detach(tokens.pop())

    def leave(manager: Any, given: BaseException | None) -> Any:
        error = given and names.raised(given)
        return manager.__exit__(type(error) if error else None, error, error.__traceback__ if error else None)

    def patch(span: Any, method: str) -> None:
        original = getattr(span, method)

        def patched(*args: Any, **options: Any) -> Any:
            run.note(f"patched {method}")
            return original(*args, **options)

        setattr(span, method, patched)

    own: dict[str, Callable[..., Any]] = {
        "sampler": lambda *args, **options: Noting(run, *args, **options),
        "recording": lambda *args: Recording(run, *args),
        "doing": lambda **lines: Doing(run, **lines),
        "Raising": lambda: Raising(run, Decision.DROP),
        "raising": lambda method: RaisingProcessor(run, **{method: "raise"}),
        "only_ends": lambda: OnlyEnds(run),
        "duck": lambda: Duck(run),
        "add": run.add,
        "look": lambda span: run.note(run.look(span)),
        "look_inside": lambda span: run.note(run.look_inside(span)),
        "note": run.note,
        "configure": lambda *disabled: lambda scope: sdk._TracerConfig(is_enabled=scope.name not in disabled),
    }
    functions = {"attach": attach, "detach": detach, "leave": leave, "patch": patch}
    return {**vars(names), **own, **functions, "box": ["mutable"]}
