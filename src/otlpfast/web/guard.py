"""Who may see the page: where it listens, which names it answers to, and the token."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import ipaddress
import re
import secrets
import socket
from typing import NamedTuple
from urllib.parse import parse_qs

from ..export.endpoint import mask_url

ALLOWED = "HOST:PORT, such as 127.0.0.1:4320 or [::1]:4320, or a PORT of 127.0.0.1; port 0 is any free one"
DEFAULT_HOST = "127.0.0.1"
_ADDRESS = re.compile(r"(?:(?P<host>\[[0-9A-Fa-f:.%\w]+\]|[^\s:/\[\]@]+):)?(?P<port>[0-9]{1,5})", re.ASCII)


class Address(NamedTuple):
    """Where to listen."""

    host: str  # as it was given, without brackets
    family: socket.AddressFamily
    sockaddr: tuple[str, int]
    is_loopback: bool


def split_address(text: str) -> tuple[str, int] | None:
    """Host and port of such an address, or None."""
    found = _ADDRESS.fullmatch(text.strip())
    if found is None or int(found["port"]) > 65535:
        return None
    return (found["host"] or DEFAULT_HOST).strip("[]"), int(found["port"])


def resolve(text: str) -> Address:
    """An address that can be bound to, perhaps. ValueError for what is none, or a host that is not known."""
    if not isinstance(text, str):
        raise TypeError(f"address is of type {type(text).__name__}: {ALLOWED}")
    parts = split_address(text)
    if parts is None:
        raise ValueError(f"{mask_url(text)!r} is no address; allowed: {ALLOWED}")
    try:
        family, _, _, _, sockaddr = socket.getaddrinfo(*parts, type=socket.SOCK_STREAM)[0]
    except (OSError, UnicodeError):
        raise ValueError(f"the host of {mask_url(text)!r} is not known here; allowed: {ALLOWED}") from None
    host, port = str(sockaddr[0]), int(sockaddr[1])
    return Address(parts[0].lower(), family, (host, port), _is_loopback(host))


def _is_loopback(host: str) -> bool:
    try:
        found = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return False
    mapped = getattr(found, "ipv4_mapped", None)
    return bool((mapped or found).is_loopback)


def check_token(token: object) -> None:
    """TypeError or ValueError for what can be no token; it is never shown."""
    if not isinstance(token, str):
        raise TypeError(f"token is of type {type(token).__name__}: a text is allowed")
    if not re.fullmatch(r"[!-~]+", token):
        raise ValueError("token is not shown, but is no token: visible ASCII characters are allowed")


class Guard:
    """Decides on requests.

    Without a token the page is for this machine, and for browsers that asked for it by a name of this
    machine: a foreign web site whose name is made to point here (DNS rebinding) has its own name in the Host
    header. The cookie is not the token: browsers show it to every server on this host.
    """

    def __init__(self, address: Address, token: str | None, shared: bool = False) -> None:
        """shared: other processes are behind the same address, and take each other's cookies."""
        self._address = address
        self._token = None if token is None else token.encode()
        secret = b"otlpfast" if shared else secrets.token_bytes(32)
        self._session = hmac.new(secret, self._token or b"", hashlib.sha256).hexdigest()
        self._cookie = hashlib.sha256(self._session.encode()).hexdigest()[:8]

    @property
    def new_cookie(self) -> str:
        """What a Set-Cookie header says to whoever knew the token."""
        return f"otlpfast-{self._cookie}={self._session}; Path=/; HttpOnly; SameSite=Lax"

    def knows_host(self, header: str | None) -> bool:
        """Whether the Host header is one that this page answers to."""
        if not self._address.is_loopback and self._token is not None:
            return True  # by whichever name: the token protects it
        name = re.sub(r":[0-9]*$", "", header or "").strip().lower().rstrip(".")
        host = name[1:-1] if name.startswith("[") and name.endswith("]") else name
        return host in ("localhost", self._address.host) or host.endswith(".localhost") or _is_loopback(host)

    def has_token(self, query: str) -> bool:
        """Whether a query string has the token."""
        return self._token is not None and any(map(self._is_token, parse_qs(query).get("token", ())))

    def admits(self, authorization: str, cookies: str) -> bool:
        """Whether a request may be answered, by its Authorization and Cookie headers."""
        if self._token is None:
            return True
        scheme, _, given = authorization.partition(" ")
        if scheme.lower() == "bearer" and self._is_token(given.strip()):
            return True
        if scheme.lower() == "basic" and self._is_token(_password(given)):
            return True
        mine = f"otlpfast-{self._cookie}="
        pairs = (pair.strip() for pair in cookies.split(";"))
        return any(
            hmac.compare_digest(pair[len(mine) :].encode(), self._session.encode())
            for pair in pairs
            if pair.startswith(mine)
        )

    def _is_token(self, given: str) -> bool:
        return self._token is not None and hmac.compare_digest(given.encode("utf-8", "replace"), self._token)


def _password(basic: str) -> str:
    """Of ``http://anybody:PASSWORD@host``; empty where there is none."""
    try:
        return base64.b64decode(basic.strip(), validate=True).decode().partition(":")[2]
    except (binascii.Error, ValueError):
        return ""
