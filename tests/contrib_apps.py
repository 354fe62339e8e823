"""The two applications of contrib_service.py, which imports this module once everything is instrumented.

They know the OpenTelemetry API and no SDK. ``front`` is Flask: threads and generators; ``store`` is FastAPI:
tasks, executors, streams, background tasks and a web socket. Both ask a database and other services.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
import sys
import threading
import time
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import flask
import requests
from fastapi import BackgroundTasks, Depends, FastAPI, HTTPException, Request, WebSocket
from fastapi.responses import StreamingResponse
from opentelemetry import baggage, context, trace
from opentelemetry.instrumentation.asgi import OpenTelemetryMiddleware
from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor
from opentelemetry.instrumentation.utils import suppress_instrumentation
from opentelemetry.trace import Link, Span, SpanKind, Status, StatusCode
from sqlalchemy import create_engine, text
from sqlalchemy.exc import OperationalError
from sqlalchemy.pool import NullPool
from werkzeug.exceptions import HTTPException as Refusal

PATIENCE = 20.0
log = logging.getLogger("shop")
tracer = trace.get_tracer("shop", "4.5", schema_url="https://opentelemetry.io/schemas/1.25.0")
# A file in the working directory, and a connection for each use: how many there are is no matter of timing.
engine = create_engine("sqlite:///books.db", poolclass=NullPool)

with tracer.start_as_current_span("set up"), engine.begin() as _made:
    _made.execute(text("CREATE TABLE books (number INTEGER PRIMARY KEY, title TEXT, price REAL)"))
    _made.execute(text("INSERT INTO books VALUES (1, 'Émile', 12.5), (2, 'Walden', 9.25)"))


class Trouble(Exception):
    """What goes wrong here on purpose."""


def ask(statement: str, **values: Any) -> list[tuple[Any, ...]]:
    with engine.connect() as connection:
        return [tuple(row) for row in connection.execute(text(statement), values)]


def go_on(way: str | None) -> Any:
    """Asks the first URL of the way, which goes on with the others; what the last one answers."""
    if not way:
        current = trace.get_current_span().get_span_context()
        return {"sampled": current.trace_flags.sampled, "baggage": dict(baggage.get_all())}
    first, _, rest = way.partition(" ")
    log.info("going on")
    return requests.get(first, headers={"to": rest}, timeout=PATIENCE).json()


def work(name: str) -> str:
    with tracer.start_as_current_span(f"work {name}"):
        log.info("work %s", name)
    return name


@tracer.start_as_current_span("decorated", attributes={"a": 1})
def decorated(fail: bool = False) -> None:
    """Does as told."""
    log.info("decorated")
    if fail:
        raise Trouble("decorated")


# Flask.

front = flask.Flask("front")


@front.get("/books/<int:number>")
def book(number: int) -> Any:
    with tracer.start_as_current_span("look up", attributes={"book.number": number}) as span:
        found = ask("SELECT title, price FROM books WHERE number = :number", number=number)
        span.set_attributes({"found": len(found), "flags": [True, False], "ratio": 0.5, "raw": b"\x00\xff"})
        span.add_event("looked up", {"titles": [title for title, _ in found]})
        log.info("book %d: %d found", number, len(found))
    if not found:
        flask.abort(404)
    return {"title": found[0][0]}


@front.get("/fail")
def fail() -> Any:
    with tracer.start_as_current_span("outer"), tracer.start_as_current_span("inner") as inner:
        inner.set_attribute("kept", "yes")
        try:
            int("none")
        except ValueError as error:
            log.exception("about to fail")
            raise Trouble("ünlucky <&>") from error


@front.get("/recorded")
def recorded() -> Any:
    with tracer.start_as_current_span("quiet", record_exception=False, set_status_on_exception=False) as span:
        try:
            decorated(fail=True)
        except Trouble as error:
            span.record_exception(error, {"exception.type": "Renamed", "more": 1}, escaped=True)
            span.set_status(Status(StatusCode.ERROR, "was recorded"))
            span.set_status(Status(StatusCode.OK))
            span.update_name("renamed")
    try:
        ask("SELECT nothing FROM nowhere")
    except OperationalError as error:
        trace.get_current_span().record_exception(error)
    return {}


@front.get("/linked")
def linked() -> Any:
    now = time.time_ns()
    first = tracer.start_span("first", kind=SpanKind.PRODUCER, start_time=now)
    first.end(now + 1000)
    second = tracer.start_span("second", context=trace.set_span_in_context(first))
    links = [Link(first.get_span_context(), {"which": "first"})]
    with tracer.start_as_current_span("third", kind=SpanKind.CONSUMER, links=links) as third:
        third.add_link(second.get_span_context(), {"which": ("second", "again")})
        third.add_event("at", {"nested": {"a": [1, "b"]}}, timestamp=1_700_000_000_000_000_000)
    with trace.use_span(second, end_on_exit=True), suppress_instrumentation():
        ask("SELECT 'not seen'")
        work("inside the second")
    root = tracer.start_span("a root", context=context.Context(), links=[Link(third.get_span_context())])
    root.end()
    return {}


@front.get("/unreachable")
def unreachable() -> Any:
    try:
        requests.get("http://127.0.0.1:1/", timeout=PATIENCE)
    except requests.ConnectionError:
        return {}, 502


@front.get("/way")
def way() -> Any:
    return go_on(flask.request.headers.get("to"))


@front.get("/threads")
def threads() -> Any:
    ended = threading.Event()
    with tracer.start_as_current_span("threads"):
        started = [threading.Thread(target=work, args=(f"in thread {n}",)) for n in range(4)]
        started.append(threading.Timer(0, lambda: (work("in timer"), ended.set())))
        for thread in started:
            thread.start()
        with ThreadPoolExecutor(3) as pool:
            done = [
                *pool.map(work, (f"mapped {n}" for n in range(6))),
                pool.submit(work, "submitted").result(),
            ]
        for thread in started:
            thread.join(PATIENCE)
    return {"done": done, "ended": ended.is_set()}


@front.get("/stream")
def stream() -> Any:
    def parts() -> Iterator[str]:
        with tracer.start_as_current_span("streaming"):
            for number in range(3):
                log.info("part %d", number)
                yield work(f"part {number}")
            if "fail" in flask.request.args:
                raise Trouble("in the stream")

    return flask.Response(flask.stream_with_context(parts()))


@front.get("/endless")
def endless() -> Any:
    def parts() -> Iterator[bytes]:
        with tracer.start_as_current_span("until the client goes") as span:
            try:
                for _ in range(1000):
                    yield bytes(1_000_000)
            finally:
                span.add_event("closed")
                log.info("closed")

    return flask.Response(flask.stream_with_context(parts()))


@front.errorhandler(Refusal)
def refused(refusal: Refusal) -> Any:
    log.warning("refused")
    return {"refused": refusal.code}, refusal.code


# FastAPI.

store = FastAPI()


async def step(name: str) -> str:
    with tracer.start_as_current_span(f"step {name}") as span:
        await asyncio.sleep(0)
        assert trace.get_current_span() is span
        log.info("step %s", name)
        return name


async def traced(name: str) -> None:
    """The asyncio instrumentation makes a span for it."""
    await step(name)


async def for_ever(entered: asyncio.Event) -> None:
    with tracer.start_as_current_span("for ever"):
        entered.set()
        await asyncio.Event().wait()


@tracer.start_as_current_span("decorated coroutine")
async def decorated_coroutine() -> None:
    await step("decorated")
    raise Trouble("in a coroutine")


async def counted(ended: asyncio.Event | None = None) -> AsyncIterator[int]:
    try:
        with tracer.start_as_current_span("counting") as span:
            for number in range(3):
                span.add_event("counted", {"number": number})
                yield number
    finally:
        if ended:
            ended.set()


@store.get("/tasks")
async def tasks() -> Any:
    entered, loop = asyncio.Event(), asyncio.get_running_loop()
    with tracer.start_as_current_span("tasks"):
        await asyncio.gather(*(step(f"gathered {number}") for number in range(5)))
        await asyncio.gather(traced("traced"), asyncio.create_task(traced("traced task")))
        await asyncio.to_thread(work, "to_thread")
        await loop.run_in_executor(None, work, "executor")
        await asyncio.wait_for(step("in time"), PATIENCE)
        waiting = asyncio.create_task(for_ever(entered))
        await entered.wait()
        waiting.cancel()
        failed = await asyncio.gather(waiting, decorated_coroutine(), return_exceptions=True)
        future = loop.create_future()
        loop.call_soon(lambda: (work("called soon"), future.set_result(None)))
        await asyncio.wait_for(future, PATIENCE)
        await loop.create_task(step("elsewhere")) if sys.version_info < (3, 11) else await asyncio.gather(
            loop.create_task(step("elsewhere"), context=contextvars.Context())
        )
        if sys.version_info >= (3, 11):
            async with asyncio.TaskGroup() as group:
                group.create_task(traced("in a group"))
        numbers = [number async for number in counted()]
    return {"failed": [type(error).__name__ for error in failed], "numbers": numbers}


@store.get("/abandoned")
async def abandoned() -> Any:
    ended = asyncio.Event()
    async for _ in counted(ended):
        break
    # The loop closes what nobody holds any more, in a task of its own.
    await asyncio.wait_for(ended.wait(), PATIENCE)
    return await step("after it")


def session() -> Iterator[str]:
    # Entered in one thread of a pool and left in another.
    with tracer.start_as_current_span("session"):
        yield "session"


@store.get("/prices/{number}")
def price(number: int, request: Request, opened: str = Depends(session)) -> Any:
    ((found,),) = ask("SELECT price FROM books WHERE number = :number", number=number)
    log.info("price %s %s", found, opened)
    if "fail" in request.query_params:
        raise HTTPException(409, "no price today")
    return {"price": found}


@store.get("/fail")
async def fails() -> Any:
    with tracer.start_as_current_span("to fail"):
        raise Trouble("in the store")


@store.get("/way")
async def store_way(request: Request) -> Any:
    return await asyncio.to_thread(go_on, request.headers.get("to"))


@store.post("/orders")
async def order(count: int, background: BackgroundTasks) -> Any:
    background.add_task(work, "in background")
    background.add_task(step, "in background")
    trace.get_current_span().set_attribute("order.count", count)
    return {"count": count}


@store.get("/stream")
async def store_stream(request: Request) -> Any:
    async def parts() -> AsyncIterator[bytes]:
        async for number in counted():
            yield str(number).encode()
        if "endless" in request.query_params:
            with tracer.start_as_current_span("until the client goes"):
                yield b"first"
                await asyncio.Event().wait()

    return StreamingResponse(parts())


@store.websocket("/echo")
async def echo(socket: WebSocket) -> None:
    await socket.accept()
    async for words in socket.iter_text():
        await socket.send_text(work(words))


async def bare(scope: Any, receive: Any, send: Any) -> None:
    await step("bare")
    await send({"type": "http.response.start", "status": 204, "headers": [(b"x-bare", b"yes")]})
    await send({"type": "http.response.body"})


def _name(span: Span, scope: Any) -> None:
    raise Trouble("a hook that fails")


store.mount("/bare", OpenTelemetryMiddleware(bare, server_request_hook=_name))

# Newer FastAPIs trace by themselves where they are not instrumented.
own = FastAPI()
FastAPIInstrumentor.uninstrument_app(own)


@own.get("/{number}")
def own_price(number: int, opened: str = Depends(session)) -> Any:
    return {"price": ask("SELECT price FROM books WHERE number = :number", number=number)[0][0]}


store.mount("/own", own)
