"""What programs are made of: lines and blocks of Python, which a run executes and a failure prints."""

from __future__ import annotations

import types
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .run import Run


@dataclass(frozen=True)
class Line:
    """An expression, whose value gets a name if it has a target, or a statement."""

    source: str
    target: str | None = None

    def script(self, indent: str) -> str:
        return indent + (f"{self.target} = {self.source}" if self.target else self.source)

    def __call__(self, run: Run) -> None:
        label = self.script("")
        with run.noting(label):
            value = run.value(self.source)
            if self.target:
                run.names[self.target] = value
            run.note(f"{label}\n  gave {run.render(value)}")


@dataclass(frozen=True)
class Block:
    """``with manager as target:`` and lines in it, the last of which may raise."""

    manager: str
    target: str
    body: tuple[Op, ...]
    error: str | None = None

    def script(self, indent: str) -> str:
        return f"{indent}with {self.manager} as {self.target}:\n{_script(self.body, self.error, indent)}"

    def __call__(self, run: Run) -> None:
        with run.noting(f"with {self.manager}"):
            with run.value(self.manager) as run.names[self.target]:
                run.note(f"with {self.manager} as {run.render(run.names[self.target])}")
                run.inside(self.body, self.error)
            run.note(f"left with {self.manager}")


@dataclass(frozen=True)
class Decorated:
    """``manager`` as the decorator of a function of some flavour, which is called a number of times."""

    manager: str
    flavour: str
    calls: int
    body: tuple[Op, ...]
    error: str | None = None

    def script(self, indent: str) -> str:
        word = "async def" if self.flavour.startswith("async") else "def"
        body = _script(self.body, self.error, indent)
        calls = f"\n{indent}drive(function())" * self.calls
        return f"{indent}@{self.manager}\n{indent}{word} function():  # {self.flavour}\n{body}{calls}"

    def __call__(self, run: Run) -> None:
        make, call = _FLAVOURS[self.flavour]
        with run.noting(f"@{self.manager}"):
            function = run.value(self.manager)(make(run, self.body, self.error))
            run.note(f"@{self.manager} gave {function.__name__} {function.__doc__}")
            for _ in range(self.calls):
                with run.noting(f"@{self.manager} {self.flavour}"):
                    run.note(f"called: {run.render(call(function))}")


@dataclass(frozen=True)
class Generator:
    """A generator with one span around both its halves; later lines resume it, close it or throw into it."""

    target: str
    manager: str
    span: str
    first: tuple[Op, ...]
    second: tuple[Op, ...]
    error: str | None = None

    def script(self, indent: str) -> str:
        inner = indent + "    "
        first, second = _script(self.first, None, inner), _script(self.second, self.error, inner)
        head = f"{indent}def generator():\n{inner}with {self.manager} as {self.span}:\n{first}\n"
        return f"{head}{inner}    yield\n{second}\n{indent}{self.target} = generator()"

    def __call__(self, run: Run) -> None:
        def generator() -> Iterator[str]:
            with run.value(self.manager) as run.names[self.span]:
                run.inside(self.first, None)
                yield "half"
                run.inside(self.second, self.error)

        run.names[self.target] = generator()


Op = Line | Block | Decorated | Generator


def _script(body: tuple[Op, ...], error: str | None, indent: str) -> str:
    lines = [op.script(indent + "    ") for op in body] + ([f"{indent}    raise {error}"] if error else [])
    return "\n".join(lines or [f"{indent}    pass"])


def _plain(run: Run, body: tuple[Op, ...], error: str | None) -> Callable[[], Any]:
    def function() -> str:
        """plain"""
        run.inside(body, error)
        return "returned"

    return function


def _generator(run: Run, body: tuple[Op, ...], error: str | None) -> Callable[[], Any]:
    def function() -> Iterator[str]:
        """generator"""
        yield "one"
        run.inside(body, error)
        yield "two"

    return function


def _coroutine(run: Run, body: tuple[Op, ...], error: str | None) -> Callable[[], Any]:
    async def function() -> str:
        """coroutine"""
        await _pause()
        run.inside(body, error)
        return "awaited"

    return function


def _async_generator(run: Run, body: tuple[Op, ...], error: str | None) -> Callable[[], Any]:
    async def function() -> Any:
        """async generator"""
        yield "one"
        run.inside(body, error)
        yield "two"

    return function


@types.coroutine
def _pause() -> Iterator[None]:
    yield


def _driven(awaitable: Any) -> Any:
    try:
        while True:
            awaitable.send(None)
    except StopIteration as done:
        return done.value


async def _drained(items: Any) -> list[Any]:
    return [item async for item in items]


_FLAVOURS: dict[str, tuple[Callable[..., Any], Callable[[Any], Any]]] = {
    "plain": (_plain, lambda function: function()),
    "generator": (_generator, lambda function: list(function())),
    "async coroutine": (_coroutine, lambda function: _driven(function())),
    "async generator": (_async_generator, lambda function: _driven(_drained(function()))),
}


@dataclass(frozen=True, repr=False)
class Program:
    """How the provider is made, in sources, and what is done with it."""

    body: tuple[Op, ...]
    options: Mapping[str, str] = field(default_factory=dict)
    variables: Mapping[str, str] = field(default_factory=dict)
    random_ids: bool = False
    own: str | None = "batch"  # otlpfast's processor: "batch", "simple" or none
    metrics: bool = False

    def __repr__(self) -> str:
        variables = [f"os.environ[{name!r}] = {value!r}" for name, value in self.variables.items()]
        options = ", ".join(f"{name}={source}" for name, source in self.options.items())
        extras = f"  # exports: {self.own}{', with metrics' * self.metrics}{', random ids' * self.random_ids}"
        body = [op.script("") for op in self.body]
        return "\n".join(["", *variables, f"provider = TracerProvider({options}){extras}", *body, ""])
