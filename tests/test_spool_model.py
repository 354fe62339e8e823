"""A spool, its crashes and its heirs, in any order, against a list of what has to be there."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from otlpfast._spool import Spool

from .spooling import crash, folders, posix

_SETTINGS = {"min_free_bytes": 0, "segment_bytes": 250}
Waiting = tuple[int, bytes, int]
"""When it came, the request, how many spans."""


class Model(RuleBasedStateMachine):
    """Two spools in one directory. A record waits in one of them, or in a folder that nobody holds."""

    @initialize()
    def start(self) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="otlpfast-spool-"))
        self.number = 0
        self.spools: list[Spool] = []
        self.waiting: list[list[Waiting]] = [[], []]  # own and adopted, of each spool
        self.orphaned: list[Waiting] = []
        self.spools = [Spool(self.directory, **_SETTINGS) for _ in range(2)]

    def teardown(self) -> None:
        for spool in getattr(self, "spools", ()):
            spool.close()
        if hasattr(self, "directory"):
            shutil.rmtree(self.directory)

    which = st.integers(0, 1)

    @rule(which=which, sizes=st.lists(st.integers(0, 120), min_size=1, max_size=3), spans=st.integers(0, 9))
    def append(self, which: int, sizes: list[int], spans: int) -> None:
        self.number += 1
        parts = [b"%d " % self.number, *(bytes([number]) * size for number, size in enumerate(sizes))]
        assert self.spools[which].append(parts, spans)
        self.waiting[which].append((self.number, b"".join(parts), spans))

    @precondition(lambda self: any(self.waiting))
    @rule(which=which, number=st.integers(1, 4))
    def deliver(self, which: int, number: int) -> None:
        for _ in range(number):
            record = self.spools[which].oldest()
            if not self.waiting[which]:
                assert record is None
                return
            assert record is not None
            first = min(self.waiting[which])
            assert (record.data, record.count) == first[1:]
            self.spools[which].acknowledge(record)
            self.waiting[which].remove(first)

    @rule(which=which)
    def look_and_sync(self, which: int) -> None:
        record = self.spools[which].oldest()
        assert (record is not None) == bool(self.waiting[which])
        self.spools[which].sync()
        assert self.spools[which].expire() == 0

    @rule(which=which)
    def adopt(self, which: int) -> None:
        assert self.spools[which].adopt() == len(self.orphaned)
        self.waiting[which] += self.orphaned
        self.orphaned = []

    # More folders than one spool adopts at a time are for another test.
    @precondition(lambda self: len(folders(self.directory)) < 16)
    @rule(which=which, end=st.sampled_from([Spool.close, crash]), interrupted=st.booleans())
    def end_and_start_anew(self, which: int, end: Callable[[Spool], None], interrupted: bool) -> None:
        own = self.spools[which]._own
        if interrupted and end is crash and own is not None and own.segments:
            # A record that was not written to its end.
            with open(self.directory / own.name / own.segments[-1].name, "ab") as file:
                file.write(b"\xf5SP\xfa torn")
        end(self.spools[which])
        self.orphaned += self.waiting[which]
        self.waiting[which] = []
        self.spools[which] = Spool(self.directory, **_SETTINGS)

    @invariant()
    def sums(self) -> None:
        for spool, waiting in zip(getattr(self, "spools", ()), self.waiting, strict=True):
            assert spool.records == len(waiting)
            assert spool.spans == sum(spans for _, _, spans in waiting)
            assert spool.nbytes == sum(len(request) for _, request, _ in waiting)
            assert spool.stats()["corrupt"] == spool.stats()["refused"] == 0

    @invariant()
    def a_file_for_each_segment_and_no_other(self) -> None:
        for folder in (folder for spool in getattr(self, "spools", ()) for folder in spool._folders()):
            files = {path.name for path in (self.directory / folder.name).glob("*.segment")}
            assert files == {segment.name for segment in folder.segments}


TestModel = posix(Model.TestCase)
TestModel.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
