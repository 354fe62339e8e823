"""Builds the compiled core; what else there is to say about the package stands in pyproject.toml.

OTLPFAST_BUILD=auto      the default: the compiled core, or one line of warning and the pure package
OTLPFAST_BUILD=require   the compiled core, or the build fails
OTLPFAST_BUILD=pure      no compiled core: a py3-none-any wheel
OTLPFAST_SANITIZE=1      the compiled core under AddressSanitizer and UndefinedBehaviorSanitizer (gcc)
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from textwrap import shorten

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

BUILDS = ("auto", "require", "pure")
SANITIZERS = "-fsanitize=address,undefined"

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
SANITIZE = setting("OTLPFAST_SANITIZE", "0", ("0", "1")) == "1"


class BuildCore(build_ext):
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
            reason = shorten(f"{type(error).__name__}: {error}", 200, placeholder=" ...")
            message = "the compiled core was not built, the slower pure-Python package is installed instead"
            print(f"otlpfast: warning: {message} ({reason})", file=sys.stderr)

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
        ext.sources = translated[0].sources
        ext.extra_compile_args, ext.extra_link_args = self._flags()
        super().build_extension(ext)

    def _flags(self) -> tuple[list[str], list[str]]:
        """The arguments for the compiler and for the linker."""
        if self.compiler.compiler_type == "msvc":
            return ["/O2"], []
        if SANITIZE:
            checks = [SANITIZERS, "-fno-sanitize-recover=all", "-fno-omit-frame-pointer"]
            return [*checks, "-O1", "-g"], [SANITIZERS]
        # Most interpreters pass -g on: the wheel would have six times the size and name the build directory.
        return ["-O3", "-g0", "-fvisibility=hidden"], []

    def _go_on_without(self) -> None:
        """Forget the extension: neither an older build of it nor a platform tag may get into the wheel."""
        for extension in self.extensions:
            Path(self.get_ext_fullpath(extension.name)).unlink(missing_ok=True)
        self.extensions = []
        self.distribution.ext_modules = []
        wheel = self.distribution.get_command_obj("bdist_wheel", create=False)
        if wheel is not None:
            wheel.root_is_pure = True


core = Extension("otlpfast._core", ["src/otlpfast/_core.pyx"])
setup(ext_modules=[] if BUILD == "pure" else [core], cmdclass={"build_ext": BuildCore})
