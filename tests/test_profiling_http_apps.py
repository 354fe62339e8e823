"""Profiles as part of Flask, of FastAPI and of plain applications, behind their own servers."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from wsgiref.util import setup_testing_defaults

import fastapi
import flask
import pytest
import uvicorn
from werkzeug.middleware.dispatcher import DispatcherMiddleware
from werkzeug.serving import make_server

from otlpfast.profiling import PprofServer, Profile, enable_pprof_http, pprof_asgi_app, pprof_wsgi_app

from .collector import PATIENCE
from .exporting import SECRET
from .pages import ask
from .pprof_clients import ANY_PORT, get, refusal, until, wall_in_use, wall_is_free

BEARER = {"authorization": f"Bearer {SECRET}"}


@contextmanager
def werkzeug(app: Any) -> Iterator[str]:
    """Where it serves a WSGI application."""
    server = make_server("127.0.0.1", 0, app, threaded=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextmanager
def uvicorn_serves(app: Any) -> Iterator[str]:
    """Where it serves an ASGI application, by an event loop in a thread."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        config = uvicorn.Config(app, log_config=None, timeout_keep_alive=1, timeout_graceful_shutdown=1)
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        try:
            until(lambda: server.started)
            yield f"http://127.0.0.1:{listening.getsockname()[1]}/"
        finally:
            server.should_exit = True
            thread.join()


@pytest.fixture(name="flask_url")
def flask_url_fixture() -> Iterator[str]:
    app = flask.Flask("shop")
    app.add_url_rule("/", view_func=lambda: "shop")
    app.wsgi_app = DispatcherMiddleware(app.wsgi_app, {"/internal/profiles": pprof_wsgi_app(SECRET)})
    with werkzeug(app) as url:
        yield url


@pytest.fixture(name="fastapi_url")
def fastapi_url_fixture() -> Iterator[str]:
    app = fastapi.FastAPI()
    app.add_api_route("/", lambda: "shop")
    app.mount("/internal/profiles", pprof_asgi_app(SECRET))
    with uvicorn_serves(app) as url:
        yield url


@pytest.fixture(name="url", params=["flask_url", "fastapi_url"])
def url_fixture(request: pytest.FixtureRequest) -> str:
    return str(request.getfixturevalue(request.param))


def begin(url: str, path: str) -> socket.socket:
    """A client that waits for a wall profile of five minutes, which has begun."""
    host, port = url.split("/")[2].split(":")
    client = socket.create_connection((host, int(port)), PATIENCE)
    client.sendall(f"GET {path}?seconds=300&token={SECRET} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    until(lambda: not wall_is_free())
    return client


def test_it_is_mounted_at_any_path_and_the_rest_stays_the_applications(url: str) -> None:
    assert b"shop" in ask(url, "/").body
    index = ask(url, "/internal/profiles/", **BEARER)
    assert index.status == 200 and b'data-name="threads"' in index.body
    assert ask(url, "/internal/profiles/static/page.css", **BEARER).status == 200
    answer = ask(url, "/internal/profiles/threads", **BEARER)
    assert answer.headers["content-disposition"] == 'attachment; filename="threads"'
    assert Profile.from_pprof(answer.body).kind == "threads"
    assert ask(url, "/internal/profiles/wall?seconds=0.1", **BEARER).status == 200
    assert refusal(ask(url, "/internal/profiles/nothing", **BEARER)) == (404, "Unknown profile\n")


def test_the_token_in_the_address_becomes_a_cookie(url: str) -> None:
    welcome = ask(url, f"/internal/profiles/?token={SECRET}")
    assert (welcome.status, welcome.headers["location"]) == (303, "/internal/profiles/")
    cookie = welcome.headers["set-cookie"].split(";")[0]
    assert ask(url, "/internal/profiles/", cookie=cookie).status == 200


def test_another_worker_takes_the_same_cookie() -> None:
    with werkzeug(pprof_wsgi_app(SECRET)) as first, werkzeug(pprof_wsgi_app(SECRET)) as second:
        cookie = ask(first, f"/?token={SECRET}").headers["set-cookie"].split(";")[0]
        assert ask(second, "/threads", cookie=cookie).status == 200


def test_this_machine_too_needs_the_token(url: str) -> None:
    for path in ("", "threads", "profile?seconds=1", "cmdline", "status"):
        assert refusal(ask(url, f"/internal/profiles/{path}"))[0] == 401


def test_another_web_site_can_begin_nothing(url: str) -> None:
    answer = ask(url, "/internal/profiles/threads", **BEARER, sec_fetch_site="cross-site")
    assert refusal(answer)[0] == 403


@pytest.mark.parametrize("make", [pprof_wsgi_app, pprof_asgi_app])
def test_without_a_token_it_is_not_made(make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match=r"takes a token \(OTLPFAST_PPROF_TOKEN\), also for this machine"):
        make()
    with pytest.raises(ValueError, match="visible ASCII"):
        make("two words")
    with pytest.raises(ValueError, match="takes no token"):
        make(SECRET, unprotected=True)
    make(unprotected=True)
    monkeypatch.setenv("OTLPFAST_PPROF_TOKEN", SECRET)
    make()


def test_two_profiles_at_once_are_one_too_many(url: str) -> None:
    with wall_in_use():
        answer = ask(url, "/internal/profiles/wall?seconds=1", **BEARER)
    text = "Could not enable wall profiling: wall profiling already in use\n"
    assert refusal(answer) == (500, text)


def test_a_client_that_goes_away_ends_its_profile(url: str) -> None:
    begin(url, "/internal/profiles/wall").close()
    until(wall_is_free)
    assert ask(url, "/internal/profiles/threads", **BEARER).status == 200


def test_the_event_loop_goes_on_while_a_profile_is_taken(fastapi_url: str) -> None:
    client = begin(fastapi_url, "/internal/profiles/wall")
    assert b"shop" in ask(fastapi_url, "/").body
    assert not wall_is_free()
    client.close()
    until(wall_is_free)


def test_an_application_in_front_of_another() -> None:
    def shop(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [b"shop"]

    async def store(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await receive()
            await send({"type": "lifespan.startup.complete"})
            return
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"shop"})

    with (
        werkzeug(pprof_wsgi_app(SECRET, app=shop)) as first,
        uvicorn_serves(pprof_asgi_app(SECRET, app=store)) as second,
    ):
        for url in (first, second):
            assert ask(url, "/threads", **BEARER).body == b"shop"
            assert ask(url, "/debug/pprof/threads", **BEARER).status == 200
            assert ask(url, "/debug/pprof", **BEARER).headers["location"] == "/debug/pprof/"


def test_an_application_of_its_own_has_the_usual_path_too() -> None:
    with uvicorn_serves(pprof_asgi_app(SECRET)) as url:
        assert ask(url, "/debug/pprof/threads", **BEARER).status == 200
        assert ask(url, "/threads", **BEARER).status == 200
        head = ask(url, "/threads", "HEAD", **BEARER)
        assert (head.status, head.body) == (200, b"")
        assert ask(url, "/threads", "POST", **BEARER).status == 405


def sent(app: Any, kind: str) -> list[Any]:
    """What an ASGI application sends for one connection."""
    messages: list[Any] = []

    async def receive() -> Any:
        await asyncio.Event().wait()

    async def send(message: Any) -> None:
        messages.append(message)

    scope = {"type": kind, "method": "GET", "path": "/threads", "query_string": b"", "headers": []}
    asyncio.run(asyncio.wait_for(app(scope, receive, send), PATIENCE))
    return messages


def test_a_websocket_is_closed_at_once() -> None:
    assert sent(pprof_asgi_app(unprotected=True), "websocket") == [{"type": "websocket.close"}]


def test_more_requests_than_it_has_threads_for_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("otlpfast.profiling.apps._MAX_REQUESTS", 0)
    head, body = sent(pprof_asgi_app(unprotected=True), "http")
    assert head["status"] == 503
    assert b"requests at a time" in body["body"]


def test_a_request_that_is_cancelled_ends_its_profile() -> None:
    app = pprof_asgi_app(unprotected=True)
    scope = {
        "type": "http",
        "method": "GET",
        "path": "/wall",
        "query_string": b"seconds=300",
        "headers": [(b"host", b"localhost")],
    }

    async def nothing() -> Any:
        await asyncio.Event().wait()

    async def send(_: Any) -> None:
        raise AssertionError("an answer")

    async def cancel() -> None:
        request = asyncio.create_task(app(scope, nothing, send))
        while await asyncio.to_thread(wall_is_free):
            await asyncio.sleep(0.01)
        request.cancel()
        with pytest.raises(asyncio.CancelledError):
            await request

    asyncio.run(asyncio.wait_for(cancel(), PATIENCE))
    until(wall_is_free)


def test_a_server_that_shows_no_socket_is_waited_out() -> None:
    environ: dict[str, Any] = {"QUERY_STRING": "seconds=0.1", "PATH_INFO": "/wall"}
    setup_testing_defaults(environ)
    started = []
    [body] = pprof_wsgi_app(unprotected=True)(environ, lambda status, headers: started.append(status))
    assert started == ["200 OK"] and Profile.from_pprof(body).kind == "wall"


# --- a stuck event loop


@pytest.fixture(name="stuck")
def stuck_fixture() -> Iterator[PprofServer]:
    """Serves profiles of a process whose event loop one of its handlers keeps busy."""
    app = fastapi.FastAPI()
    entered, leave = threading.Event(), threading.Event()

    def compute_for_ever() -> None:
        entered.set()
        while not leave.is_set():
            sum(number * number for number in range(1000))

    async def block() -> str:
        compute_for_ever()
        return "unblocked"

    app.add_api_route("/block", block)
    with uvicorn_serves(app) as url, enable_pprof_http(ANY_PORT) as server:
        thread = threading.Thread(target=ask, args=(url, "/block"))
        thread.start()
        try:
            assert entered.wait(PATIENCE)
            yield server
        finally:
            leave.set()
            thread.join()


def test_while_the_event_loop_is_stuck_it_is_said_where(stuck: PprofServer) -> None:
    assert "compute_for_ever" in get(stuck, "goroutine?debug=2").body.decode()
    assert "compute_for_ever" in get(stuck, "threads?debug=1").body.decode()


def test_while_the_event_loop_is_stuck_a_cpu_profile_is_taken(stuck: PprofServer) -> None:
    deadline = time.monotonic() + PATIENCE
    while b"compute_for_ever" not in get(stuck, "profile?seconds=0.5&format=folded").body:
        assert time.monotonic() < deadline  # a busy machine may have given it no time
