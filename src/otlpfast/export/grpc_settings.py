"""Settings of the OTLP/gRPC exporter; the rules of `config` hold, here is what gRPC has otherwise.

Specification: "OpenTelemetry Protocol Exporter", configuration options. This module does not import grpcio.
"""

from __future__ import annotations

import dataclasses
import enum
import importlib.metadata
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from numbers import Real
from typing import Any
from urllib.parse import quote

from . import config
from .config import Endpoint, Settings, Unusable, logger, parse_endpoint, printable

DEFAULT_ENDPOINT = "http://localhost:4317"
COMPRESSIONS = ("none", "gzip", "deflate")  # of grpcio
PROVIDERS = "opentelemetry_otlp_credential_provider"  # the group of entry points

_ALLOWED = "host:port, an http:// or https:// URL with a host, or a gRPC target such as unix:///path"
_TARGET = re.compile(r"(unix|unix-abstract|dns|ipv4|ipv6|vsock|xds|passthrough):\S+")
_HOST_PORT = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^\s:/?#@\[\]]+)(:[0-9]{1,5})?")
_GRPC_NAME = re.compile(r"[0-9a-z_.-]+")
_GRPC_VALUE = re.compile(r"[\x20-\x7e]*")
_SYSTEM = "the system's CAs"  # how `config` calls it
_OWN_CAS = "the CAs that come with gRPC"
_PROVIDER_VARIABLES = (
    "OTEL_PYTHON_EXPORTER_OTLP_GRPC_TRACES_CREDENTIAL_PROVIDER",
    "OTEL_PYTHON_EXPORTER_OTLP_GRPC_CREDENTIAL_PROVIDER",
)


@dataclass(frozen=True, slots=True)
class PEM:
    """Contents of PEM files, each None where there is none; `trust` says whose certificates are accepted."""

    roots: bytes | None = None
    key: bytes | None = field(default=None, repr=False)
    chain: bytes | None = None
    trust: str = _OWN_CAS


@dataclass(frozen=True, slots=True, kw_only=True)
class GRPCSettings(Settings):
    """All that an OTLP/gRPC exporter needs to know; `endpoint.target` is what gRPC gets to see."""

    metadata: tuple[tuple[str, str | bytes], ...] = field(repr=False)
    pem: PEM
    credentials: Any = field(repr=False)  # grpc.ChannelCredentials, or None: they are made of `pem`


def resolve_grpc(
    endpoint: str | None,
    headers: Mapping[str, str] | None,
    timeout: float | None,
    compression: str | enum.Enum | None,
    certificate_file: object,
    client_key_file: object,
    client_certificate_file: object,
    insecure: bool | None,
    credentials: object,
    credentials_type: type,
) -> GRPCSettings:
    """The settings from arguments, variables and defaults.

    Raises ValueError or TypeError for a wrong argument; they name it, its value (masked) and what is allowed.
    """
    if isinstance(compression, enum.Enum):  # grpc.Compression or the official HTTP exporter's
        compression = {"NoCompression": "none"}.get(compression.name, compression.name)
    if compression is not None and not isinstance(compression, str):
        raise TypeError(f"compression must be a str; it is {config._kind(compression)}")
    if insecure is not None and not isinstance(insecure, bool):
        raise TypeError(f"insecure must be a bool; it is {config._kind(insecure)}")
    if credentials is not None and not isinstance(credentials, credentials_type):
        raise TypeError(f"credentials must be grpc.ChannelCredentials; it is {config._kind(credentials)}")
    if endpoint is not None and not isinstance(endpoint, str):
        raise TypeError(f"endpoint must be a str, {_ALLOWED}; it is {config._kind(endpoint)}")
    if timeout is not None and (isinstance(timeout, bool) or not isinstance(timeout, Real)):
        raise TypeError(f"timeout must be a number of seconds above 0; it is {config._kind(timeout)}")
    place = _resolve_endpoint(endpoint, insecure)
    if place.secure:
        credentials = credentials or _provided(credentials_type)
    elif credentials is not None:
        logger.warning("credentials are not used: %s is an insecure endpoint", place.shown)
        credentials = None
    fields = _resolve_metadata(headers, place)
    return GRPCSettings(
        endpoint=place,
        headers=fields,
        timeout=config._choose("timeout", timeout, "TIMEOUT", config._read_timeout, config.DEFAULT_TIMEOUT),
        compression=config._choose("compression", compression, "COMPRESSION", _read_compression, "none"),
        tls=None,
        metadata=tuple((k, v.encode() if k.endswith("-bin") else v) for k, v in fields.items()),
        pem=PEM()
        if credentials or not place.secure
        else _resolve_pem(certificate_file, client_key_file, client_certificate_file),
        credentials=credentials,
    )


def _read_compression(value: object, source: str) -> str:
    name = str(value).strip().lower()
    if name not in COMPRESSIONS:
        what = "works over HTTP alone: grpcio has none" if name == "zstd" else "is not known"
        raise Unusable(f"{printable(repr(value))} {what}; allowed: {', '.join(COMPRESSIONS)}")
    return name


def parse_target(text: str) -> Endpoint:
    """Take an endpoint apart. Raises Unusable, with credentials masked.

    Without an http or https scheme it is secure. Specification: "Endpoint (OTLP/gRPC)".
    """
    text = text.strip()
    scheme = text.partition("://")[0].lower()
    if "://" in text and scheme in ("http", "https"):
        url = parse_endpoint(text)
        host = url.host.partition("%")[0]
        name = f"[{quote(url.host, safe=':')}]" if ":" in host else host
        # A URL's path has no place in gRPC.
        shown = f"{scheme}://{'***@' if url.authorization else ''}{name}:{url.port}"
        target = f"dns:///{name}:{url.port}"
        return dataclasses.replace(url, url=f"{name}:{url.port}", shown=shown, target=target)
    match = _HOST_PORT.fullmatch(text)
    if not (_TARGET.fullmatch(text) and text.isprintable()) and not (match and _is_port(match[2])):
        raise Unusable(f"'{config.mask_url(text)}' is no endpoint; allowed: {_ALLOWED}")
    host, port = (match[1], int((match[2] or ":443")[1:])) if match else ("", 0)
    return Endpoint(text, config.mask_url(text), True, host, port, "", text, None, ())


def _is_port(text: str | None) -> bool:
    return text is None or 0 < int(text[1:]) < 65536


def _resolve_endpoint(endpoint: str | None, insecure: bool | None) -> Endpoint:
    def read(value: object, source: str) -> Endpoint:
        return parse_target(str(value))

    def read_bool(value: object, source: str) -> bool:
        if isinstance(value, bool) or str(value).lower() in ("true", "false"):
            return str(value).lower() == "true"
        raise Unusable(f"{printable(repr(value))} is not allowed; allowed: true, false")

    place = config._choose("endpoint", endpoint, "ENDPOINT", read, parse_target(DEFAULT_ENDPOINT))
    if "://" in place.shown and place.shown.startswith(("http://", "https://")):
        return place  # the scheme counts, and `insecure` does not
    return dataclasses.replace(
        place, secure=not config._choose("insecure", insecure, "INSECURE", read_bool, False)
    )


def _resolve_metadata(argument: Mapping[str, str] | None, endpoint: Endpoint) -> dict[str, str]:
    """The headers that gRPC can send. Specification "gRPC over HTTP2": Custom-Metadata."""
    headers = config._resolve_headers(argument, endpoint)
    given = {name.lower() for name in argument or ()}
    for name, value in list(headers.items()):
        problem = ""
        if not _GRPC_NAME.fullmatch(name) or name.startswith("grpc-"):
            problem = "is a name that gRPC does not send; allowed: letters, digits and _.-, not grpc-…"
        elif not name.endswith("-bin") and not _GRPC_VALUE.fullmatch(value):
            problem = "has a value with characters that gRPC does not send; allowed: printable ASCII"
        if problem and name in given:
            raise ValueError(f"headers: {printable(name)!r} {problem} (its value is not shown)")
        if problem:
            del headers[name]  # its name is not shown: a piece of a value may look like one
            logger.warning("headers: one from the variable %s; it is ignored (nothing is shown)", problem)
    return headers


def _provided(kind: type) -> Any:
    """The credentials of the provider that a variable names, or None. What a provider raises is not shown."""
    named = [(name, os.environ.get(name, "").strip()) for name in _PROVIDER_VARIABLES]
    found = next((pair for pair in named if pair[1]), None)
    if found is None:
        return None
    entries: Sequence[Any] = [*importlib.metadata.entry_points(group=PROVIDERS, name=found[1])]
    try:
        make: Callable[[], object] | None = entries[0].load() if entries else None
        made = make() if make else None
        if isinstance(made, kind):
            return made
        problem = f"there is none of that name in {PROVIDERS!r}"
        if make:
            problem = f"it gave a {type(made).__name__} and not grpc.ChannelCredentials"
    except Exception as error:
        problem = f"it raised {type(error).__name__}"
    shown = printable(repr(found[1]))
    logger.warning("%s=%s: %s; using TLS without it", found[0], shown, problem)
    return None


def _resolve_pem(ca: object, key: object, certificate: object) -> PEM:
    """The contents of files that were found to be usable, as `config` finds it for HTTP."""
    none = "no client certificate"
    trusted, _ = config._resolve_file("certificate_file", ca, "CERTIFICATE", _OWN_CAS)
    key_file, key_bad = config._resolve_file("client_key_file", key, "CLIENT_KEY", none)
    chain, chain_bad = config._resolve_file(
        "client_certificate_file", certificate, "CLIENT_CERTIFICATE", none
    )
    if key_file and not chain and not chain_bad:
        key_file.reject("is a client key without a client certificate (client_certificate_file)", none)
    context, trust = config._trust(trusted)
    if trust == _SYSTEM:  # the file was rejected
        trusted = None
    if chain and not key_bad:
        problem = ""
        try:
            # An empty password: without one OpenSSL would ask at the terminal for an encrypted key's.
            context.load_cert_chain(chain.path, key_file.path if key_file else None, password="")
        except (OSError, ValueError) as error:
            problem = f"cannot be used with its key ({config._tls_reason(error)})"
        if not problem:
            return PEM(_read(trusted), _read(key_file or chain), _read(chain), trust if trusted else _OWN_CAS)
        chain.reject(problem, none)
    return PEM(roots=_read(trusted), trust=trust if trusted else _OWN_CAS)


def _read(file: config._File | None) -> bytes | None:
    if file is None:
        return None
    with open(file.path, "rb") as opened:
        return opened.read()
