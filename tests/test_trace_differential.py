"""otlpfast's TracerProvider does what the SDK's does, whatever the program.

``OTLPFAST_EXAMPLES=5000`` searches longer than a run of the whole suite can bear.
"""

from __future__ import annotations

import os
import re
from collections.abc import Hashable
from itertools import product

import pytest
from hypothesis import Phase, currently_in_test_context, event, given, settings

from otlpfast import _given

from .differential import Compared, compare, names
from .differential.cast import cast
from .differential.drawing import programs
from .differential.ops import Block, Decorated, Line, Op, Program
from .differential.run import Run, raising
from .differential.sources import ALLOWED, ENDED, ERRORS, FIELDS, INSIDE, LIVE, MANAGING, STATUSES, VALUES

EXAMPLES = int(os.environ.get("OTLPFAST_EXAMPLES", "0"))
START = Line("provider.get_tracer('lib', '1.0')", "t0")
FIXED_IDS = {"id_generator": "Ids()"}


# Failures are shrunk, but not explained: the script says it all.
examples = settings(
    max_examples=EXAMPLES or settings().max_examples,
    phases=(Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink),
    report_multiple_bugs=False,
)


def same(program: Program) -> Compared:
    """Both providers do the same."""
    compared = compare(program, cast)
    if compared.cut and currently_in_test_context():
        event(f"the SDK refused {compared.cut[:60]}")
    difference = compared.difference()
    if difference:
        pytest.fail(f"{program!r}\n{difference}", pytrace=False)
    return compared


def all_the_same(*body: Op, **options: str) -> None:
    """Both do the same in all of a program, without others' processors and with them."""
    for others in ([], [Line("add(recording('p', 'private'))")]):
        assert not same(Program((*others, START, *body), {**FIXED_IDS, **options})).cut


class TestRandomPrograms:
    @examples
    @given(programs(foreign=False))
    def test_what_is_exported_is_the_same(self, program: Program) -> None:
        same(program)

    @examples
    @given(programs())
    def test_what_processors_of_others_see_and_change_is_the_same(self, program: Program) -> None:
        same(program)

    @examples
    @given(programs(foreign=False, inside=True))
    def test_underscore_fields_are_the_same_and_may_be_set(self, program: Program) -> None:
        same(program)

    @examples
    @given(programs(inside=True))
    def test_underscore_fields_and_processors_of_others(self, program: Program) -> None:
        same(program)

    @examples
    @given(programs(random_ids=True))
    def test_spans_with_random_ids_have_the_same_relatives(self, program: Program) -> None:
        same(program)


class TestEveryCase:
    """What random programs may miss, one after the other."""

    @pytest.mark.parametrize("limits", ["None", "sdk.SpanLimits(max_attribute_length=2)"])
    def test_every_value_as_an_attribute(self, limits: str) -> None:
        lines = [Line("t0.start_span('span', attributes={'a': 1})", "s")]
        for number, value in enumerate(VALUES):
            nested = f"{{'a': {value}, 'b': [{value}], 'c': {{'d': {value}}}}}"
            lines += [Line(f"s.set_attribute('{number}', {value})"), Line(f"s.add_event('e', {nested}, 5)")]
        all_the_same(*lines, Line("s.end()"), span_limits=limits)

    def test_every_value_that_can_be_one_as_a_key(self) -> None:
        keys = [value for value in VALUES if isinstance(eval(value, vars(names) | {"box": []}), Hashable)]
        keys.remove("NotImplemented")  # the SDK asks whether a key is true, which it is not to be asked
        lines = [Line("t0.start_span('span')", "s"), *(Line(f"s.set_attribute({key}, 1)") for key in keys)]
        lines += [Line(f"s.set_attributes({{{key}: 1}})") for key in keys]
        all_the_same(*lines, *(Line(f"s.set_attribute('k', {{{key}: 1}})") for key in keys), Line("s.end()"))

    def test_every_status_after_every_other(self) -> None:
        lines = []
        for first, second in product(STATUSES, STATUSES):
            lines.append(Line("t0.start_span('span')", "s"))
            lines += [Line(f"s.set_status({status})") for status in (first, second)]
            lines += [Line("s.status"), Line("s.end(5)")]
        all_the_same(*lines)

    @pytest.mark.parametrize("error", ERRORS)
    def test_every_exception_out_of_every_block(self, error: str) -> None:
        blocks: list[Op] = [Line("t0.start_span('span')", "s"), Line(f"s.record_exception({error})")]
        for record, status, ends in ((1, 1, 1), (1, 0, 1), (0, 1, 0), (0, 0, 0)):
            flags = f"record_exception={bool(record)}, set_status_on_exception={bool(status)}"
            current = f"t0.start_as_current_span('span', {flags}, end_on_exit={bool(ends)})"
            uses = f"use_span(t0.start_span('span'), {flags}, end_on_exit={bool(ends)})"
            for manager in (current, uses, f"t0.start_span('span', {flags})"):
                blocks.append(Block(manager, "s", (Line("s.set_attribute('a', 1)"),), error))
            inner = Block(current, "s2", (), error)
            blocks.append(Block(current, "s", (inner, Line("get_current_span()"))))
            for flavour in ("plain", "generator", "async coroutine", "async generator"):
                blocks.append(Decorated(current, flavour, 2, (Line("get_current_span()"),), error))
        all_the_same(*blocks)

    @pytest.mark.parametrize("limit", [0, 1, 2, 3, -1])
    def test_every_limit_with_more_and_fewer(self, limit: int) -> None:
        link = "Link(SpanContext(3, {}, True), {{'a': 'text', 'b': 1, 'c': 2}})"
        lines = []
        for number in range(5):
            attributes = "{" + ", ".join(f"'k{n}': 'text'" for n in range(number)) + "}"
            links = f"[{', '.join(link.format(n + 1) for n in range(number))}]"
            lines.append(Line(f"t0.start_span('span', attributes={attributes}, links={links})", "s"))
            lines += [Line(f"s.set_attribute('k{n}', {n})") for n in (0, 4, 0, 1)]
            lines += [Line("s.set_attributes({'k2': 1, 'k0': 2, 'x': 3})"), Line("s.set_attributes({})")]
            lines += [Line(f"s.add_event('e{n}', {attributes}, {n})") for n in range(number)]
            lines += [
                Line("s.add_link(SpanContext(3, 9, True), {'a': 1, 'b': 2})"),
                Line("look(s)"),
                Line("s.end()"),
            ]
        all_the_same(*lines, span_limits=f"sdk.SpanLimits({', '.join([str(limit)] * 8)})")

    @pytest.mark.parametrize("line", MANAGING)
    def test_every_line_that_changes_a_provider_or_tracer(self, line: str) -> None:
        spans = (
            Line("t0.start_span('span', attributes={'a': 1, 'b': 2})", "s"),
            Block("t0.start_as_current_span('current')", "s2", (Line("s2.add_event('e')"),) * 2),
            Line("s.end()"),
        )
        managing = Line(re.sub(r"\btracer\b", "t0", line))
        all_the_same(Line("t0.start_span('before')", "s0"), managing, *spans)
        all_the_same(*spans, managing, *spans)

    @pytest.mark.parametrize("line", INSIDE)
    def test_every_line_that_knows_the_fields_at_any_time_of_a_span(self, line: str) -> None:
        lines = [
            Line("t0.start_span('span', attributes={'a': 1}, links=[Link(SpanContext(5, 6, True))])", "s")
        ]
        changes = [Line(f"s.{change}") for change in CHANGES]
        inside = Line(re.sub(r"\bspan\b", "s", line))
        for before in (0, 3, len(changes)):
            ended = [Line("s.end()"), Line("look(s)")]
            all_the_same(*lines, *changes[:before], inside, *changes[before:], *ended)
        block = Block("use_span(s, end_on_exit=True)", "s2", (*changes, inside), "ValueError('x')")
        all_the_same(*lines, block, Line("look_inside(s)"))

    @pytest.mark.parametrize(
        ("method", "lines"),
        [("start", ALLOWED + FIELDS + LIVE), ("ending", ALLOWED + FIELDS + LIVE), ("end", FIELDS + ENDED)],
        ids=["start", "ending", "end"],
    )
    def test_every_change_by_a_processor_of_others(self, method: str, lines: list[str]) -> None:
        spans = [Line("t0.start_span('span', attributes={'a': 1, 'b': [2]})", "s")]
        spans += [Line(f"s.{change}") for change in CHANGES] + [Line("s.end()")]
        for line in lines:
            add = Line(f'add(doing({method}="{line}"))')
            all_the_same(add, *spans)
            all_the_same(*spans[:2], add, *spans[2:])


CHANGES = [
    *("set_attribute('a', 'again')", "add_event('e', {'k': [1]}, 5)", "set_status(StatusCode.ERROR, 'bad')"),
    *(
        "add_link(SpanContext(7, 8, True), {'k': 1})",
        "update_name('new')",
        "record_exception(ValueError('x'))",
    ),
]

# The SDK refuses each of these with an exception. otlpfast takes what it can, or ignores it and logs that.
REPLACED = {
    "s.set_attribute('k', Speechless())": "<unprintable Speechless object>",
    "s.set_attribute('k', [{'k': Speechless()}])": "<unprintable Speechless object>",
    "s.set_attributes({'k': Speechless()})": "<unprintable Speechless object>",
    "s.add_link(SpanContext(1, 2, True), {'k': Speechless()})": "<unprintable Speechless object>",
    "s.set_attribute('k', cyclic)": "<cyclic reference>",
    "s.add_event('event', {'k': cyclic})": "<cyclic reference>",
    "s.record_exception(Mute())": "<unprintable Mute object>",
    "s.set_attributes(None)": "survivor",
    "t0.start_span('span', attributes={'k': Speechless()})": "survivor",
}
IGNORED = [
    "s.set_attributes([('k', 1)])",
    "s.set_attributes(Unreadable())",
    "s.add_event('event', 'text')",
    "s.add_event('event', Unreadable())",
    "s.add_link('no context')",
    "s.add_link(SpanContext(1, 2, True), [1])",
    "s.record_exception('text')",
    "s.record_exception(ValueError('x'), ['k'])",
    "t0.start_span('span', attributes=[('k', 1)])",
    "t0.start_span('span', attributes='text')",
    "t0.start_span('span', links=['link'])",
    "t0.start_span('span', links=5)",
    "t0.start_span('span', links=[Link(SpanContext(1, 2, True), 'text')])",
    "t0.start_span('span', context='text')",
    "t0.start_span('span', context=set_span_in_context(Foreign('no context')))",
]
ALONE_OR_NOT = pytest.mark.parametrize(
    "others", [(), (Line("add(recording('p'))"),)], ids=["alone", "watched"]
)


def notes_of(*body: Op, **options: str) -> tuple[list[str], list[str]]:
    """What the SDK's run and otlpfast's noted."""
    program = Program(body, {**FIXED_IDS, **options})
    return Run(program, False, cast)(), Run(program, True, cast)()


class TestWhatTheSDKRefuses:
    @pytest.fixture(autouse=True)
    def _log_anew(self) -> None:
        """As if nothing of the kind had been logged within the last minute."""
        _given._log._kinds.clear()

    @ALONE_OR_NOT
    @pytest.mark.parametrize(("line", "text"), REPLACED.items(), ids=REPLACED)
    def test_what_can_not_be_read_is_replaced(self, line: str, text: str, others: tuple[Op, ...]) -> None:
        exported, _ = self.survived(*others, line=line)
        assert text in exported

    @ALONE_OR_NOT
    @pytest.mark.parametrize("line", IGNORED)
    def test_what_is_of_the_wrong_kind_is_ignored_and_logged(self, line: str, others: tuple[Op, ...]) -> None:
        _, notes = self.survived(*others, line=line)
        assert any(note.startswith("logged otlpfast.trace WARNING") for note in notes)

    def survived(self, *others: Op, line: str) -> tuple[str, list[str]]:
        """What is exported of a span in whose life the line comes, and all notes."""
        span = Line("t0.start_span('survivor', attributes={'before': 1})", "s")
        after = (Line("s.set_attribute('after', 2)"), Line("s.end()"))
        stock, fast = notes_of(*others, START, span, Line(line), *after)
        assert raising(stock), "the SDK takes it now: compare it"
        assert raising(fast) == []
        (exported,) = (note for note in fast if note.startswith("exported") and "survivor" in note)
        assert all(f'key: "{key}"' in exported for key in ("before", "after"))
        return exported, fast

    @pytest.mark.parametrize("options", [{"sampler": "Raising()"}, {"id_generator": "RaisingIds()"}], ids=str)
    def test_a_sampler_or_id_generator_that_raises_stops_nothing(self, options: dict[str, str]) -> None:
        block = Block("t0.start_as_current_span('span')", "s", (Line("s.set_attribute('a', 1)"),))
        stock, fast = notes_of(START, block, Line("t0.start_span('other')"), **options)
        assert len(raising(stock)) == 2
        assert raising(fast) == []
        assert any(note.startswith("logged otlpfast.trace WARNING") for note in fast)

    @pytest.mark.parametrize("method", ["start", "ending", "end"])
    def test_a_processor_that_raises_stops_nobody(self, method: str) -> None:
        processors = (Line(f"add(raising('{method}'))"), Line("add(recording('p', 'calls'))"))
        stock, fast = notes_of(*processors, START, Block("t0.start_as_current_span('span')", "s", ()))
        assert raising(stock)
        assert raising(fast) == []
        calls = [note.split()[0] for note in fast if note.startswith("p.")]
        assert calls == ["p.on_start", "p._on_ending", "p.on_end", "p.shutdown"]
        assert any(note.startswith("exported") for note in fast)


def test_a_difference_is_found_and_told_with_the_line_before() -> None:
    lines = (Line("'the line before'"), Line("type(provider).__module__"))
    difference = compare(Program(lines), cast).difference()
    assert difference is not None
    assert "the line before" in difference
    assert "-  gave 'opentelemetry.sdk.trace'" in difference
    assert "+  gave 'otlpfast.trace'" in difference
