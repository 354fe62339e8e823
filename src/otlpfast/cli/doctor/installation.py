"""What is installed: versions, the implementation, other distros, servers that fork."""

from __future__ import annotations

import difflib
import importlib
import os
import re
import time
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, entry_points, requires, version

from ... import _choice, environment_variables
from ...autostart import has_instrumentation
from .examination import Finding

_REQUIREMENT = re.compile(r"\s*([A-Za-z0-9._-]+)\s*>=\s*([0-9.]+)\s*")
_SELECTORS = {
    "opentelemetry_distro": "OTEL_PYTHON_DISTRO",
    "opentelemetry_configurator": "OTEL_PYTHON_CONFIGURATOR",
}
_AT_INSTALLATION = ("OTLPFAST_BUILD", "OTLPFAST_PGO", "OTLPFAST_SANITIZE")
_OLDEST_CLOCK = 1735689600  # seconds from 1970 to 2025: no clock of today is behind that


def look() -> Iterator[Finding]:
    """All that can be said without asking a collector."""
    yield from _versions()
    yield _implementation()
    yield from _switched_off()
    yield from _others()
    yield _instrumentation()
    yield from _servers()
    yield from _unknown_variables()
    if time.time() < _OLDEST_CLOCK:
        text = f"the clock says {time.strftime('%Y-%m-%d')}, so spans are filed in the past"
        yield Finding("clock", "problem", text, "set the clock (NTP)")


def _versions() -> Iterator[Finding]:
    found: dict[str, str] = {}
    try:
        needed = requires("otlpfast") or []
    except PackageNotFoundError:
        text = "otlpfast is on the path, but not installed: its entry points are not known"
        yield Finding("versions", "problem", text, "pip install otlpfast")
        return
    for requirement in needed:
        match = _REQUIREMENT.fullmatch(requirement)  # without an extra's marker
        if match is None:
            continue
        name, least = match.groups()
        found[name] = version(name)
        if _numbers(found[name]) < _numbers(least):
            text = f"{name} {found[name]} is older than the oldest that is supported, {least}"
            yield Finding("versions", "problem", text, f"pip install --upgrade '{name}>={least}'")
    shown = ", ".join(f"{name} {number}" for name, number in found.items())
    if len(set(found.values())) > 1:
        fix = "pip install --upgrade " + " ".join(found)
        yield Finding("versions", "problem", f"the API and the SDK are not of one release: {shown}", fix)
    else:
        yield Finding("versions", "ok", shown)


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", text)[:3])


def _implementation() -> Finding:
    wanted = os.environ.get("OTLPFAST_IMPL", "").strip().lower() or "auto"
    why = f"OTLPFAST_IMPL={wanted}" if wanted != "auto" else "it was built for this Python"
    try:
        loaded = importlib.import_module("otlpfast._impl").IMPLEMENTATION
    except Exception as error:
        text = f"otlpfast can't be loaded: {error}"
        fix = "unset OTLPFAST_IMPL" if isinstance(error, ValueError) else "install it anew"
        return Finding("implementation", "problem", text, f"{fix} (pip install --force-reinstall otlpfast)")
    if loaded == "c":
        return Finding("implementation", "ok", f"compiled: {why}")
    if _choice.DISABLED:
        return Finding("implementation", "ok", "none is used: OTLPFAST_DISABLED=true")
    if wanted == "auto":
        why = "no compiled core was built for this Python"
    text = f"plain Python, which is slower: {why}"
    fix = (
        "a C compiler and OTLPFAST_BUILD=require pip install --force-reinstall --no-binary otlpfast otlpfast"
    )
    return Finding("implementation", "hint", text, fix if wanted == "auto" else "unset OTLPFAST_IMPL")


def _switched_off() -> Iterator[Finding]:
    if _choice.DISABLED:
        text = "OTLPFAST_DISABLED=true: the SDK's stock classes are used in place of otlpfast's"
        yield Finding("switch", "hint", text, "unset OTLPFAST_DISABLED")
    if os.environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        yield Finding(
            "switch", "problem", "OTEL_SDK_DISABLED=true: nothing is recorded", "unset OTEL_SDK_DISABLED"
        )


def _others() -> Iterator[Finding]:
    """Distros and configurators, of which auto-instrumentation takes one."""
    for group, variable in _SELECTORS.items():
        what = group.removeprefix("opentelemetry_")
        names = [entry.name for entry in entry_points(group=group)]
        chosen = os.environ.get(variable, "")
        if chosen and chosen not in names:
            text = f"{variable}={chosen[:100]!r} is not installed; there is {', '.join(names) or 'none'}"
            yield Finding(what, "problem", text, f"set {variable}=otlpfast")
        elif chosen and chosen != "otlpfast":
            yield Finding(
                what, "hint", f"{variable}={chosen}: otlpfast is not what it takes", f"{variable}=otlpfast"
            )
        elif not chosen and len(names) > 1:
            text = (
                f"there are several ({', '.join(names)}): opentelemetry-instrument takes {names[0]}, "
                "otlpfast run takes otlpfast"
            )
            yield Finding(what, "hint", text, f"set {variable}=otlpfast")
        elif "otlpfast" in names:
            yield Finding(what, "ok", "otlpfast" if chosen or len(names) == 1 else ", ".join(names))


def _instrumentation() -> Finding:
    names = sorted({entry.name for entry in entry_points(group="opentelemetry_instrumentor")})
    if has_instrumentation() and names:
        return Finding("instrumentation", "ok", f"{len(names)} installed: {', '.join(names)}")
    text = "no instrumentation is installed: otlpfast run records what the program's own code makes"
    fix = "pip install 'otlpfast[auto]' && opentelemetry-bootstrap -a install"
    return Finding("instrumentation", "hint", text, fix)


def _servers() -> Iterator[Finding]:
    if not hasattr(os, "fork"):
        yield Finding("fork", "ok", "this system does not fork")
        return
    there = [name for name in ("gunicorn", "uwsgi", "celery") if _is_installed(name)]
    text = "a forked child gets its own queue, thread, connection and ids"
    yield Finding("fork", "ok", text + (f" ({', '.join(there)} installed)" if there else ""))
    if "uwsgi" in there:
        text = "uwsgi runs no threads of Python by default, and none sends spans"
        yield Finding("fork", "hint", text, "uwsgi --enable-threads")
    if _is_installed("gevent"):
        text = (
            "gevent has to patch before anything is imported, and configuration comes earlier than your code"
        )
        fix = (
            "where gevent is used with otlpfast run: "
            "OTEL_PYTHON_AUTO_INSTRUMENTATION_EXPERIMENTAL_GEVENT_PATCH=patch_all and otlpfast[auto]"
        )
        yield Finding("gevent", "hint", text, fix)


def _is_installed(package: str) -> bool:
    try:
        version(package)
    except PackageNotFoundError:
        return False
    return True


def _unknown_variables() -> Iterator[Finding]:
    own = [name for name in vars(environment_variables) if name.startswith("OTLPFAST_")]
    for name in sorted(os.environ):
        if name.startswith("OTLPFAST_") and name not in (*own, *_AT_INSTALLATION):
            near = difflib.get_close_matches(name, own, 1)
            fix = f"{near[0]}?" if near else f"there are {', '.join(own)}"
            yield Finding("variables", "problem", f"{name} is not known", fix)
    standard = _standard_variables()
    for name in sorted(os.environ):
        if name.startswith("OTEL_") and name not in standard:
            near = difflib.get_close_matches(name, standard, 1, cutoff=0.9)
            if near:
                yield Finding("variables", "hint", f"{name} is not one that is known here", f"{near[0]}?")


def _standard_variables() -> set[str]:
    names: set[str] = set()
    for entry in entry_points(group="opentelemetry_environment_variables"):
        try:
            names.update(name for name in dir(entry.load()) if name.startswith("OTEL_"))
        except Exception:  # another package's trouble
            continue
    return names
