"""Profiles over HTTP: what Go's net/http/pprof answers, asked for by real clients and by Go's own."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import os
import re
import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib.resources import files
from pathlib import Path

import pytest

from otlpfast.profiling import (
    Frame,
    PprofServer,
    Profile,
    Profiler,
    Sample,
    ValueType,
    _native,
    disable_pprof_http,
    enable_pprof_http,
)
from otlpfast.profiling._serving import kinds, site
from otlpfast.profiling._serving.request import Request
from otlpfast.profiling.contention import start_contention
from otlpfast.profiling.cpu import start_cpu

from .collector import PATIENCE
from .exporting import SECRET
from .forks import in_child
from .pages import ask
from .pprof_clients import (
    ANY_PORT,
    COUNTED,
    MOMENTS,
    TEXT,
    TIMED,
    get,
    refusal,
    until,
    wall_in_use,
    wall_is_free,
)
from .starting import python

GO = shutil.which("go")
GO_PATIENCE = 300.0  # seconds: it may build its pprof first


@pytest.fixture(name="server")
def server_fixture() -> Iterator[PprofServer]:
    with enable_pprof_http(ANY_PORT) as served:
        yield served


@pytest.fixture(name="closed")
def closed_fixture() -> Iterator[PprofServer]:
    """One that takes a token."""
    with enable_pprof_http(ANY_PORT, SECRET) as served:
        yield served


# --- routes


def test_the_index_lists_each_profile_with_its_count_and_what_can_be_asked_for(server: PprofServer) -> None:
    index = ask(server.url, "/debug/pprof/")
    assert (index.status, index.headers["content-type"]) == (200, "text/html; charset=utf-8")
    text = index.body.decode()
    rows = dict(
        re.findall(r'<tr data-name="(\w+)">.*?<td class="number count">([^<]+)</td>', text, re.DOTALL)
    )
    assert set(rows) == {*TIMED, *COUNTED, *MOMENTS}
    assert int(rows["threads"]) >= 2 and rows["profile"] == rows["heap"] == "&ndash;"
    for link in re.findall(r'href="([^"]+)"', text):
        if not link.startswith(("#", *TIMED, *COUNTED)):
            assert get(server, link).status == 200, link


@pytest.mark.parametrize("path", ["/", "/debug/pprof"])
def test_the_way_to_the_index(server: PprofServer, path: str) -> None:
    answer = ask(server.url, path)
    assert (answer.status, answer.headers["location"]) == (303, "/debug/pprof/")


@pytest.mark.parametrize("name", [*TIMED, *COUNTED])
def test_a_profile_of_a_time_comes_as_from_go(server: PprofServer, name: str) -> None:
    answer = get(server, f"{name}?seconds=0.1")
    assert answer.status == 200, answer.body
    file = name if name in TIMED else f"{name}-delta"
    assert answer.headers["content-type"] == "application/octet-stream"
    assert answer.headers["content-disposition"] == f'attachment; filename="{file}"'
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert gzip.decompress(answer.body)


@pytest.mark.parametrize("name", MOMENTS)
def test_a_profile_of_this_moment_comes_as_from_go(server: PprofServer, name: str) -> None:
    answer = get(server, name)
    assert (answer.status, answer.headers["content-disposition"]) == (200, f'attachment; filename="{name}"')
    assert Profile.from_pprof(answer.body).value_types
    delta = get(server, f"{name}?seconds=0.1")
    assert delta.headers["content-disposition"] == f'attachment; filename="{name}-delta"'


def test_equal_stacks_are_together_in_a_text_and_each_thread_is_in_a_dump(server: PprofServer) -> None:
    parked = threading.Event()
    threads = [threading.Thread(target=parked.wait, name=f"parked-{number}") for number in range(3)]
    for thread in threads:
        thread.start()
    try:
        together = get(server, "threads?debug=1")
        each = get(server, "goroutine?debug=2")
    finally:
        parked.set()
        for thread in threads:
            thread.join()
    assert together.headers["content-type"] == each.headers["content-type"] == TEXT
    assert re.match(r"threads profile: total \d+\n", together.body.decode())
    assert '\n3 @\n# labels: {"thread":"parked-*"}\n#\tthreading.' in together.body.decode()
    assert all(f'thread "parked-{number}"' in each.body.decode() for number in range(3))


def test_the_command_line_has_no_secrets() -> None:
    code = (
        "import sys, urllib.request\n"
        "from otlpfast.profiling import enable_pprof_http\n"
        "with enable_pprof_http('127.0.0.1:0') as server:\n"
        "    sys.stdout.buffer.write(urllib.request.urlopen(server.url + 'cmdline').read())\n"
    )
    secrets = ("--password", SECRET, f"--api-token={SECRET}", f"http://me:{SECRET}@host/")
    words = python(code, None, "--port", "80", *secrets).stdout.split("\0")
    assert words[-6:] == ["--port", "80", "--password", "***", "--api-token=***", "http://***@host/"]


def test_symbols_are_in_the_profiles_and_there_is_no_trace(server: PprofServer) -> None:
    assert get(server, "symbol").body == get(server, "symbol", "POST").body == b"num_symbols: 0\n"
    status, text = refusal(get(server, "trace"))
    assert status == 404 and "no execution trace" in text


def test_what_is_not_there_is_unknown(server: PprofServer) -> None:
    assert refusal(get(server, "nothing")) == (404, "Unknown profile\n")
    assert refusal(get(server, "heap/"))[0] == 404
    assert refusal(get(server, "static/../http.py"))[0] == 404
    assert refusal(ask(server.url, "/debug"))[0] == 404


def test_a_head_is_answered_at_once_and_nothing_else_is_allowed(server: PprofServer) -> None:
    with wall_in_use():
        head = get(server, "wall?seconds=300", "HEAD")
    assert (head.status, head.body) == (200, b"")
    for method in ("POST", "PUT", "DELETE", "OPTIONS", "PATCH"):
        answer = get(server, "heap", method)
        assert (answer.status, answer.headers["allow"]) == (405, "GET, HEAD")


# --- parameters


@pytest.mark.parametrize(
    ("query", "text"),
    [
        ("profile?seconds=abc", 'invalid value for "seconds" - must be a positive number'),
        ("profile?seconds=0", 'invalid value for "seconds" - must be a positive number'),
        ("profile?seconds=-1", 'invalid value for "seconds" - must be a positive number'),
        ("heap?seconds=nan", 'invalid value for "seconds" - must be a positive number'),
        ("profile?seconds=301", "profile duration exceeds server's WriteTimeout: at most 300 seconds"),
        ("heap?seconds=inf", 'invalid value for "seconds" - must be a positive number'),
        ("heap?seconds=1&debug=1", "seconds and debug params are incompatible"),
        ("threads?debug=3", 'invalid value for "debug" - allowed: 0 (pprof), 1 (text), 2 (full dump)'),
        ("heap?gc=yes", 'invalid value for "gc" - allowed: 0, or 1'),
        ("threads?format=pdf", 'invalid value for "format" - allowed: pprof, svg, speedscope, folded, top'),
        ("threads?format=svg&debug=1", "format and debug params are incompatible"),
        ("wall?trace_id=7", 'invalid value for "trace_id" - must be 32 hexadecimal digits'),
    ],
)
def test_a_wrong_parameter_is_400_with_what_is_allowed(server: PprofServer, query: str, text: str) -> None:
    status, said = refusal(get(server, query))
    assert status == 400 and said.startswith(text)


def test_the_longest_profile_can_be_set() -> None:
    with enable_pprof_http(ANY_PORT, max_seconds=2) as server:
        assert "at most 2 seconds" in refusal(get(server, "wall?seconds=3"))[1]
        assert 'data-max-seconds="2"' in get(server, "").body.decode()


@pytest.mark.parametrize(
    ("form", "kind"),
    [("svg", "image/svg+xml"), ("speedscope", "application/json"), ("folded", TEXT), ("top", TEXT)],
)
def test_other_forms_of_a_profile(server: PprofServer, form: str, kind: str) -> None:
    answer = get(server, f"threads?format={form}")
    assert (answer.status, answer.headers["content-type"]) == (200, kind)
    assert b"enable_pprof_http" in answer.body or b"test_other_forms" in answer.body


LABELLED = Profile(
    "wall",
    (ValueType("samples", "count"),),
    (
        Sample((Frame("mine", "a.py", 1),), (2,), (("trace_id", 32 * "a"),)),
        Sample((Frame("other", "a.py", 2),), (3,), (("trace_id", 32 * "b"),)),
    ),
    0,
)


def test_the_samples_of_one_trace(server: PprofServer, monkeypatch: pytest.MonkeyPatch) -> None:
    kind = kinds.KINDS["wall"]._replace(take=lambda parameters, wait: LABELLED)
    monkeypatch.setitem(kinds.KINDS, "wall", kind)
    answer = get(server, f"wall?format=folded&trace_id={32 * 'A'}")
    assert re.fullmatch(r"(\w+\.)?mine 2\n", answer.body.decode())


def test_what_has_become_more_in_a_time() -> None:
    """Threads begin while it waits."""
    parked = threading.Event()
    threads = [threading.Thread(target=parked.wait, name="parked") for _ in range(3)]

    def wait(seconds: float) -> bool:
        assert seconds == 5
        for thread in threads:
            thread.start()
        return True

    answer = site.Site(None, 300).answer(Request("GET", "/threads", "seconds=5&format=folded", {}, wait))
    parked.set()
    assert answer is not None and answer.status == 200
    event_wait = re.compile(r"threading\.(Event\.)?wait\b")  # CPython 3.10 does not know the class
    [line] = [line for line in answer.body.decode().splitlines() if event_wait.search(line)]
    assert line.endswith(" 3")


# --- engines


@pytest.mark.parametrize("name", TIMED)
def test_a_profile_of_a_time_is_a_run_with_an_id(server: PprofServer, name: str) -> None:
    profile = Profile.from_pprof(get(server, f"{name}?seconds=0.1").body)
    assert any(re.fullmatch(r"otlpfast\.profile\.id=[0-9a-f]{16}", comment) for comment in profile.comments)


def test_two_cpu_profiles_at_once_are_one_too_many(server: PprofServer) -> None:
    recording = start_cpu()
    try:
        text = "Could not enable CPU profiling: cpu profiling already in use\n"
        assert refusal(get(server, "profile?seconds=1")) == (500, text)
    finally:
        recording.stop()
    assert get(server, "profile?seconds=0.05").status == 200


def begun(server: PprofServer) -> socket.socket:
    """A client that waits for a profile of five minutes, which has begun."""
    host, port = server.url.split("/")[2].split(":")
    client = socket.create_connection((host, int(port)), PATIENCE)
    client.sendall(b"GET /debug/pprof/wall?seconds=300 HTTP/1.1\r\nHost: localhost\r\n\r\n")
    until(lambda: not wall_is_free())
    return client


def test_a_client_that_goes_away_ends_its_profile(server: PprofServer) -> None:
    begun(server).close()
    until(wall_is_free)
    assert get(server, "threads").status == 200


def test_a_server_that_is_closed_ends_its_profiles(server: PprofServer) -> None:
    client = begun(server)
    server.close()
    assert client.recv(1) == b""
    client.close()
    until(wall_is_free)


@pytest.mark.parametrize("name", COUNTED)
def test_what_nobody_counts_says_how_it_can_be_had(server: PprofServer, name: str) -> None:
    status, text = refusal(get(server, name))
    assert status == 412 and "?seconds=10" in text and "enable_pprof_http(" in text


def test_engines_that_are_kept_on_are_off_when_the_server_is_closed() -> None:
    with enable_pprof_http(ANY_PORT, heap=True, block_rate=1, mutex_fraction=1) as server:
        kept = [bytes(100_000) for _ in range(100)]
        assert get(server, "block").status == get(server, "mutex").status == 200
        assert get(server, "heap?gc=1&debug=1").body.startswith(b"heap profile: alloc_objects/count ")
        status = json.loads(get(server, "status").body)
        assert _native.sampler is None or (status["heap_bytes"] > 0 and status["counts"]["heap"] > 0)
        del kept
    with enable_pprof_http(ANY_PORT) as server:
        assert [get(server, name).status for name in COUNTED] == [412] * 4


def test_a_profile_for_some_seconds_leaves_alone_what_others_have_on(server: PprofServer) -> None:
    from otlpfast.profiling.heap import heap_recording, start_heap

    with start_heap() as recording:
        assert get(server, "heap?seconds=0.05").status == 200
        assert heap_recording() is recording
        assert get(server, "heap").status == 200
    assert get(server, "heap?seconds=0.05").status == 200
    assert heap_recording() is None


def test_an_engine_that_fails_is_an_error_that_says_so(
    server: PprofServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError("no")

    monkeypatch.setitem(kinds.KINDS, "wall", kinds.KINDS["wall"]._replace(take=fail))
    assert refusal(get(server, "wall")) == (500, "failed to collect profile: OSError: no\n")


# --- Go's own client


@pytest.mark.skipif(GO is None, reason="no Go")
def test_go_tool_pprof_fetches_every_profile(closed: PprofServer, tmp_path: Path) -> None:
    base = closed.url.replace("http://", f"http://any:{SECRET}@")
    environment = {**os.environ, "PPROF_TMPDIR": str(tmp_path)}

    def top(path: str) -> tuple[str, int, str]:
        command = [GO or "", "tool", "pprof", "-top", "-sample_index=0", "-timeout=240", base + path]
        done = subprocess.run(
            command, capture_output=True, text=True, env=environment, timeout=GO_PATIENCE, check=False
        )
        return path, done.returncode, done.stdout + done.stderr

    timed = [f"{name}?seconds=1" for name in (*TIMED, *COUNTED)]
    with ThreadPoolExecutor(3) as pool:
        done = list(pool.map(top, [*timed, *MOMENTS]))
    assert [(path, output) for path, status, output in done if status != 0] == []
    assert "Type: " in done[0][2] and "flat%" in done[0][2]
    refused = top("heap")
    assert refused[1] != 0 and "nothing runs until asked" in refused[2]


# --- who may ask


def test_the_token_in_each_of_its_places(closed: PprofServer) -> None:
    basic = base64.b64encode(f"anybody:{SECRET}".encode()).decode()
    assert get(closed, "threads", authorization=f"Basic {basic}").status == 200
    assert get(closed, "threads", authorization=f"Bearer {SECRET}").status == 200
    answer = get(closed, f"threads?token={SECRET}")
    assert answer.status == 200
    cookie = answer.headers["set-cookie"].split(";")[0]
    assert SECRET not in cookie and get(closed, "threads", cookie=cookie).status == 200
    welcome = get(closed, f"?token={SECRET}")
    assert (welcome.status, welcome.headers["location"]) == (303, "/debug/pprof/")


def test_without_the_token_nothing_is_shown(closed: PprofServer) -> None:
    wrong = base64.b64encode(b"anybody:wrong").decode()
    user = base64.b64encode(f"{SECRET}:".encode()).decode()
    for path in ("", "threads", "profile?seconds=1", "cmdline", "status", "symbol", "static/page.css"):
        status, text = refusal(get(closed, path))
        assert status == 401 and SECRET not in text and "?token=TOKEN" in text
        for header in (f"Basic {wrong}", f"Basic {user}", "Basic ???", "Bearer wrong"):
            assert get(closed, path, authorization=header).status == 401
    assert SECRET not in closed.url + repr(closed)


def test_elsewhere_than_on_loopback_it_takes_a_token() -> None:
    with pytest.raises(ValueError, match=r"it takes a token \(OTLPFAST_PPROF_TOKEN\)"):
        enable_pprof_http("0.0.0.0:0")
    with enable_pprof_http("0.0.0.0:0", SECRET) as server:
        assert get(server, "threads").status == 401
        assert get(server, "threads", host="me.example", authorization=f"Bearer {SECRET}").status == 200


def test_another_name_that_points_here_is_not_answered(server: PprofServer) -> None:
    for name in ("evil.example", "localhost.evil.example:6060", ""):
        assert refusal(get(server, "threads", host=name))[0] == 421
    assert get(server, "threads", host="localhost:6060").status == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "http://evil.example"},
        {"origin": "null"},
        {"sec_fetch_site": "cross-site", "sec_fetch_mode": "no-cors", "sec_fetch_dest": "image"},
        {"sec_fetch_site": "same-site", "sec_fetch_mode": "navigate", "sec_fetch_dest": "iframe"},
        {"sec_fetch_site": "cross-site", "sec_fetch_mode": "navigate", "sec_fetch_dest": "document"},
    ],
)
def test_another_web_site_can_begin_nothing(server: PprofServer, headers: dict[str, str]) -> None:
    for path in ("profile?seconds=1", "heap?gc=1", "goroutine?debug=2"):
        assert refusal(get(server, path, **headers)) == (403, "another web site has asked for this\n")


def test_a_link_of_another_web_site_leads_to_the_index(server: PprofServer) -> None:
    link = {"sec_fetch_site": "cross-site", "sec_fetch_mode": "navigate", "sec_fetch_dest": "document"}
    assert get(server, "", **link).status == 200
    assert get(server, "threads?debug=1", sec_fetch_site="same-origin").status == 200


# --- life


def test_all_is_ended_at_once_and_may_begin_again() -> None:
    first, second = enable_pprof_http(ANY_PORT), enable_pprof_http(ANY_PORT)
    address = first.url.split("/")[2]
    disable_pprof_http()
    assert first.closed and second.closed
    with pytest.raises(ConnectionRefusedError):
        get(first, "")
    with enable_pprof_http(address) as again:
        assert get(again, "").status == 200
        with pytest.raises(OSError):
            enable_pprof_http(address)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"address": "here"}, "HOST:PORT"),
        ({"token": "two words"}, "token"),
        ({"max_seconds": 0}, "max_seconds"),
        ({"max_seconds": "9"}, "max_seconds"),
        ({"block_rate": -1}, "block_rate"),
        ({"mutex_fraction": 0.5}, "mutex_fraction"),
    ],
)
def test_a_wrong_argument_is_named_and_nothing_is_left_on(arguments: dict[str, object], text: str) -> None:
    with pytest.raises((TypeError, ValueError), match=text):
        enable_pprof_http(**{"address": ANY_PORT, "heap": True, **arguments})  # type: ignore[arg-type]
    with enable_pprof_http(ANY_PORT) as server:
        assert get(server, "heap").status == 412


def test_a_forked_child_does_not_serve_and_may_serve_its_own() -> None:
    with enable_pprof_http(ANY_PORT, mutex_fraction=1) as server:

        def work() -> dict[str, object]:
            closed = server.closed
            server.close()
            with enable_pprof_http(ANY_PORT) as own:
                return {"closed": closed, "own": json.loads(get(own, "status").body)["pid"] == os.getpid()}

        assert in_child(work) == {"closed": True, "own": True}
        assert json.loads(get(server, "status").body)["pid"] == os.getpid()
        assert get(server, "mutex").status == 200


def test_nothing_is_loaded_or_begun_before_it_is_asked_for() -> None:
    code = "import sys, threading, otlpfast\n{}\nprint([n for n in sys.modules if n.startswith({!r})], {})"
    threads = "threading.active_count()"
    assert python(code.format("", "otlpfast.profiling", threads)).stdout == "[] 1\n"
    assert python(code.format("import otlpfast.profiling", "http", threads)).stdout == "[] 1\n"


def test_nothing_of_the_page_comes_from_elsewhere() -> None:
    for entry in (files("otlpfast.profiling") / "static").iterdir():
        text = entry.read_text(encoding="utf-8")
        for name in ("http://www.w3.org/2000/svg", "http://www.w3.org/1999/xhtml"):
            text = text.replace(name, "")
        assert not re.search(r"https?:|url\(|@import|innerHTML|eval\(", text), entry
        if entry.name.endswith(".html"):
            assert not re.search(r"\son\w+=|\sstyle=|<style|<script(?![^>]*\ssrc=)|javascript:", text)


def test_all_that_the_page_is_made_of_is_served(server: PprofServer) -> None:
    wanted = re.findall(r'(?:src|href)="(static/[^"]+)"', get(server, "").body.decode())
    for name in wanted:
        answer = get(server, name)
        assert answer.status == 200, name
        assert answer.headers["content-security-policy"].startswith("default-src 'none'; script-src 'self'")
        found = re.findall(r'(?:from |import |import\()["`]\./(\w+\.js)', answer.body.decode())
        wanted += [f"static/{part}" for part in found if f"static/{part}" not in wanted]
    own = {entry.name for entry in (files("otlpfast.profiling") / "static").iterdir()} - {"index.html"}
    assert own <= {name.removeprefix("static/") for name in wanted}


def test_a_profile_of_one_kind_of_waits_is_off_while_only_the_other_is_on(server: PprofServer) -> None:
    with start_contention(block_rate=0, mutex_fraction=1):
        assert (get(server, "mutex").status, get(server, "block").status) == (200, 412)
        assert Profiler().block(0.01).period > 0


def test_a_picture_runs_its_own_script_and_no_other(server: PprofServer) -> None:
    answer = get(server, "threads?format=svg")
    policy = answer.headers["content-security-policy"]
    for tag in (b"style", b"script"):
        inline = answer.body.partition(b"<" + tag + b"><![CDATA[")[2].partition(b"]]>")[0]
        digest = base64.b64encode(hashlib.sha256(inline).digest()).decode()
        assert f"{tag.decode()}-src 'sha256-{digest}'" in policy
    assert "unsafe" not in policy


def test_an_origin_that_is_none_is_refused(server: PprofServer) -> None:
    assert get(server, "threads", Origin="http://[").status == 403
