"""check_wheels.py DIRECTORY [OTHER]: what has to be in its sdist, compiled and pure wheel, and what must not.

With OTHER, where they were built again: files of the same name have to have the same bytes.
"""

from __future__ import annotations

import hashlib
import re
import sys
import tarfile
import zipfile
from pathlib import Path

from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

IN_WHEEL = (
    r"otlpfast/[\w/]+\.pyi?|otlpfast/py\.typed|otlpfast/(web|profiling)/static/\w+\.(html|css|js|svg)|"
    r"otlpfast-[\w.]+\.dist-info/[\w./]+"
)
EXTENSION = r"otlpfast/(_core|profiling/_sampler)\.[\w.-]+\.(so|pyd)"
SAMPLER = "src/otlpfast/profiling/_sampler/"
NEEDED_IN_WHEEL = {
    "otlpfast/__init__.py",
    "otlpfast/_pure/__init__.py",
    "otlpfast/_core.pyi",
    "otlpfast/py.typed",
    "otlpfast/profiling/static/flame.js",
    "otlpfast/web/static/index.html",
}
NEEDED_IN_DIST_INFO = ("licenses/LICENSE", "sboms/otlpfast.cdx.json")
NEEDED_IN_SDIST = {
    "pyproject.toml",
    "setup.py",
    "LICENSE",
    "README.md",
    "src/otlpfast/_core.pyx",
    "src/otlpfast/_core.pyi",
    "src/otlpfast/profiling/_sampler.pyx",
    "src/otlpfast/profiling/static/flame.js",
    "src/otlpfast/web/static/index.html",
}


def wheel_faults(archive: zipfile.ZipFile, *, compiled: bool) -> list[str]:
    """One line for each fault of a wheel."""
    names = {name for name in archive.namelist() if not name.endswith("/")}  # auditwheel names folders, too
    extensions = {name for name in names if re.fullmatch(EXTENSION, name)}
    dist_info = "-".join(Path(str(archive.filename)).name.split("-")[:2]) + ".dist-info"
    needed = {*NEEDED_IN_WHEEL, *(f"{dist_info}/{name}" for name in NEEDED_IN_DIST_INFO)}
    faults = [f"missing: {name}" for name in needed - names]
    for name in names:
        if name.endswith(".cdx.json"):
            bill = archive.read(name).decode()
            error = JsonStrictValidator(SchemaVersion.V1_6).validate_str(bill)
            faults += [f"{name}: {error}"] if error else []
            if ('"Cython"' in bill) != compiled:
                faults.append(f"{name}: Cython is {'missing' if compiled else 'named'}")
    faults += [f"not expected: {name}" for name in names - extensions if not re.fullmatch(IN_WHEEL, name)]
    if len(extensions) != 2 * compiled:
        faults.append(f"compiled core and sampler: {sorted(extensions) or 'none'}")
    return faults


def sdist_faults(names: set[str]) -> list[str]:
    """One line for each fault of an sdist that has these files (named without its top directory)."""
    faults = [f"missing: {name}" for name in NEEDED_IN_SDIST - names]
    core, tests = "src/otlpfast/_core/", "tests/"
    for folder, kind in [(core, ".pxi"), (core, ".pxd"), (SAMPLER, ".c"), (SAMPLER, ".h"), (tests, ".py")]:
        if not any(name.startswith(folder) and name.endswith(kind) for name in names):
            faults.append(f"missing: {folder}*{kind}")
    generated = {name for name in names if re.search(r"\.(c|so|pyd|pyc)$", name)}
    return faults + [f"generated: {name}" for name in generated if not name.startswith((SAMPLER, ".ci/"))]


def differences(directory: Path, other: Path) -> int:
    """How many of the files with the same name in both are not the same; 1 if there are none to compare."""
    count = common = 0
    for path in sorted(directory.iterdir()):
        again = other / path.name
        if again.exists():
            common += 1
            first, second = (hashlib.sha256(p.read_bytes()).hexdigest() for p in (path, again))
            count += first != second
            print(f"{path.name}: {first}, built again: {second if first != second else 'the same'}")
    return count if common else 1


def main(directory: Path, other: Path | None = None) -> int:
    """0 if there is one sdist, one compiled and one pure wheel, and each has what it should."""
    pure = list(directory.glob("*-py3-none-any.whl"))
    compiled = [path for path in directory.glob("*.whl") if path not in pure]
    sdists = list(directory.glob("*.tar.gz"))
    if not len(pure) == len(compiled) == len(sdists) == 1:
        found = ", ".join(sorted(path.name for path in directory.iterdir()))
        print(f"expected one sdist, one compiled and one pure wheel: {found}")
        return 1
    faults: dict[Path, list[str]] = {}
    for wheel in [*compiled, *pure]:
        with zipfile.ZipFile(wheel) as archive:
            faults[wheel] = wheel_faults(archive, compiled=wheel in compiled)
    with tarfile.open(sdists[0]) as archive:
        faults[sdists[0]] = sdist_faults(
            {m.name.partition("/")[2] for m in archive.getmembers() if m.isfile()}
        )
    for path, found in faults.items():
        print(f"{path.name}: {path.stat().st_size:,} bytes, {'as it should be' if not found else 'FAULTS'}")
        print("".join(f"  {fault}\n" for fault in sorted(found)), end="")
    return int(any(faults.values()) or (other is not None and differences(directory, other) > 0))


if __name__ == "__main__":
    sys.exit(main(*map(Path, sys.argv[1:])))
