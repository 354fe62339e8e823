"""Profiles in pprof's format: as its own messages and ``go tool pprof`` understand them, and back again."""

from __future__ import annotations

import gzip
import os
import random
import re
import shutil
import signal
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otlpfast.profiling import Frame, Profile, Sample, ValueType, _pprof_reading

from .profiles import CPU, DECODE, HEAP, MAIN, OTHER_TRACE, RENDER, SHOP, TRACE, Proto, cpu, proto

PATIENCE = 300.0  # seconds: Go may build its pprof first


def text_of(message: Any, number: int) -> str:
    return str(message.string_table[number])


def test_each_string_function_and_location_is_there_once() -> None:
    made = proto(SHOP.to_pprof())
    assert len(set(made.string_table)) == len(made.string_table)
    assert made.string_table[0] == ""
    assert len(made.function) == 7  # two lines of walk are two locations of one function
    assert len(made.location) == 8
    assert {location.line[0].line for location in made.location} == {20, 33, 52, 60, 340, 77, 8, 9}
    [mapping] = made.mapping
    assert mapping.has_functions and mapping.has_filenames and mapping.has_line_numbers


def test_what_a_profile_says_about_itself() -> None:
    made = proto(SHOP.to_pprof())
    types = [(text_of(made, kind.type), text_of(made, kind.unit)) for kind in made.sample_type]
    assert types == [("samples", "count"), ("cpu", "nanoseconds")]
    assert text_of(made, made.default_sample_type) == "cpu"
    assert (text_of(made, made.period_type.type), made.period) == ("cpu", 10_000_000)
    assert (made.time_nanos, made.duration_nanos) == (SHOP.time_unix_nano, SHOP.duration_nanos)
    assert [text_of(made, number) for number in made.comment][1:] == ["CPU time of each thread."]


def test_samples_with_labels_of_both_kinds() -> None:
    made = proto(SHOP.to_pprof())
    assert [list(sample.value) for sample in made.sample] == [list(sample.values) for sample in SHOP.samples]
    labels = [
        {text_of(made, label.key): text_of(made, label.str) or label.num for label in sample.label}
        for sample in made.sample
    ]
    assert labels == [dict(sample.labels) for sample in SHOP.samples]


def test_functions_have_the_names_that_viewers_group_by() -> None:
    made = proto(SHOP.to_pprof())
    names = {
        text_of(made, function.name): (text_of(made, function.filename), function.start_line)
        for function in made.function
    }
    assert names["json.decoder.JSONDecoder.decode"] == (DECODE.filename, 330)
    assert names["views.<lambda>"] == ("/srv/shop/views.py", 60)
    assert {"manage.main", "views.Orders.get", "orm.query.Query.all"} <= set(names)


def test_the_same_profile_gives_the_same_bytes() -> None:
    data = SHOP.to_pprof()
    assert data == Profile.from_pprof(data).to_pprof()
    assert data[4:8] == bytes(4)  # no time in gzip's header


def test_what_is_written_is_read_again() -> None:
    assert Profile.from_pprof(SHOP.to_pprof()) == SHOP
    assert Profile.from_pprof(gzip.decompress(SHOP.to_pprof())) == SHOP
    mutex = replace(SHOP, kind="mutex", default_type="", comments=(), period_type=None, duration_nanos=0)
    assert Profile.from_pprof(mutex.to_pprof()) == mutex


INTS = st.integers(-(2**63), 2**63 - 1)
FRAMES = st.builds(
    Frame,
    st.text(),
    st.one_of(st.text(), st.sampled_from(["/a/b.py", "<string>", "<frozen os>", "/x/site-packages/p/q.py"])),
    INTS,
    INTS,
)
LABELS = st.dictionaries(st.text(), st.one_of(st.text(), INTS), max_size=3)


@st.composite
def profiles(draw: Callable[[Any], Any]) -> Profile:
    types = draw(st.lists(st.builds(ValueType, st.text(), st.text()), min_size=1, max_size=4))
    frames = draw(st.lists(FRAMES, min_size=1, max_size=6))
    stacks = st.lists(st.sampled_from(frames), max_size=6).map(tuple)
    values = st.tuples(*[INTS for _ in types])
    labels = LABELS.map(lambda pairs: tuple(sorted(pairs.items())))
    return Profile(
        draw(st.text()),
        tuple(types),
        tuple(draw(st.lists(st.builds(Sample, stacks, values, labels), max_size=6))),
        draw(INTS),
        draw(INTS),
        draw(st.text()),
        draw(st.none() | st.builds(ValueType, st.text(), st.text())),
        draw(INTS),
        tuple(draw(st.lists(st.text(), max_size=2))),
    )


@given(profiles())
def test_any_profile_is_read_again(profile: Profile) -> None:
    assert Profile.from_pprof(profile.to_pprof()) == profile
    made = proto(profile.to_pprof())
    assert [list(sample.value) for sample in made.sample] == [
        list(sample.values) for sample in profile.samples
    ]


def test_what_utf8_has_no_bytes_for_is_replaced() -> None:
    frame = Frame("f\udc80", "/srv/\ud800.py", 1, 1)
    sample = Sample((frame,), (1, 1), (("k\udfff", "v\udfff"), ("large", 2**70)))
    [read] = Profile.from_pprof(replace(SHOP, samples=(sample,)).to_pprof()).samples
    assert read.stack == (Frame("f\ufffd", "/srv/\ufffd.py", 1, 1),)
    assert read.labels == (("k\ufffd", "v\ufffd"), ("large", str(2**70)))


def test_of_others_inlined_functions_and_bare_addresses() -> None:
    texts = ["", "cpu", "ns", "inner", "_Z5innerv", "a.cc", "outer", "libc.so", "bytes", "kb"]
    message = Proto(string_table=texts)
    message.sample_type.add(type=1, unit=2)
    message.mapping.add(id=7, filename=7)
    for number, name in ((1, 3), (2, 6)):
        message.function.add(id=number, name=name, system_name=4, filename=5, start_line=number)
    lines = message.location.add(id=300).line
    lines.add(function_id=1, line=11)
    lines.add(function_id=2, line=12)
    message.location.add(id=5, mapping_id=7, address=0xDEAD)
    sample = message.sample.add(location_id=[300, 5], value=[42])
    sample.label.add(key=8, num=64, num_unit=9)
    profile = Profile.from_pprof(message.SerializeToString())
    stack = Frame("inner", "a.cc", 11, 1), Frame("outer", "a.cc", 12, 2), Frame("0xdead", "libc.so", 0)
    assert profile.samples == (Sample(stack, (42,), (("bytes", 64),)),)
    assert [frame.name for frame in stack] == ["inner", "outer", "libc.0xdead"]
    assert (profile.kind, profile.total()) == ("cpu", 42)
    # Numbers one by one, as proto2 writes them: fields 1 and 2 of a sample.
    loose = bytes((0x12, 0x07, 0x08, 0xAC, 0x02, 0x08, 0x05, 0x10, 0x2A))
    message.ClearField("sample")
    read = Profile.from_pprof(message.SerializeToString() + loose)
    assert read.samples == (Sample(stack, (42,)),)


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"", "no table of strings"),
        (b"<html>not found</html>", "no pprof profile|no protobuf message"),
        (b"\x1f\x8b garbage", "damaged"),
        (SHOP.to_pprof()[:-20], "cut off"),
        (gzip.compress(b"\x32\x00"), "no value type"),
        (gzip.compress(b"\x32\x00\x0a\x02\x08\x09"), "refers to what it does not have"),
        (gzip.compress(b"\x32\x00\x0a\x00\x12\x02\x08\x09"), "0 values of 1 types"),
        (gzip.compress(b"\x32\x00\x0a\x00\x12\x04\x08\x09\x10\x01"), "refers to what it does not have"),
        (gzip.compress(b"\x32\x00\x08\x01"), "a number where"),
        (gzip.compress(b"\x32\x00\x0a\x02\x0a\x00"), "a text where a number belongs"),
        (gzip.compress(b"\x32\x00\x0a\x00\x12\x0d\x12\x0b" + b"\xff" * 11), "a number does not end"),
        (gzip.compress(bytes(200 << 20), 1), "more than 128 MiB"),
        (
            gzip.compress(b"\x32\x00\x0a\x00\x6a\x80\x80\x80\x01" + bytes(2 << 20), 1),
            "more than 1,048,576 bytes",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_no_profile_is_refused(data: bytes, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        Profile.from_pprof(data)


def test_a_default_type_that_is_none_of_its_types_is_the_last() -> None:
    read = Profile.from_pprof(replace(SHOP, default_type="watts").to_pprof())
    assert read.top().value_type == read.value_types[-1]


def test_a_profile_that_is_not_compressed_has_the_same_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_pprof_reading, "MAX_BYTES", 1 << 20)
    with pytest.raises(ValueError, match="a profile of more than 1 MiB"):
        Profile.from_pprof(bytes((1 << 20) + 1))


def test_few_bytes_can_not_become_many_fields(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_pprof_reading, "MAX_FIELDS", 1_000)
    with pytest.raises(ValueError, match="more than 1,000 fields"):
        Profile.from_pprof(b"\x48\x01" * 1_001)


def test_few_bytes_can_not_become_many_frames() -> None:
    message = Proto(string_table=["", "f"])
    message.sample_type.add(type=1)
    message.function.add(id=1, name=1)
    lines = message.location.add(id=1).line
    for _ in range(10_000):
        lines.add(function_id=1)
    message.sample.add(location_id=[1] * 10_000, value=[1])
    with pytest.raises(ValueError, match="more than 16,777,216 frames"):
        Profile.from_pprof(message.SerializeToString())


@given(st.data())
def test_damage_is_a_profile_or_a_value_error(data: st.DataObject) -> None:
    octets = bytearray(gzip.decompress(SHOP.to_pprof()))
    for _ in range(data.draw(st.integers(1, 4))):
        octets[data.draw(st.integers(0, len(octets) - 1))] = data.draw(st.integers(0, 255))
    try:
        read = Profile.from_pprof(bytes(octets))
    except ValueError as error:
        assert str(error)
    else:
        read.top()


needs_go = pytest.mark.skipif(not shutil.which("go"), reason="no go")


def environment(directory: Path) -> dict[str, str]:
    return {**os.environ, "PPROF_TMPDIR": str(directory), "TZ": "UTC"}


def pprof(path: Path, *options: str) -> str:
    """What ``go tool pprof`` prints about a file."""
    command = ["go", "tool", "pprof", "-symbolize=none", *options, str(path)]
    ran = subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        env=environment(path.parent),
        cwd=path.parent,
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


@pytest.fixture(name="shop")
def shop_fixture(tmp_path: Path) -> Path:
    return SHOP.save(tmp_path / "shop.pb.gz")


Row = tuple[str, ...]
SHOWING = re.compile("^Showing nodes .*$", re.MULTILINE)


def rows(table: str) -> dict[str, Row]:
    """Of each function flat, flat %, cum, cum %."""
    found = {}
    for line in table.partition("cum%\n")[2].splitlines():
        flat, flat_share, _, cum, cum_share, name, *_ = line.split()
        found[name] = (flat, flat_share, cum, cum_share)
    return found


def random_profile(types: tuple[ValueType, ...], seed: int, *, negative: bool) -> Profile:
    """Of 60 functions that also call themselves, and values of very different sizes."""
    chance = random.Random(seed)
    frames = [Frame(f"f{n}", f"/srv/shop/m{n % 7}.py", n + 5, n + 1) for n in range(60)]
    samples = []
    for _ in range(400):
        stack = tuple(frames[int(chance.triangular(0, 60, 5))] for _ in range(chance.randrange(1, 12)))
        sign = chance.choice((1, -1)) if negative else 1
        samples.append(Sample(stack, tuple(sign * int(chance.paretovariate(0.4)) for _ in types)))
    return Profile("random", types, tuple(samples), 1).merge()  # equal stacks once, as profilers give them


@needs_go
@pytest.mark.parametrize("types", [CPU, HEAP], ids=["cpu", "heap"])
@pytest.mark.parametrize("negative", [False, True], ids=["profile", "difference"])
def test_numbers_are_those_of_go_tool_pprof(
    tmp_path: Path, types: tuple[ValueType, ...], negative: bool
) -> None:
    profile = random_profile(types, 7, negative=negative)
    path = profile.save(tmp_path / "random.pb.gz")
    for kind, _ in types:
        options = (f"-sample_index={kind}", "-nodefraction=0", "-edgefraction=0", "-nodecount=1000")
        theirs, ours = pprof(path, "-top", *options), str(profile.top(1000, kind))
        assert rows(ours) == rows(theirs)
        assert SHOWING.findall(ours) == SHOWING.findall(theirs)


@needs_go
def test_top(shop: Path) -> None:
    theirs, ours = pprof(shop, "-top", "-nodefraction=0"), str(SHOP.top(100))
    assert "Type: cpu" in theirs and "CPU time of each thread." in theirs
    duration = "Duration: 10s, Total samples = 7.51s (75.10%)"
    assert duration in theirs and duration in ours
    assert rows(theirs) == rows(ours)
    assert rows(theirs)["views.<lambda>"] == ("1.23s", "16.38%", "1.23s", "16.38%")
    # By lines their place is there as well, as in ours.
    lines = pprof(shop, "-top", "-lines", "-nodefraction=0")
    for row in SHOP.top(100, granularity="lines").rows:
        assert f"{row.function} {row.filename}:{row.line}" in lines


@needs_go
def test_tags_and_what_one_request_burned(shop: Path) -> None:
    tags = pprof(shop, "-tags")
    assert TRACE in tags and OTHER_TRACE in tags and "attempt" in tags
    focused = rows(pprof(shop, "-top", f"-tagfocus=trace_id={TRACE}", "-nodefraction=0"))
    assert set(focused) == {"views.render", "views.<lambda>", "views.Orders.get", "manage.main"}
    alone = SHOP.focus(trace_id=TRACE)
    assert {name: row[0::2] for name, row in focused.items()} == {
        name: row[0::2] for name, row in rows(str(alone.top())).items()
    }


@needs_go
def test_traces_peek_and_list(shop: Path, tmp_path: Path) -> None:
    traces = pprof(shop, "-traces")
    assert traces.index("json.decoder.JSONDecoder.decode") and f"trace_id:  {TRACE}" in traces
    peek = pprof(shop, "-peek=views.render$")
    assert re.search(r"6\.23s.*views\.Orders\.get", peek)
    assert re.search(r"1\.23s.*views\.<lambda>", peek)
    source = tmp_path / "work.py"
    source.write_text("def work():\n    total = 0\n    total += 1  # here\n")
    frame = Frame("work", str(source), 3, 1)
    listed = pprof(cpu(((frame,), 5, ())).save(tmp_path / "work.pb.gz"), "-list=work")
    assert re.search(r"50ms\s+50ms\s+3:\s+total \+= 1  # here", listed)


@needs_go
def test_names_of_python_stay_whole(tmp_path: Path) -> None:
    names = ("<lambda>", "f.<locals>.<listcomp>", "A[int].m(x)", "ünï::cödé<T>", '"quoted"')
    frames = [Frame(name, "<string>", 1, 1) for name in names]
    profile = cpu(*(((frame,), 5, ()) for frame in frames))
    # With what pprof does by default: names that look like C++ are made shorter.
    path = profile.save(tmp_path / "names.pb.gz")
    for mode in ("local", "none"):
        theirs = pprof(path, "-top", f"-symbolize={mode}")
        assert all(name in theirs for name in names), theirs


@needs_go
def test_a_difference(tmp_path: Path) -> None:
    later = cpu(((RENDER, MAIN), 70, ()), ((DECODE, MAIN), 5, ()), ((MAIN,), 3, ()))
    earlier = cpu(((RENDER, MAIN), 20, ()), ((DECODE, MAIN), 15, ()), ((MAIN,), 3, ()))
    ours = later.diff(earlier).save(tmp_path / "difference.pb.gz")
    paths = [profile.save(tmp_path / f"{name}.pb.gz") for name, profile in (("a", later), ("b", earlier))]
    theirs = rows(pprof(paths[0], "-top", f"-base={paths[1]}", "-nodefraction=0"))
    found = rows(pprof(ours, "-top", "-nodefraction=0"))
    assert found == theirs == rows(str(later.diff(earlier).top()))
    assert found["views.render"][0] == "500ms" and found["json.decoder.JSONDecoder.decode"][0] == "-100ms"


@needs_go
def test_what_go_has_written_is_read(shop: Path, tmp_path: Path) -> None:
    rewritten = tmp_path / "rewritten.pb.gz"
    pprof(shop, "-proto", f"-output={rewritten}")
    read = Profile.load(rewritten)
    assert set(read.samples) == set(SHOP.samples)
    assert replace(read, samples=()) == replace(SHOP, samples=())


@contextmanager
def served(path: Path) -> Iterator[str]:
    """The address of ``go tool pprof -http``; of the port that it chooses another may have been quicker."""
    command = ["go", "tool", "pprof", "-symbolize=none", "-no_browser", "-http=127.0.0.1:", str(path)]
    for _ in range(5):
        server = subprocess.Popen(
            command, stderr=subprocess.PIPE, text=True, env=environment(path.parent), start_new_session=True
        )
        assert server.stderr is not None
        with server.stderr:
            try:
                for line in server.stderr:
                    if found := re.search(r"http://[\d.:]+", line):
                        yield found[0]
                        return
            finally:
                os.killpg(server.pid, signal.SIGKILL)
                server.wait()
    pytest.fail("go tool pprof -http did not start")


def opened(opener: urllib.request.OpenerDirector, url: str) -> bytes:
    """The address is told before it is listened to."""
    until = time.monotonic() + PATIENCE
    while True:
        try:
            return bytes(opener.open(url, timeout=PATIENCE).read())
        except urllib.error.URLError as error:
            if not isinstance(error.reason, ConnectionRefusedError) or time.monotonic() > until:
                raise
            time.sleep(0.05)


@needs_go
def test_its_web_page(shop: Path) -> None:
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with served(shop) as address:
        for page in ("top", "flamegraph"):
            assert b"views.Orders.get" in opened(direct, f"{address}/ui/{page}")
