"""What ran, and where: what a reader has to know of a figure."""

from __future__ import annotations

import os
import platform
import sysconfig
from importlib.metadata import PackageNotFoundError, version

import otlpfast

PACKAGES = ("opentelemetry-sdk", "opentelemetry-exporter-otlp-proto-http", "protobuf")


def circumstances() -> dict[str, str]:
    """By name: otlpfast, python, the packages that it is compared with, the machine."""
    interpreter = f"{platform.python_implementation()} {platform.python_version()}"
    return {
        "otlpfast": f"{otlpfast.__version__}, implementation {otlpfast.IMPLEMENTATION!r}",
        "python": f"{interpreter}, {platform.python_compiler()}, {_build()}",
        **{name: version_of(name) for name in PACKAGES},
        "machine": f"{platform.system()} {platform.machine()}, {usable_cores()} cores, {_processor()}",
    }


def version_of(distribution: str) -> str:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return "not installed"


def usable_cores() -> int:
    """Processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def busy() -> str:
    """How busy the machine is, as far as it says."""
    try:
        return f"load average {os.getloadavg()[0]:.1f}"
    except (AttributeError, OSError):
        return "load average unknown"


def _build() -> str:
    options = sysconfig.get_config_var("CONFIG_ARGS") or ""
    return "PGO" if "--enable-optimizations" in options else "no PGO"


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as lines:
            return next(
                (line.partition(":")[2].strip() for line in lines if line.startswith("model name")), ""
            )
    except OSError:
        return platform.processor()
