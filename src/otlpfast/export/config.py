"""Settings of the OTLP exporter: an argument, else a variable, else the default.

Specification: "OpenTelemetry Protocol Exporter", configuration options. `OTEL_EXPORTER_OTLP_TRACES_*` wins
over `OTEL_EXPORTER_OTLP_*`, an argument over both, an empty variable is an unset one. A wrong argument
raises; a wrong variable gets one warning and the default. Neither shows the value of a header or the
credentials of a URL.
"""

from __future__ import annotations

import enum
import logging
import math
import os
import re
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from numbers import Real
from typing import TypeVar
from urllib.parse import unquote

from .compression import COMPRESSIONS, compressor_of
from .endpoint import URL_ALLOWED, Endpoint, Unusable, mask_url, parse_endpoint, printable
from .proxy import Proxy, find_proxy

__all__ = ["Endpoint", "Unusable", "mask_url", "parse_endpoint", "printable"]

logger = logging.getLogger("otlpfast.export")

DEFAULT_ENDPOINT = "http://localhost:4318/v1/traces"
DEFAULT_TIMEOUT = 10.0

_GENERIC = "OTEL_EXPORTER_OTLP_"
_TRACES = "OTEL_EXPORTER_OTLP_TRACES_"
_HEADERS_ALLOWED = (
    "name=value entries with commas between them; names of letters, digits and !#$%&'*+-.^_`|~; values "
    "percent-encoded, without line breaks and other controls; not the headers that frame the request"
)
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_FIELD_VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]*")
# What the official exporter reads from a variable; it takes a value with a space as it stands, undecoded.
_ENTRY = re.compile(r"([!#-'*+.0-9A-Z^-z|~-]+)[ \t]*=[ \t]*([ !#-+\--:<-\[\]-~]*)")
# They say where the body ends and what is in it: one more of them would give the request another meaning.
_FRAMING = re.compile(
    "connection|content-(encoding|length)|expect|keep-alive|proxy-connection|te|trailer|transfer-encoding|upgrade"
)
_PROTOBUF = "application/x-protobuf"

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class TLS:
    """How an https endpoint is spoken to; `trust` says in words whose certificates are accepted."""

    context: ssl.SSLContext = field(repr=False)
    trust: str


@dataclass(frozen=True, slots=True)
class Settings:
    """All that an OTLP/HTTP exporter needs to know. `timeout` in seconds, header names in lower case."""

    endpoint: Endpoint
    headers: Mapping[str, str] = field(repr=False)
    timeout: float
    compression: str
    tls: TLS | None
    proxy: Proxy | None = None

    def redact(self, text: str) -> str:
        """Text from outside with every header value and credential that it may echo taken out."""
        secrets = {*self.headers.values(), *self.endpoint.secrets}
        secrets.update(self.proxy.secrets if self.proxy else ())
        secrets.update(word for value in self.headers.values() for word in value.split())
        for secret in sorted(secrets, key=len, reverse=True):
            if len(secret) > 3:
                text = text.replace(secret, "***")
        return text


def resolve(
    endpoint: str | None = None,
    headers: Mapping[str, str] | None = None,
    timeout: float | None = None,
    compression: str | enum.Enum | None = None,
    certificate_file: str | os.PathLike[str] | None = None,
    client_key_file: str | os.PathLike[str] | None = None,
    client_certificate_file: str | os.PathLike[str] | None = None,
) -> Settings:
    """The settings from arguments, variables and defaults.

    Raises ValueError or TypeError for a wrong argument; they name it, its value (masked) and what is allowed.
    """
    if endpoint is not None and not isinstance(endpoint, str):
        raise TypeError(f"endpoint must be a str, {URL_ALLOWED}; it is {_kind(endpoint)}")
    if timeout is not None and (isinstance(timeout, bool) or not isinstance(timeout, Real)):
        raise TypeError(f"timeout must be a number of seconds above 0; it is {_kind(timeout)}")
    if isinstance(compression, enum.Enum):
        compression = compression.value  # the official exporter's enumeration
    if compression is not None and not isinstance(compression, str):
        raise TypeError(
            f"compression must be one of {', '.join(COMPRESSIONS)}; it is {printable(repr(compression))}"
        )
    place = _choose("endpoint", endpoint, "ENDPOINT", _read_endpoint, parse_endpoint(DEFAULT_ENDPOINT))
    return Settings(
        endpoint=place,
        headers=_resolve_headers(headers, place),
        timeout=_choose("timeout", timeout, "TIMEOUT", _read_timeout, DEFAULT_TIMEOUT),
        compression=_choose("compression", compression, "COMPRESSION", _read_compression, "none"),
        tls=_resolve_tls(place, certificate_file, client_key_file, client_certificate_file),
        proxy=_resolve_proxy(place),
    )


def _resolve_proxy(endpoint: Endpoint) -> Proxy | None:
    try:
        return find_proxy(endpoint)
    except Unusable as error:
        problem = str(error)
    logger.warning("%s; going without a proxy", problem)
    return None


def _kind(value: object) -> str:
    return f"of type {type(value).__name__}"


def _variable(suffix: str) -> tuple[str, str] | None:
    """The name and the text of the variable that counts, if one is set."""
    for name in (_TRACES + suffix, _GENERIC + suffix):
        if text := os.environ.get(name, "").strip():
            return name, text
    return None


def _choose(argument: str, value: object, suffix: str, read: Callable[[object, str], T], default: T) -> T:
    """`read(value, source)` of the argument or of the variable that counts; `default` if that is wrong."""
    found = (argument, value) if value is not None else _variable(suffix)
    if found is None:
        return default
    source, raw = found
    try:
        return read(raw, source)
    except Unusable as error:
        problem = str(error)
    # Outside the handler, so that no chained exception carries the raw value along.
    if value is not None:
        raise ValueError(f"{argument}={problem}")
    shown = default.shown if isinstance(default, Endpoint) else default
    logger.warning("%s=%s; using the default, %s", source, problem, shown)
    return default


def _read_endpoint(value: object, source: str) -> Endpoint:
    return parse_endpoint(str(value), base=source == _GENERIC + "ENDPOINT")


def _read_timeout(value: object, source: str) -> float:
    try:
        seconds = float(value)  # type: ignore[arg-type]
    except (ValueError, OverflowError):
        seconds = math.nan
    if not 0 < seconds < math.inf:
        raise Unusable(f"{printable(repr(value))} is not allowed; allowed: seconds, a finite number above 0")
    return seconds


def _read_compression(value: object, source: str) -> str:
    name = str(value).strip().lower()
    if name not in COMPRESSIONS:
        raise Unusable(f"{printable(repr(value))} is not known; allowed: {', '.join(COMPRESSIONS)}")
    if name == "zstd":
        compressor_of(name)  # is it there?
    return name


def _resolve_headers(argument: Mapping[str, str] | None, endpoint: Endpoint) -> dict[str, str]:
    """The user's headers. As with the official exporter an argument replaces single names of the variable."""
    headers: dict[str, str] = {}
    if found := _variable("HEADERS"):
        headers, wrong, entries = read_header_list(found[1])
        if wrong:
            which = ", ".join(map(str, wrong[:10])) + (", …" if len(wrong) > 10 else "")
            logger.warning(  # a piece of a value may look like a name, so not even names are shown
                "%s: of %d entries number %s cannot be used and is ignored (nothing is shown); allowed: %s",
                found[0], entries, which, _HEADERS_ALLOWED,
            )  # fmt: skip
    if argument is not None and not isinstance(argument, Mapping):
        raise TypeError(f"headers must be a mapping of str to str; it is {_kind(argument)}")
    for name, value in (argument or {}).items():
        if not isinstance(name, str):
            raise TypeError(f"headers must be a mapping of str to str; a name is {_kind(name)}")
        if not isinstance(value, str):
            raise TypeError(
                f"headers must be a mapping of str to str; the value of {printable(name)!r} is {_kind(value)}"
            )
        if problem := _header_problem(name, value.strip(" \t")):
            raise ValueError(f"headers: {printable(name)!r} {problem} (its value is not shown)")
        headers[name.lower()] = value.strip(" \t")
    headers.pop("content-type", None)  # can only be the one that is sent anyway
    if endpoint.authorization:
        headers.setdefault("authorization", endpoint.authorization)
    return headers


def read_header_list(text: str) -> tuple[dict[str, str], list[int], int]:
    """Headers of a variable, the positions (from 1) of unusable entries, and the number of all entries.

    Reads what `opentelemetry.util.re.parse_env_headers(liberal=True)` reads, which is not called because it
    logs entries that it does not understand, values and all.
    """
    headers: dict[str, str] = {}
    wrong: list[int] = []
    entries = [entry.strip() for entry in text.split(",")]
    for position, entry in enumerate(entries, 1):
        if not entry:
            continue
        match = _ENTRY.fullmatch(entry)
        name, value = match.groups() if match else ("", "")
        value = value.strip(" \t")
        if " " not in value:
            name, value = unquote(name).strip(), unquote(value).strip()
        if not match or _header_problem(name, value):
            wrong.append(position)
        else:
            headers[name.lower()] = value
    return headers, wrong, len(entries)


def _header_problem(name: str, value: str) -> str:
    """What forbids a header, in words that do not show its value; or nothing."""
    if not _TOKEN.fullmatch(name):
        return "is not the name of a header; allowed: letters, digits and !#$%&'*+-.^_`|~"
    if not _FIELD_VALUE.fullmatch(value):
        return (
            "has a value with characters that HTTP forbids; allowed: Latin-1 without line breaks and controls"
        )
    if _FRAMING.fullmatch(name.lower()):
        return "cannot be set: the exporter sets it itself"
    if name.lower() == "content-type" and value.lower() != _PROTOBUF:
        return f"cannot be set: the exporter sends {_PROTOBUF}"
    return ""


@dataclass(frozen=True, slots=True)
class _File:
    source: str  # the argument or the variable that named it
    path: str
    from_argument: bool

    def reject(self, problem: str, default: str) -> None:
        """Raise for an argument, warn for a variable."""
        shown = printable(repr(self.path), 300)
        if self.from_argument:
            raise ValueError(f"{self.source}={shown} {problem}; allowed: a readable PEM file")
        logger.warning(
            "%s=%s %s; allowed: a readable PEM file; using %s", self.source, shown, problem, default
        )


def _resolve_file(argument: str, value: object, suffix: str, default: str) -> tuple[_File | None, bool]:
    """The file that an argument or a variable names, and whether one was named that cannot be read."""
    if value is not None and not isinstance(value, (str, os.PathLike)):
        raise TypeError(f"{argument} must be a path (str or os.PathLike); it is {_kind(value)}")
    found = (argument, os.fspath(value)) if value is not None else _variable(suffix)
    if found is None:
        return None, False
    file = _File(found[0], os.fsdecode(found[1]), value is not None)
    try:
        with open(file.path, "rb"):
            return file, False
    except (OSError, ValueError) as error:  # ValueError: a zero byte in the path
        problem = f"cannot be read ({getattr(error, 'strerror', None) or 'not a path'})"
    file.reject(problem, default)
    return None, True


def _resolve_tls(endpoint: Endpoint, ca: object, key: object, certificate: object) -> TLS | None:
    trusted, _ = _resolve_file("certificate_file", ca, "CERTIFICATE", "the system's CAs")
    none = "no client certificate"
    key_file, key_bad = _resolve_file("client_key_file", key, "CLIENT_KEY", none)
    cert_file, cert_bad = _resolve_file("client_certificate_file", certificate, "CLIENT_CERTIFICATE", none)
    if key_file and not cert_file and not cert_bad:
        key_file.reject("is a client key without a client certificate (client_certificate_file)", none)
    if not (endpoint.secure or trusted or cert_file):
        return None
    context, trust = _trust(trusted)
    context.set_alpn_protocols(["http/1.1"])
    if cert_file and not key_bad:
        problem = ""
        try:
            # An empty password: without one OpenSSL would ask at the terminal for an encrypted key's.
            context.load_cert_chain(cert_file.path, key_file.path if key_file else None, password="")
        except (OSError, ValueError) as error:
            key_name = key_file.source if key_file else "the key in it"
            problem = f"cannot be used with {key_name} ({_tls_reason(error)})"
        if problem:
            cert_file.reject(problem, none)
    return TLS(context, trust) if endpoint.secure else None


def _trust(file: _File | None) -> tuple[ssl.SSLContext, str]:
    if file is not None:
        try:
            context = ssl.create_default_context(cafile=file.path)
            return context, f"the CA file {printable(repr(file.path), 300)} ({file.source})"
        except OSError as error:
            problem = f"is not a file of PEM certificates ({_tls_reason(error)})"
        file.reject(problem, "the system's CAs")
    return ssl.create_default_context(), "the system's CAs"


def _tls_reason(error: Exception) -> str:
    reason = getattr(error, "reason", None) or getattr(error, "strerror", None) or "not usable"
    return str(reason).replace("_", " ").lower()
