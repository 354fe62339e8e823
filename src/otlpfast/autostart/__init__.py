"""What happens before a program that ``otlpfast run`` has started, and before its Python children."""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

FOLDER = os.path.dirname(os.path.abspath(__file__))
"""Has ``sitecustomize.py``; on ``PYTHONPATH`` it has every Python process configured as it starts."""

INSTRUMENTATION = "opentelemetry.instrumentation.auto_instrumentation"


def start() -> None:
    """Configures otlpfast and instruments what is installed. Never raises: the application starts anyway."""
    try:
        with _without_folder():
            _start()
    except Exception as error:
        print(f"otlpfast run: nothing is traced: {type(error).__name__}: {error}", file=sys.stderr)


def _start() -> None:
    from .mend import mend
    from .voice import speak_up

    speak_up()
    mend()
    if has_instrumentation():
        importlib.import_module(INSTRUMENTATION).initialize()
    else:
        from otlpfast.autoconfigure import OtlpfastConfigurator

        OtlpfastConfigurator().configure()  # type: ignore[no-untyped-call]


def has_instrumentation() -> bool:
    """Whether opentelemetry-instrumentation is installed."""
    try:
        return importlib.util.find_spec(INSTRUMENTATION) is not None
    except ModuleNotFoundError:  # not even the packages that it is in
        return False


@contextmanager
def _without_folder() -> Iterator[None]:
    # A Python process started while this one configures itself would start one, and so on.
    before = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    if FOLDER not in before:
        yield
        return
    os.environ["PYTHONPATH"] = os.pathsep.join(folder for folder in before if folder != FOLDER)
    try:
        yield
    finally:
        now = [folder for folder in os.environ.get("PYTHONPATH", "").split(os.pathsep) if folder]
        os.environ["PYTHONPATH"] = os.pathsep.join([FOLDER, *now])
