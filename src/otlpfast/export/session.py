"""Requests over somebody else's `requests.Session`: given as an argument, or by a credential provider.

A session knows no total deadline, so each of its requests runs in a thread of its own, which is left behind
where it takes too long.
"""

from __future__ import annotations

import contextvars
import http.client
import importlib.metadata
import os
import ssl
import threading
from collections.abc import Mapping
from contextlib import suppress
from time import monotonic
from typing import TYPE_CHECKING, Any, cast

from .answer import Answer, read_body
from .config import Settings, _variable, logger, printable
from .connection import Late, Part
from .retry import Stop

if TYPE_CHECKING:
    import requests

PROVIDERS = "opentelemetry_otlp_credential_provider"
_VARIABLES = (
    "OTEL_PYTHON_EXPORTER_OTLP_HTTP_TRACES_CREDENTIAL_PROVIDER",
    "OTEL_PYTHON_EXPORTER_OTLP_HTTP_CREDENTIAL_PROVIDER",
)


def provided_session() -> requests.Session | None:
    """The session of the entry point that a variable names; one warning where there is none that works.

    What a provider raises is not shown: it may speak of its secrets.
    """
    named = [(name, os.environ.get(name, "").strip()) for name in _VARIABLES]
    found = next((pair for pair in named if pair[1]), None)
    if found is None:
        return None
    problem = f"there is none of that name in {PROVIDERS!r}"
    try:
        import requests

        for entry in importlib.metadata.entry_points(group=PROVIDERS, name=found[1]):
            made = entry.load()()
            if isinstance(made, requests.Session):
                return made
            problem = f"it gave a {type(made).__name__} and not a requests.Session"
            break
    except ModuleNotFoundError as error:
        problem = f"the package {printable(str(error.name))} is not installed"
    except Exception as error:
        problem = f"it raised {type(error).__name__}"
    shown = printable(repr(found[1]))
    logger.warning("%s=%s: %s; going without it", found[0], shown, problem)
    return None


def choose_session(
    given: requests.Session | None, settings: Settings, ca: object, key: object, certificate: object
) -> requests.Session | None:
    """The session of the argument or of the provider, if any, with the exporter's TLS files as its own.

    Raises TypeError or ValueError for an argument that is none, or cannot be used with the endpoint.
    """
    if given is not None and not callable(getattr(given, "request", None)):
        raise TypeError(f"session must be a requests.Session; it is of type {type(given).__name__}")
    session = given if given is not None else provided_session()
    if session is None:
        return None
    if settings.endpoint.socket is not None:
        if given is not None:
            raise ValueError("session cannot be used with an endpoint that is a unix socket")
        logger.warning("a credential provider cannot be used with a unix socket; going without it")
        return None
    session.verify = _file(ca, "CERTIFICATE") or True
    if chain := _file(certificate, "CLIENT_CERTIFICATE"):
        private = _file(key, "CLIENT_KEY")
        session.cert = (chain, private) if private else chain
    return session


def _file(argument: object, suffix: str) -> str:
    """The path that `resolve` found usable, or warned of, for the same argument or variable."""
    found = argument if argument is not None else (_variable(suffix) or ("", ""))[1]
    path = os.fsdecode(cast("str", found))
    return path if os.path.isfile(path) else ""


class SessionConnection:
    """What `Connection` is, over a session. Not thread-safe: who uses it has its turn."""

    def __init__(self, settings: Settings, session: requests.Session, fields: Mapping[str, str]) -> None:
        self._settings, self._session = settings, session
        self._fields = {name: value for name, value in fields.items() if name != "host"}
        self._pid = os.getpid()
        self._exchange: _Exchange | None = None
        self._interrupted = False

    def exchange(self, parts: list[Part], deadline: float) -> Answer:
        """Send the parts after the first, which is the head that a session writes itself; the answer."""
        left = deadline - monotonic()
        if self._interrupted:
            raise ConnectionAbortedError("cut off by the shutdown of the exporter")
        if left <= 0:
            raise Late("waiting for the session")
        exchange = _Exchange(self._session, self._settings, self._fields, b"".join(parts[1:]), left)
        self._exchange = exchange
        if not exchange.done.wait(left):
            raise Late("waiting for the answer")
        if self._pid != os.getpid():
            raise ConnectionAbortedError("the process was forked in the middle of a request")
        if exchange.answer is not None:
            return exchange.answer
        raise exchange.error or ConnectionAbortedError("cut off by the shutdown of the exporter")

    def close(self) -> None:
        """Close the session's connections; it makes new ones when it is used again."""
        with suppress(Exception):
            self._session.close()

    def interrupt(self) -> None:
        """Wake the thread that uses it."""
        self._interrupted = True
        if (exchange := self._exchange) is not None:
            exchange.done.set()
        self.close()

    def abandon(self) -> None:
        """In a forked child: leave the parent's connections and have the session make new ones."""
        for adapter in list(self._session.adapters.values()):
            with suppress(Exception):  # as after unpickling: a new pool, empty and with new locks
                adapter.__setstate__(adapter.__getstate__())  # type: ignore[attr-defined]


class _Exchange:
    """One request, in a thread."""

    def __init__(
        self,
        session: requests.Session,
        settings: Settings,
        fields: Mapping[str, str],
        body: bytes,
        timeout: float,
    ) -> None:
        self._session, self._settings, self._fields = session, settings, fields
        self._body, self._timeout = body, timeout
        self.done = Stop()
        self.answer: Answer | None = None
        self.error: Exception | None = None
        # With the caller's context: it says that this request is not to be traced.
        work = contextvars.copy_context().run
        try:
            threading.Thread(target=work, args=(self._run,), name="otlpfast-session", daemon=True).start()
        except RuntimeError:  # the interpreter is ending and starts no more threads
            self._run()

    def _run(self) -> None:
        try:
            self.answer = self._post()
        except Exception as error:
            self.error = _plain(error)
        self.done.set()

    def _post(self) -> Answer:
        with self._session.request(
            "POST",
            self._settings.endpoint.url,
            data=self._body,
            headers=dict(self._fields),
            timeout=self._timeout,
            allow_redirects=False,
            stream=True,
            # Not left to the session's own attribute, over which REQUESTS_CA_BUNDLE would win.
            verify=self._session.verify,
            # Without one, requests would look for credentials in .netrc.
            auth=self._session.auth or _as_it_is,
        ) as response:
            body, flaw = read_body(cast("http.client.HTTPResponse", _Body(response)))
            return Answer(response.status_code, response.reason or "", _message(response.headers), body, flaw)


def _as_it_is(request: Any) -> Any:
    return request


def _message(headers: Mapping[str, str]) -> http.client.HTTPMessage:
    message = http.client.HTTPMessage()
    for name, value in headers.items():
        message[name] = value
    return message


class _Body:
    """A response of requests, undecoded, as `read_body` reads it."""

    length = 0

    def __init__(self, response: requests.Response) -> None:
        self.headers = response.headers
        self._raw = response.raw

    def read(self, amount: int) -> bytes:
        try:
            return cast("bytes", self._raw.read(amount, decode_content=False))
        except Exception as error:
            raise _plain(error) from None


def _plain(error: BaseException) -> Exception:
    """The error of the operating system or of TLS under what requests makes of it."""
    pending: list[object] = [error]
    for _ in range(20):
        if not pending:
            break
        inner = pending.pop(0)
        if isinstance(inner, TimeoutError):
            return Late("waiting for the answer")
        if isinstance(inner, (ssl.SSLError, ConnectionError)):
            return inner
        if isinstance(inner, OSError) and type(inner).__module__ in ("builtins", "socket"):
            return inner
        if isinstance(inner, BaseException):
            pending += [*inner.args, getattr(inner, "reason", None), inner.__cause__, inner.__context__]
    if isinstance(error, OSError) and "Timeout" in type(error).__name__:
        return Late("waiting for the answer")
    if isinstance(error, OSError) and type(error).__name__ in ("ConnectionError", "ChunkedEncodingError"):
        return ConnectionResetError()
    return RuntimeError(type(error).__name__)
