"""What comes from outside, at random: headers, variables, files, answers. Nothing of it may raise or hang.

    python -m tests.fuzz --seconds 60                     each target for its share of that; ``make fuzz``
    python -m tests.fuzz --seconds 60 --only spool_file   one of those in tests/fuzz_targets.py

Inputs are Hypothesis' own and then, where atheris is installed, those that libFuzzer comes up with, led by
the lines of otlpfast's Python that they reach. A fault is shown with its input, and the exit status is 1.
"""

from __future__ import annotations

import argparse
import faulthandler
import importlib.util
import itertools
import logging
import os
import re
import subprocess
import sys
import time
import traceback

HANGS = 60  # seconds that one input can't take


def by_hypothesis(name: str, seconds: float) -> bool:
    """Runs a target with ever new inputs until the time is over; whether nothing was found."""
    from .fuzz_targets import as_test

    tried, until = itertools.count(), time.monotonic() + seconds
    target = as_test(name, count=lambda: next(tried))
    try:
        while time.monotonic() < until:
            faulthandler.dump_traceback_later(seconds + HANGS, exit=True)
            target()
    except Exception:
        traceback.print_exc()
        return False
    finally:
        faulthandler.cancel_dump_traceback_later()
        print(f"{name}, by Hypothesis: {next(tried):,} inputs", flush=True)
    return True


def by_atheris(name: str, seconds: float) -> bool:
    """The same by libFuzzer, in a process of its own, for that is what libFuzzer ends."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.fuzz", "--only", name, "--seconds", str(seconds), "--libfuzzer"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        check=False,
    )
    if done.returncode:
        print(done.stdout)
    tried = re.findall(r"Done (\d+) runs", done.stdout)
    print(f"{name}, by atheris: {int(tried[-1]) if tried else 0:,} inputs", flush=True)
    return done.returncode == 0


def become_libfuzzer(name: str, seconds: float) -> None:
    """Does not return."""
    import atheris

    with atheris.instrument_imports(include=["otlpfast"]):
        from .fuzz_targets import as_test
    corpus = f".hypothesis/atheris/{name}"
    os.makedirs(corpus, exist_ok=True)
    limits = [f"-max_total_time={max(round(seconds), 1)}", "-max_len=4096", f"-timeout={HANGS}"]
    options = [*limits, f"-artifact_prefix={corpus}/", corpus]
    atheris.Setup([sys.argv[0], *options], as_test(name).hypothesis.fuzz_one_input)
    atheris.Fuzz()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60, help="for all targets together (60)")
    parser.add_argument("--only", action="append", metavar="TARGET", help="of tests/fuzz_targets.py")
    parser.add_argument("--libfuzzer", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    logging.disable()
    if arguments.libfuzzer:
        become_libfuzzer(arguments.only[0], arguments.seconds)
    from .fuzz_targets import TARGETS

    names = arguments.only or list(TARGETS)
    if unknown := set(names) - set(TARGETS):
        parser.error(f"there is no target {', '.join(unknown)}; there are {', '.join(TARGETS)}")
    engines = [by_hypothesis, *[by_atheris] * (importlib.util.find_spec("atheris") is not None)]
    share = arguments.seconds / len(names) / len(engines)
    failed = [name for name in names if not all(engine(name, share) for engine in engines)]
    print(f"faults in: {', '.join(failed)}" if failed else "no faults")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
