"""The faults that a pipeline meets, each as a scenario that otlpfast and the stock SDK are driven through.

A scenario takes a pipeline, puts its application into a process of its own and does to it what its row of the
table says, with real sockets, processes and signals. What it gives is an Outcome: figures, what was promised
and not kept, and a sentence. `tests/test_faults.py` has otlpfast keep every promise; `python -m tests.faults`
runs both pipelines and writes docs/reliability.md.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .application import Application, Ended

SIDES = ("otlpfast", "SDK")


@dataclass
class Outcome:
    """What a pipeline did with a fault: sentences for the table, and the promises that it broke."""

    found: list[str] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)

    def say(self, sentence: str, **facts: Any) -> None:
        """Adds to what was found, and figures that it comes from."""
        self.found.append(sentence)
        self.facts.update(facts)

    def promise(self, kept: object, what: str) -> None:
        """Notes a promise that was not kept."""
        if not kept:
            self.broken.append(what)

    def ended_well(self, ended: Ended) -> bool:
        """Whether the application's process ended by itself and with a value; says so if it did not."""
        self.promise(ended.well, "the application ends by itself, and well")
        if not ended.well:
            self.say(ended.how)
        return ended.well

    def delivery(self, delivered: int, ended: int, *, all_of_them: bool = True) -> None:
        """Says how many spans of how many arrived; by default all of them have to."""
        self.say(f"{delivered:,} of {ended:,} delivered", delivered=delivered, ended=ended)
        if all_of_them:
            self.promise(delivered == ended, "all are delivered")

    def account(self, stats: dict[str, Any] | None, **expected: Any) -> None:
        """Promises an account that balances, in which each figure is what is expected of it.

        A pipeline that keeps none breaks that promise where spans were lost.
        """
        lost = self.facts.get("delivered", 0) < self.facts.get("ended", 1)
        if stats is None:
            self.promise(not lost, "what is lost is counted")
            return
        before = len(self.broken)
        gone = sum(stats["dropped"].values())
        balance = stats["exported"] + stats["rejected"] + stats["spooled"] + stats["queued"] + gone
        self.promise(stats["ended"] == balance, f"the account balances: {stats}")
        for name, value in expected.items():
            found = stats[name] if name in stats else stats["dropped"].get(name, 0)
            self.promise(found == value, f"{name} is {value} in {stats}")
        if lost and len(self.broken) == before:
            self.say("the loss is counted")

    @property
    def text(self) -> str:
        return "; ".join(self.found)


def counted(number: int, noun: str) -> str:
    """A number with its noun, as one would say it."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


Scenario = Callable[["Pipeline"], Outcome]


@dataclass(frozen=True)
class Fault:
    """A row of the table."""

    row: str
    title: str
    promised: str
    scenario: Scenario
    compiled: bool = False  # whether it is a property of the compiled core alone
    needs: tuple[str, ...] = ()  # modules without which it can't be run

    def __str__(self) -> str:
        return f"{self.row}: {self.title}"


FAULTS: dict[str, Fault] = {}


def fault(row: str, title: str, promised: str, **more: Any) -> Callable[[Scenario], Scenario]:
    """Makes a scenario a row of the table."""

    def register(scenario: Scenario) -> Scenario:
        assert row not in FAULTS
        FAULTS[row] = Fault(row, title, promised, scenario, **more)
        return scenario

    return register


@dataclass(frozen=True)
class Pipeline:
    """One of the two sides, to put an application on.

    thorough: whether an outage lasts as long as one does, or as short as a test wants it.
    """

    side: str
    thorough: bool = False

    def lasting(self, short: float, long: float) -> float:
        return long if self.thorough else short

    def run(self, work: Callable[..., Any], *arguments: Any, **more: Any) -> Ended:
        """Runs ``work(application, *arguments)`` in a process of its own, to its end."""
        from .application import start

        return start(self.side, work, *arguments, **more).end()

    def start(self, work: Callable[..., Any], *arguments: Any, **more: Any) -> Application:
        """The same, without waiting for the end."""
        from .application import start

        return start(self.side, work, *arguments, **more)
