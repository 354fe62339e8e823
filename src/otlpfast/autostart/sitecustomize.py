"""What Python imports at its start under ``otlpfast run``, from the folder that it put on ``PYTHONPATH``."""

from __future__ import annotations

import importlib.machinery
import importlib.util
import os
import sys


def _run_hidden() -> None:
    """Another ``sitecustomize``, which this one has taken the place of."""
    here = os.path.dirname(os.path.abspath(__file__))
    path = [folder for folder in sys.path if os.path.abspath(folder) != here]
    spec = importlib.machinery.PathFinder.find_spec("sitecustomize", path)
    if spec is not None and spec.loader is not None:
        module = importlib.util.module_from_spec(spec)
        sys.modules["sitecustomize"] = module  # as it would be without us
        spec.loader.exec_module(module)


def _start() -> None:
    try:
        from otlpfast.autostart import start
    except ModuleNotFoundError as error:
        if os.environ.get("OTLPFAST_QUIET", "").lower() != "true":
            print(f"otlpfast run: {sys.executable} is not traced: {error}", file=sys.stderr)
    except Exception as error:
        print(f"otlpfast run: nothing is traced: {type(error).__name__}: {error}", file=sys.stderr)
    else:
        start()


try:
    _run_hidden()
finally:
    _start()
