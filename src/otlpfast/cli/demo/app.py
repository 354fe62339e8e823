"""The demo's web application: notes of several teams, kept in SQLite, served by WSGI.

It is written as any application is: it knows the OpenTelemetry API and neither an SDK nor an exporter. The
spans of requests and of SQL statements come from the official instrumentation, those of its own work from
the tracer here.
"""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Callable, Iterable
from typing import Any
from urllib.parse import parse_qs

from opentelemetry import trace

Environ = dict[str, Any]
Reply = tuple[str, Any]

MAX_TITLE = 80
_SCHEMA = """
    CREATE TABLE notes (slug TEXT PRIMARY KEY, title TEXT, body TEXT, stars INTEGER);
    CREATE TABLE tags (slug TEXT, tag TEXT, PRIMARY KEY (slug, tag));
    CREATE INDEX tags_by_tag ON tags (tag);
"""
_tracer = trace.get_tracer(
    "notes", "1.4.2", schema_url="https://opentelemetry.io/schemas/1.25.0", attributes={"layer": "service"}
)


class Rejected(ValueError):
    """A note that can't be taken as it is."""


class Team:
    """The notes of one team: a database of its own, so that teams don't wait for one another."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.lock = threading.Lock()
        self.changes: list[trace.SpanContext] = []
        self._database = sqlite3.connect(":memory:", check_same_thread=False)
        self._database.executescript(_SCHEMA)

    def rows(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
        cursor = self._database.cursor()
        try:
            cursor.execute(statement, values)
            return list(cursor.fetchall())
        finally:
            cursor.close()


class NotesApplication:
    """A WSGI application: ``/teams/TEAM/notes[/SLUG]``, ``/teams/TEAM/search?q=``, ``/teams/TEAM/digest``."""

    def __init__(self) -> None:
        self._teams: dict[str, Team] = {}
        self._lock = threading.Lock()

    def __call__(self, environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
        try:
            status, content = self._reply(environ)
        except Rejected as refusal:
            status, content = "422 Unprocessable Entity", {"error": str(refusal)}
        body = json.dumps(content).encode()
        start_response(status, [("Content-Type", "application/json"), ("Content-Length", str(len(body)))])
        return [body]

    def _reply(self, environ: Environ) -> Reply:
        method, path = environ["REQUEST_METHOD"], environ["PATH_INFO"].strip("/").split("/")
        if len(path) < 3 or path[0] != "teams":
            return "404 Not Found", {"error": "no such page"}
        team = self._team(path[1])
        with team.lock:
            if path[2] == "digest":
                return _digest(team)
            if path[2] == "search":
                return _search(team, parse_qs(environ["QUERY_STRING"])["q"][0])
            if len(path) == 3:
                return _list(team)
            if method == "PUT":
                return _save(team, path[3], _json_body(environ))
            return _delete(team, path[3]) if method == "DELETE" else _show(team, path[3])

    def _team(self, name: str) -> Team:
        with self._lock:
            if name not in self._teams:
                self._teams[name] = Team(name)
            return self._teams[name]


def _json_body(environ: Environ) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"])))
    return content


def _save(team: Team, slug: str, note: dict[str, Any]) -> Reply:
    title, body, tags = note["title"], note["body"], note["tags"]
    with _tracer.start_as_current_span("check note") as span:
        span.set_attributes(
            {"note.slug": slug, "note.length": len(body), "note.tags": tags, "note.draft": not body}
        )
        if len(title) > MAX_TITLE:
            raise Rejected(f"the title has {len(title)} characters, at most {MAX_TITLE} are allowed")
    with _tracer.start_as_current_span("save note", kind=trace.SpanKind.PRODUCER) as span:
        team.rows(
            "INSERT INTO notes VALUES (?, ?, ?, 0) "
            "ON CONFLICT (slug) DO UPDATE SET title = excluded.title, body = excluded.body",
            *(slug, title, body),
        )
        for tag in tags:
            team.rows("INSERT OR IGNORE INTO tags VALUES (?, ?)", slug, tag)
        span.set_attributes(
            {"team": team.name, "note.slug": slug, "note.title": title, "note.words": len(body.split())}
        )
        span.add_event("note saved", {"note.slug": slug, "tags.count": len(tags), "notify": True})
        team.changes.append(span.get_span_context())
    return "201 Created", {"slug": slug}


def _show(team: Team, slug: str) -> Reply:
    found = team.rows("SELECT title, body, stars FROM notes WHERE slug = ?", slug)
    if not found:
        trace.get_current_span().add_event("note not found", {"note.slug": slug})
        return "404 Not Found", {"error": "no such note"}
    tags = [tag for (tag,) in team.rows("SELECT tag FROM tags WHERE slug = ? ORDER BY tag", slug)]
    with _tracer.start_as_current_span(
        "render note", attributes={"team": team.name, "note.slug": slug}
    ) as span:
        title, body, stars = found[0]
        span.set_attributes(
            {"note.title": title, "note.words": len(body.split()), "note.stars": stars, "note.tags": tags}
        )
        return "200 OK", {"title": title, "body": body, "stars": stars, "tags": tags}


def _list(team: Team) -> Reply:
    notes = team.rows("SELECT slug, title FROM notes ORDER BY slug LIMIT 20")
    with _tracer.start_as_current_span("render list") as span:
        span.set_attributes(
            {"team": team.name, "notes.count": len(notes), "page": 1, "page.full": len(notes) == 20}
        )
        return "200 OK", [{"slug": slug, "title": title} for slug, title in notes]


def _search(team: Team, words: str) -> Reply:
    found = team.rows(
        "SELECT slug, title, stars FROM notes WHERE body LIKE ? ORDER BY slug LIMIT 10", f"%{words}%"
    )
    with _tracer.start_as_current_span(
        "rank results", attributes={"team": team.name, "search.words": words}
    ) as span:
        scores = [round((1 + stars) / (1 + len(title)), 4) for _, title, stars in found]
        span.set_attributes(
            {"search.found": len(found), "search.scores": scores, "search.best": max(scores, default=0.0)}
        )
        span.add_event("ranked", {"results": len(found), "method": "stars by length"})
    for slug, _, _ in found[:2]:
        team.rows("UPDATE notes SET stars = stars + 1 WHERE slug = ?", slug)
    return "200 OK", [slug for slug, _, _ in found]


def _digest(team: Team) -> Reply:
    changes, team.changes = team.changes, []
    links = [
        trace.Link(change, {"team": team.name, "position": place}) for place, change in enumerate(changes)
    ]
    with _tracer.start_as_current_span("send digest", kind=trace.SpanKind.CONSUMER, links=links) as span:
        count, stars = team.rows("SELECT count(*), total(stars) FROM notes")[0]
        span.set_attributes(
            {"team": team.name, "notes.count": count, "stars": stars, "changes": len(changes)}
        )
    return "200 OK", {"changes": len(changes)}


def _delete(team: Team, slug: str) -> Reply:
    team.rows("DELETE FROM tags WHERE slug = ?", slug)
    team.rows("DELETE FROM notes WHERE slug = ?", slug)
    trace.get_current_span().set_attribute("note.slug", slug)
    return "200 OK", {"slug": slug}
