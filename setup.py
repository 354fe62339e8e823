"""Builds the compiled core and the compiled sampler; all else about the package stands in pyproject.toml.

Wheels have a bill of materials, and a build that is repeated with SOURCE_DATE_EPOCH gives the same bytes.

OTLPFAST_BUILD=auto      the default: both, or one line of warning and the pure package
OTLPFAST_BUILD=require   both, or the build fails
OTLPFAST_BUILD=pure      neither: a py3-none-any wheel
OTLPFAST_PGO=1           the core is compiled twice: the second time with a profile of bench/training.py (gcc)
OTLPFAST_SANITIZE=1      the compiled core under AddressSanitizer and UndefinedBehaviorSanitizer (gcc)
OTLPFAST_COVERAGE=1      both count how often each line of their C runs, for make coverage (gcc)
"""

from __future__ import annotations

import gzip
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from glob import glob
from pathlib import Path
from textwrap import shorten
from typing import Any

from setuptools import Distribution, Extension, setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_ext import build_ext
from setuptools.command.sdist import sdist

BUILDS = ("auto", "require", "pure")
LICENSE = "Apache-2.0"
CORE = "otlpfast._core"
SAMPLER = "otlpfast.profiling._sampler"
SANITIZERS = "-fsanitize=address,undefined"
TRAINING = "bench/training.py"
# The second build has to find its profile, or it fails. Counts that threads made at once need not add up.
# Code that no training reached is optimised as ever.
PROFILED = [
    "-fprofile-use",
    "-fprofile-correction",
    "-fprofile-partial-training",
    "-Werror=missing-profile",
]

# With binding=False a method is a C method descriptor, which the interpreter calls faster than Cython's own
# function type; inspect.signature and stubtest then read the signature that embedsignature wrote.
DIRECTIVES = {
    "language_level": 3,
    "boundscheck": False,
    "wraparound": False,
    "cdivision": True,
    "initializedcheck": False,
    "embedsignature": True,
    "embedsignature.format": "clinic",
    "binding": False,
}


def setting(name: str, default: str, allowed: tuple[str, ...]) -> str:
    """The environment variable, or the default if it is unset or empty; SystemExit if it is not allowed."""
    value = os.environ.get(name) or default
    if value not in allowed:
        raise SystemExit(f"{name}={value!r} is not understood: allowed are {', '.join(allowed)}")
    return value


BUILD = setting("OTLPFAST_BUILD", "auto", BUILDS)
PGO = setting("OTLPFAST_PGO", "0", ("0", "1")) == "1"
SANITIZE = setting("OTLPFAST_SANITIZE", "0", ("0", "1")) == "1"
COVERAGE = setting("OTLPFAST_COVERAGE", "0", ("0", "1")) == "1"


def warn(message: str, reason: object) -> None:
    """One line for whoever builds."""
    print(f"otlpfast: warning: {message} ({shorten(str(reason), 200, placeholder=' ...')})", file=sys.stderr)


class BuildNative(build_ext):
    """build_ext that generates C in the build directory and, in auto mode, can do without a compiler."""

    def run(self) -> None:
        inplace = self.inplace  # setuptools changes it while it builds
        try:
            super().run()
        # Whatever is missing on a machine (compiler, headers, Cython), the pure package works there.
        except Exception as error:
            if BUILD == "require":
                raise
            self.inplace = inplace
            self._go_on_without()
            message = "the compiled core was not built, the slower pure-Python package is installed instead"
            warn(message, f"{type(error).__name__}: {error}")

    def build_extension(self, ext: Extension) -> None:
        # Here and not at the top: neither an sdist nor a pure build needs Cython.
        from Cython.Build import cythonize

        # Always anew: neither Cython nor setuptools would see that a directive or a flag changed here.
        translated = cythonize(
            [ext],
            build_dir=self.build_temp,
            include_path=["src"],
            compiler_directives=DIRECTIVES,
            force=True,
            quiet=True,
        )
        ext.sources, ext.define_macros = translated[0].sources, translated[0].define_macros
        compiling, linking = self._flags()
        if PGO and not SANITIZE and not COVERAGE and ext.name == CORE:
            self._build_with_a_profile(ext, compiling, linking)
        else:
            self._build(ext, compiling, linking)

    def _build(self, ext: Extension, compiling: list[str], linking: list[str]) -> None:
        ext.extra_compile_args, ext.extra_link_args = compiling, linking
        super().build_extension(ext)

    def _build_with_a_profile(self, ext: Extension, compiling: list[str], linking: list[str]) -> None:
        """Builds the core twice; without a profile if there can be none, but where the core is required."""
        if not self._compiles_with_gcc():
            warn("the core was built without a profile", "OTLPFAST_PGO=1 takes gcc")
            return self._build(ext, compiling, linking)
        # gcc looks for the profile beside the object file: both builds have the same place for that.
        folder = Path(self.build_temp, "profile").resolve()
        shutil.rmtree(folder, ignore_errors=True)
        outside = shutil.ignore_patterns("*.so", "*.pyd", "__pycache__")
        shutil.copytree("src/otlpfast", folder / "otlpfast", ignore=outside)
        try:
            with self._into(folder, folder):
                self._build(ext, [*compiling, "-fprofile-generate"], [*linking, "-fprofile-generate"])
            self._train(folder)
        except Exception as error:
            if BUILD == "require":
                raise
            warn("the core was built without a profile", f"{type(error).__name__}: {error}")
            return self._build(ext, compiling, linking)
        with self._into(folder):
            self._build(ext, [*compiling, *PROFILED], linking)

    def _compiles_with_gcc(self) -> bool:
        if self.compiler.compiler_type != "unix":
            return False
        command = [self.compiler.compiler_so[0], "--version"]
        said = subprocess.run(command, capture_output=True, text=True, check=False).stdout
        return "Free Software Foundation" in said

    @contextmanager
    def _into(self, objects: Path, library: Path | None = None) -> Iterator[None]:
        """Builds within go to these folders."""
        kept = self.build_temp, self.build_lib, self.inplace
        self.build_temp = str(objects)
        if library:
            self.build_lib, self.inplace = str(library), False
        try:
            yield
        finally:
            self.build_temp, self.build_lib, self.inplace = kept

    def _train(self, folder: Path) -> None:
        """Runs the training program with the package that is in the folder; RuntimeError if it fails."""
        ours = {
            name: text for name, text in os.environ.items() if not name.startswith(("OTEL_", "OTLPFAST_"))
        }
        path = os.pathsep.join(filter(None, (str(folder), os.environ.get("PYTHONPATH"))))
        seen = {"PYTHONPATH": path, "PYTHONHASHSEED": "0", "OTLPFAST_IMPL": "c"}
        command = [sys.executable, TRAINING]
        done = subprocess.run(command, env={**ours, **seen}, capture_output=True, text=True, timeout=600)
        if done.returncode:
            raise RuntimeError(f"{TRAINING} failed: {done.stderr.strip()[-500:] or done.returncode}")

    def _flags(self) -> tuple[list[str], list[str]]:
        """The arguments for the compiler and for the linker."""
        if self.compiler.compiler_type == "msvc":
            return ["/O2"], []
        if SANITIZE:
            checks = [SANITIZERS, "-fno-sanitize-recover=all", "-fno-omit-frame-pointer"]
            return [*checks, "-O1", "-g"], [SANITIZERS]
        if COVERAGE:
            # Threads count at once, and child processes into the same files. Lines of a function that was
            # inlined before there are counters may be nowhere but in the copy that nobody calls.
            counted = ["--coverage", "-fprofile-update=atomic", "-fno-early-inlining"]
            return [*counted, "-O1", "-g0", "-w"], ["--coverage"]
        # Most interpreters pass -g on: the wheel would have six times the size and name the build directory.
        # What CFLAGS says is among the arguments already, but before these: said again, it wins.
        return ["-O3", "-g0", "-fvisibility=hidden", *shlex.split(os.environ.get("CFLAGS", ""))], []

    def _go_on_without(self) -> None:
        """Forget the extension: neither an older build of it nor a platform tag may get into the wheel."""
        for extension in self.extensions:
            Path(self.get_ext_fullpath(extension.name)).unlink(missing_ok=True)
        self.extensions = []
        self.distribution.ext_modules = []
        wheel = self.distribution.get_command_obj("bdist_wheel", create=False)
        if wheel is not None:
            wheel.root_is_pure = True


def component(kind: str, name: str, **more: Any) -> dict[str, Any]:
    """A component of a bill of materials: a package of the index."""
    version = more.get("version", "")
    purl = f"pkg:pypi/{name.lower()}" + (f"@{version}" if version else "")
    return {"type": kind, "bom-ref": purl, "name": name, **more, "purl": purl}


def bill_of_materials(distribution: Distribution) -> str:
    """What is in the wheel and what it needs, as CycloneDX 1.6; the same for the same inputs."""
    ours = component(
        "library",
        distribution.get_name(),
        version=distribution.get_version(),
        description=distribution.get_description(),
        licenses=[{"license": {"id": LICENSE}}],
    )
    needed = [
        component("library", name, properties=[{"name": "python:requirement", "value": requirement}])
        for requirement in sorted(distribution.install_requires)
        for name in re.findall(r"^[\w.-]+", requirement)
    ]
    compiled = []
    if distribution.ext_modules:
        from Cython import __version__ as cython

        # A wheel says nowhere else that it has code of Cython's run time in it.
        compiled.append(
            component("library", "Cython", version=cython, licenses=[{"license": {"id": "Apache-2.0"}}])
        )
    parts = [*compiled, *needed]
    bill = {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {"lifecycles": [{"phase": "build"}], "component": ours},
        "components": parts,
        "dependencies": [
            {"ref": ours["bom-ref"], "dependsOn": sorted(part["bom-ref"] for part in parts)},
            *({"ref": part["bom-ref"]} for part in parts),
        ],
    }
    bill["serialNumber"] = uuid.uuid5(uuid.NAMESPACE_URL, json.dumps(bill)).urn
    return json.dumps(bill, indent=2) + "\n"


class WheelWithBill(bdist_wheel):
    """bdist_wheel with the bill of materials where PEP 770 has it."""

    def write_wheelfile(self, wheelfile_base: str, *args: Any, **kwargs: Any) -> None:
        super().write_wheelfile(wheelfile_base, *args, **kwargs)
        folder = Path(wheelfile_base, "sboms")
        folder.mkdir(exist_ok=True)
        folder.joinpath("otlpfast.cdx.json").write_text(bill_of_materials(self.distribution), "utf-8")


class RepeatableSdist(sdist):
    """sdist whose archive knows nothing of who built it where and, given SOURCE_DATE_EPOCH, when."""

    def make_archive(self, base_name: str, format: str, *args: Any, **more: Any) -> str:
        folder = more.get("base_dir")
        if format != "gztar" or args or not folder:
            return str(super().make_archive(base_name, format, *args, **more))
        when = int(os.environ.get("SOURCE_DATE_EPOCH") or time.time())

        def plain(member: tarfile.TarInfo) -> tarfile.TarInfo:
            member.uid = member.gid = 0
            member.uname = member.gname = ""
            member.mtime = when
            member.mode = 0o755 if member.isdir() or member.mode & 0o100 else 0o644
            return member

        archive = f"{base_name}.tar.gz"
        self.mkpath(os.path.dirname(archive))
        with (
            open(archive, "wb") as file,
            gzip.GzipFile("", "wb", fileobj=file, mtime=when) as packed,
            tarfile.open(mode="w", fileobj=packed, format=tarfile.PAX_FORMAT) as tar,
        ):
            tar.add(folder, filter=plain)  # in the order of names
        return archive


def extensions() -> list[Extension]:
    """The core; and the sampler, which reads the frames of CPython, where it knows them."""
    counting = [".ci/counted_exit.c"] if COVERAGE else []
    found = [Extension(CORE, ["src/otlpfast/_core.pyx", *counting])]
    has_gil = not sysconfig.get_config_var("Py_GIL_DISABLED")
    if sys.implementation.name == "cpython" and sys.platform in ("linux", "darwin") and has_gil:
        parts = "src/otlpfast/profiling/_sampler"
        sources = [f"{parts}.pyx", *sorted(glob(f"{parts}/*.c")), *counting]
        found.append(Extension(SAMPLER, sources, include_dirs=["src/otlpfast/profiling"], libraries=["m"]))
    return found


setup(
    ext_modules=[] if BUILD == "pure" else extensions(),
    cmdclass={"build_ext": BuildNative, "bdist_wheel": WheelWithBill, "sdist": RepeatableSdist},
    # What the training imports. Asked what a build takes, setuptools looks here, in a run of egg_info; a
    # front end installs it then for this build alone. In other runs setuptools would try that itself.
    setup_requires=["opentelemetry-sdk>=1.45"] if PGO and "egg_info" in sys.argv else [],
)
