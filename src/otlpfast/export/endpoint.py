"""The endpoint of an exporter: a URL taken apart once, and how it may be shown.

Specification: "Endpoint URLs for OTLP/HTTP".
"""

from __future__ import annotations

import base64
import os
import re
import socket
from dataclasses import dataclass, field
from urllib.parse import SplitResult, quote, unquote, unquote_to_bytes, urlsplit

URL_ALLOWED = "an http:// or https:// URL with a host, such as http://localhost:4318/v1/traces, or unix:///path/of/socket"
_SOCKET_SCHEMES = ("unix", "http+unix")
_TRACES_PATH = "/v1/traces"
_LONGEST_SOCKET_PATH = 103  # bytes that every system takes; Linux takes 107


class Unusable(Exception):
    """A value that cannot be used. The text is for people: value (masked), what is wrong, what is allowed."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where the requests go, taken apart once."""

    url: str = field(repr=False)  # without credentials
    shown: str  # credentials and query masked: the only form for logs and errors
    secure: bool
    host: str  # for the resolver and for TLS; international names in their ASCII form
    port: int
    authority: str  # for the Host header
    target: str = field(repr=False)  # path and query
    authorization: str | None = field(repr=False)  # from user:password@, for a Basic Authorization header
    secrets: tuple[str, ...] = field(repr=False)  # what must never be shown: password, values of the query
    socket: str | None = None  # path of a unix socket, in place of host and port


def printable(text: str, limit: int = 200) -> str:
    """One line of at most `limit` characters that a terminal or a log file takes without harm."""
    line = "".join(c if c.isprintable() else "?" for c in text[: limit + 1])
    return line if len(line) <= limit else line[: limit - 1] + "…"


def mask_url(text: str) -> str:
    """A URL, possibly a broken one, without what may be secret: credentials, query, fragment."""
    scheme, separator, rest = text.partition("://")
    if not separator or not re.fullmatch(r"[A-Za-z][A-Za-z0-9+.-]*", scheme):
        scheme, separator, rest = "", "", text
    if "@" in rest:  # the last one: a password that nobody encoded may hold "@", "/" and "?"
        rest = "***@" + rest.rpartition("@")[2]
    return printable(scheme + separator + re.sub(r"[?#].*", "?***", rest, flags=re.DOTALL))


def parse_endpoint(text: str, *, base: bool = False) -> Endpoint:
    """Take a URL apart; `base` says that it is the generic one, to which the path of traces is appended.

    Specification: "Endpoint URLs for OTLP/HTTP". Raises Unusable, with the URL masked.
    """
    text = text.strip()
    problem = _why_not(text)
    if problem:
        raise Unusable(f"'{mask_url(text)}' {problem}; allowed: {URL_ALLOWED}")
    if text.partition("://")[0].lower() in _SOCKET_SCHEMES:
        return _parse_socket(text, base=base)
    url = urlsplit(text)
    host, scheme = ascii_host(url.hostname or ""), url.scheme.lower()
    port = url.port or (443 if scheme == "https" else 80)
    path = url.path.removesuffix("/") + "/v1/traces" if base else url.path or "/"
    query = f"?{url.query}" if url.query else ""
    name = f"[{host.partition('%')[0]}]" if ":" in host else host
    authority = name if url.port in (None, 443 if scheme == "https" else 80) else f"{name}:{port}"
    credentials, at, location = url.netloc.rpartition("@")
    user, _, password = credentials.partition(":")
    pair = unquote_to_bytes(user) + b":" + unquote_to_bytes(password)
    secrets = (password, unquote(password), *(part.partition("=")[2] for part in url.query.split("&")))
    plain = f"{scheme}://{location}{path if base else url.path}"
    return Endpoint(
        url=plain + query,
        shown=printable(f"{scheme}://{'***@' if at else ''}{location}{path}{'?***' if query else ''}"),
        secure=scheme == "https",
        host=host,
        port=port,
        authority=authority,
        target="".join(c if c.isascii() else quote(c) for c in path + query),
        authorization="Basic " + base64.b64encode(pair).decode("ascii") if at else None,
        secrets=secrets,
    )


def _why_not(text: str) -> str:
    """Why a text cannot be an endpoint, or nothing."""
    if not text:
        return "is empty"
    if any(c <= " " or c == "\x7f" or "\ud800" <= c <= "\udfff" for c in text):
        return "has a space or a control character in it"
    if "://" not in text:
        return "has no scheme"
    try:
        url = urlsplit(text)
        if url.scheme.lower() in _SOCKET_SCHEMES:
            return _why_no_socket(url)
        if url.scheme.lower() not in ("http", "https"):
            return "has an unknown scheme"
        if not url.hostname:
            return "has no host"
        ascii_host(url.hostname)
    except ValueError:  # UnicodeError too
        return "has a host that is not valid"
    try:
        return "has a port that is not one of 1 to 65535" if url.port == 0 or url.netloc.endswith(":") else ""
    except ValueError:
        return "has a port that is not one of 1 to 65535"


def ascii_host(host: str) -> str:
    if ":" in host:
        return host.replace("%25", "%")  # the zone of a link-local IPv6 address
    return host.encode("idna").decode("ascii")


def _why_no_socket(url: SplitResult) -> str:
    if not hasattr(socket, "AF_UNIX"):
        return "is a unix socket, which this system does not have"
    if url.query or url.fragment:
        return "has a query or fragment, which unix sockets do not have"
    if url.scheme == "unix" and url.netloc:
        return "has a host; a path of a unix socket comes after three slashes"
    path = _socket_path(url)
    if not path.startswith("/") or path == "/":
        return "has no absolute path of a unix socket"
    if len(os.fsencode(path)) > _LONGEST_SOCKET_PATH or "\0" in path:
        return f"has a path that no unix socket can have ({_LONGEST_SOCKET_PATH} bytes at most)"
    return ""


def _socket_path(url: SplitResult) -> str:
    return unquote(url.path if url.scheme == "unix" else url.netloc)


def _parse_socket(text: str, *, base: bool) -> Endpoint:
    """`unix:///path/of/socket`, or `http+unix://%2Fpath%2Fof%2Fsocket/v1/traces` with a path for HTTP."""
    url = urlsplit(text)
    target = _TRACES_PATH
    if url.scheme == "http+unix":
        target = url.path.removesuffix("/") + _TRACES_PATH if base else url.path or "/"
    return Endpoint(
        url=text,
        shown=printable(text),
        secure=False,
        host="localhost",
        port=0,
        authority="localhost",
        target="".join(c if c.isascii() else quote(c) for c in target),
        authorization=None,
        secrets=(),
        socket=_socket_path(url),
    )
