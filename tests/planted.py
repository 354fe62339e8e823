"""Secrets, where applications leave them in spans; and spans in which there are none.

All secrets are made up. Those in the form of a provider's keys are put together here, for scanners of
repositories take them for real.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from opentelemetry.sdk.resources import Resource
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode, TraceFlags, Tracer

EMAIL = "alice.jones+tag@mail.example.com"
CARD = "4111111111111111"
DASHED_CARD = "5500-0000-0000-0004"
SPACED_CARD = "3782 822463 10005"
JWT = "eyJhbGciOiJIUzI1NiJ9." + "eyJzdWIiOiJhbGljZSIsImlhdCI6MTUxNjIzOTAyMn0." + "c2lnbmF0dXJlLW9mLWEtdG9rZW4"
BEARER = "b3a7c9d1e5f2-bearer-8471"
AWS_KEY = "AKIA" + "IOSFODNN7EXAMPLE"
GITHUB = "ghp_" + "16C7e42F292c6912E7710c838347Ae178B4a"
SLACK = "xoxb-" + "123456789012-1234567890123-AbCdEfGhIjKlMnOpQrStUvWx"
KEY_BODY = "MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQC7VJTUt9Us8cKj"
PRIVATE_KEY = f"-----BEGIN PRIVATE KEY-----\n{KEY_BODY}\n-----END PRIVATE KEY-----"
BY_NAME = [f"named-{number}-secret" for number in range(12)]
IN_URL = "p4ss-in-url"
IN_QUERY = "q-token-77123"
IN_TEXT = "tr0ub4dor"

SECRETS = (
    *(EMAIL, CARD, DASHED_CARD, SPACED_CARD, JWT, BEARER, AWS_KEY, GITHUB, SLACK, KEY_BODY),
    *(IN_URL, IN_QUERY, IN_TEXT, *BY_NAME),
)

RESOURCE = Resource(
    {"service.name": "shop", "service.owner": EMAIL, "app.secret": BY_NAME[0], "process.command_args": (JWT,)}
)
SCOPE_ATTRIBUTES = {"maintainer": EMAIL, "scope.password": BY_NAME[1]}


class LoginError(Exception):
    """Says too much."""


def plant(tracer: Tracer, octets: bool = True) -> int:
    """Ends spans with every secret in many places, ``octets``: also as bytes; how many spans."""
    by_name = {
        "db.password": BY_NAME[2],
        "http.request.header.authorization": [f"Basic {BY_NAME[3]}"],
        "http.request.header.cookie": (f"session={BY_NAME[4]}",),
        "payment.API_KEY": BY_NAME[5],
        "login": {"user": "alice", "password": BY_NAME[6], "old": [{"password": BY_NAME[7]}]},
        "client_secret": BY_NAME[8].encode() if octets else BY_NAME[8],
    }
    body = f"name=alice&password={IN_TEXT}"
    by_value: dict[str, Any] = {
        "enduser.contact": EMAIL,
        "url.full": f"https://alice:{IN_URL}@shop.example.com/pay?item=7&access_token={IN_QUERY}",
        "payment.note": f"paid by {CARD}, then {DASHED_CARD}, then {SPACED_CARD}",
        "reply": f"Authorization: Bearer {BEARER}",
        "keys": [AWS_KEY, "none", GITHUB, SLACK],
        "config": {"pem": PRIVATE_KEY, "deep": [{"deeper": [f"mail {EMAIL}"]}]},
        "é": f"ümläut 東 {EMAIL} 😀",
        "body": body.encode() if octets else body,
        "long": "x" * 300 + f" {EMAIL} " + "y" * 200 + f" password={IN_TEXT} " + "z" * 1000,
        JWT: "in a key",
    }
    link = Link(SpanContext(7, 8, True, TraceFlags(1)), {"from": EMAIL, "link.token": BY_NAME[9]})
    with tracer.start_as_current_span(
        f"GET /users/{EMAIL}", attributes={**by_name, "first": JWT}, links=[link]
    ) as span:
        span.set_attributes(by_value)
        span.add_event(f"sent to {EMAIL}", {"card": CARD, "event.secret": BY_NAME[10], "note": JWT})
        span.set_status(Status(StatusCode.ERROR, f"no account of {EMAIL}"))
    try:
        with tracer.start_as_current_span("login", kind=SpanKind.SERVER):
            password = IN_TEXT
            raise LoginError(f"password={password} of {EMAIL} was refused: card {CARD}")
    except LoginError:
        pass
    with tracer.start_as_current_span("renamed") as span:
        span.update_name(f"pay with {CARD}")
        span.add_event("", {"nested": {"passwd": BY_NAME[11]}})
    return 3


def found_in(*data: bytes | str) -> list[str]:
    """The secrets that can be read there."""
    texts = [piece if isinstance(piece, bytes) else piece.encode() for piece in data]
    return [secret for secret in SECRETS if any(secret.encode() in text for text in texts)]


def harmless(tracer: Tracer) -> int:
    """Ends spans in which there is nothing to be hidden; how many."""
    attributes: dict[str, Any] = {
        "http.request.method": "GET",
        "http.route": "/users/{id}/keys",
        "url.full": "https://shop.example.com:8443/items/17?color=red&page=2#top",
        "url.path": "/@scope/package@1.2.3",
        "user_agent.original": "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
        "server.address": "192.0.2.17",
        "http.response.status_code": 200,
        "http.response.body.size": 4111111111111111,
        "db.query.text": "SELECT name, price FROM items WHERE id = ? AND price > 1000.50",
        "order.number": "4111111111111112",
        "trace": "4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        "uuid": "123e4567-e89b-12d3-a456-426614174000",
        "nanoseconds": "1700000000123456789",
        "code.function.name": "shop.basket.Basket.total",
        "messaging.message.id": "msg-000000-17",
        "git.commit": "da39a3ee5e6b4b0d3255bfef95601890afd80709",
        "python": "@decorated def f(a, *, b): ...",
        "seconds": 0.25,
        "cache.hit": True,
        "none": None,
        "list": ["a", "b@", "@c", 1, 2.5, False],
        "nested": {"rows": 17, "tables": ["items", "prices"]},
        "bytes": b"\0\1\xff@example",
        "empty": "",
        "text": "Grüße, 東京 😀",
    }
    with tracer.start_as_current_span("GET /users/{id}/keys", attributes=attributes) as span:
        span.add_event("loaded 17 rows", {"rows": 17, "table": "items", "duration": "PT0.25S"})
        span.set_status(Status(StatusCode.ERROR, "HTTP 503 after 3 attempts in 1700 ms"))
    try:
        with tracer.start_as_current_span("SELECT items"):
            raise KeyError("missing: item 17 of page 2")
    except KeyError:
        pass
    return 2


def values_of(attributes: Iterable[Any]) -> dict[str, Any]:
    """The texts and numbers of a message's attributes, by their keys."""
    return {pair.key: getattr(pair.value, pair.value.WhichOneof("value") or "", None) for pair in attributes}
