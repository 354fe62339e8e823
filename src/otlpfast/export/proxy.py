"""The proxy that the usual variables name for an endpoint.

`http_proxy`, `https_proxy` and `all_proxy` by the endpoint's scheme, `no_proxy` with the exceptions; lower
case wins over upper case, as in other programs. Credentials in them go into Proxy-Authorization only.
"""

from __future__ import annotations

import base64
import ipaddress
import os
from contextlib import suppress
from dataclasses import dataclass, field
from urllib.parse import unquote, unquote_to_bytes, urlsplit

from .endpoint import Endpoint, Unusable, ascii_host, mask_url

_ALLOWED = "http://host:port, also with user:password@"


@dataclass(frozen=True, slots=True)
class Proxy:
    """An HTTP proxy."""

    host: str
    port: int
    shown: str  # credentials masked: the only form for logs and errors
    authorization: str | None = field(repr=False)
    secrets: tuple[str, ...] = field(repr=False)


class ProxyRefused(OSError):
    """The proxy does not make the connection to the collector; `status` is its answer."""

    def __init__(self, status: int) -> None:
        super().__init__(f"HTTP {status}")
        self.status = status


def find_proxy(endpoint: Endpoint) -> Proxy | None:
    """The proxy for requests to an endpoint, if any. Raises Unusable for one that cannot be used, masked."""
    if endpoint.socket is not None:
        return None
    found = _variable("https_proxy" if endpoint.secure else "http_proxy") or _variable("all_proxy")
    if found is None or _is_excepted(endpoint.host, endpoint.port, (_variable("no_proxy") or ("", ""))[1]):
        return None
    name, text = found
    try:
        return _parse(text if "://" in text else f"http://{text}")
    except ValueError:
        pass  # outside the handler, so that no chained exception carries the credentials along
    raise Unusable(f"{name}='{mask_url(text)}' is not a proxy that can be used; allowed: {_ALLOWED}")


def _variable(name: str) -> tuple[str, str] | None:
    for spelling in (name, name.upper()):
        if spelling == "HTTP_PROXY" and "REQUEST_METHOD" in os.environ:
            continue  # a CGI program gets a client's `Proxy:` header under this name
        if text := os.environ.get(spelling, "").strip():
            return spelling, text
    return None


def _parse(text: str) -> Proxy:
    if any(c <= " " or c == "\x7f" or "\ud800" <= c <= "\udfff" for c in text):
        raise ValueError
    url = urlsplit(text)
    if url.scheme.lower() != "http" or not url.hostname:
        raise ValueError
    credentials, at, _ = url.netloc.rpartition("@")
    user, _, password = credentials.partition(":")
    pair = unquote_to_bytes(user) + b":" + unquote_to_bytes(password)
    basic = base64.b64encode(pair).decode("ascii")
    return Proxy(
        host=ascii_host(url.hostname),
        port=url.port or 80,
        shown=mask_url(text),
        authorization=f"Basic {basic}" if at else None,
        secrets=(password, unquote(password), basic) if at else (),
    )


def _is_excepted(host: str, port: int, exceptions: str) -> bool:
    """Whether `no_proxy` names the host: `*`, a name and all below it, a network, or with a port."""
    host = host.partition("%")[0].lower()
    address = None
    with suppress(ValueError):
        address = ipaddress.ip_address(host)
    for entry in exceptions.replace(",", " ").lower().split():
        if entry == "*":
            return True
        if address is not None:
            with suppress(ValueError):
                if address in ipaddress.ip_network(entry.strip("[]"), strict=False):
                    return True
        name, _, digits = entry.rpartition(":")
        if digits.isdecimal() and name and (":" not in name or name.endswith("]")):
            if len(digits) > 5 or int(digits) != port:
                continue
            entry = name
        entry = entry.strip("[]").removeprefix("*").lstrip(".")
        if entry and (host == entry or (address is None and host.endswith("." + entry))):
            return True
    return False
