"""What Python imports at its start under ``otlpfast profile``, which put the folder on ``PYTHONPATH``."""

from __future__ import annotations

import importlib.machinery
import importlib.util
import os
import sys


def _run_hidden() -> None:
    """Another ``sitecustomize``, which this one has taken the place of: also that of ``otlpfast run``."""
    here = os.path.dirname(os.path.abspath(__file__))
    folders = [os.path.abspath(folder) for folder in sys.path]
    first = folders.index(here) if here in folders else len(folders)
    # What comes before has found this one; and it would again, were this one still on the path.
    sys.path[:] = [folder for folder in sys.path if os.path.abspath(folder) != here]
    spec = importlib.machinery.PathFinder.find_spec("sitecustomize", sys.path[first:])
    if spec is not None and spec.loader is not None:
        module = importlib.util.module_from_spec(spec)
        sys.modules["sitecustomize"] = module  # as it would be without us
        spec.loader.exec_module(module)


def _start() -> None:
    directory = os.environ.get("_OTLPFAST_PROFILE_ORDER")
    if not directory or not os.path.isdir(directory):
        return
    try:
        from otlpfast.profiling._ordered import begin
    except Exception as error:
        print(f"otlpfast profile: {sys.executable} is not profiled: {error}", file=sys.stderr)
    else:
        begin(directory)


try:
    _run_hidden()
finally:
    _start()
