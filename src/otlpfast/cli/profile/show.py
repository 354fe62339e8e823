"""``otlpfast profile show``: a saved profile as a table, in another format, or against another."""

from __future__ import annotations

import argparse
import io
import zipfile
from pathlib import Path

from ...profiling.profile import Profile
from . import fail
from .output import Nothing, Output


def show(parser: argparse.ArgumentParser, arguments: argparse.Namespace) -> int:
    """Shows or converts; returns the exit status."""
    try:
        output = Output(
            arguments.kind or "",
            arguments.output,
            top=arguments.top,
            trace=arguments.trace,
            base=arguments.diff,
            value=arguments.type,
            cum=arguments.cum,
        )
    except ValueError as error:
        parser.error(str(error))
    try:
        data = Path(arguments.file).read_bytes()
        archive = zipfile.ZipFile(io.BytesIO(data)) if data[:2] == b"PK" else None
        if archive is None:
            profile = Profile.load(arguments.file)
        elif arguments.kind is None and arguments.output is not None:
            return fail(f"{arguments.file} has several profiles: --kind says which one is to be written")
        elif arguments.kind is None:
            print(archive.read("summary.txt").decode("utf-8", "replace"), end="")
            return 0
        else:
            profile = Profile.from_pprof(archive.read(f"{arguments.kind}.pb.gz"))
        path = output.give(profile)
    except BrokenPipeError:
        raise  # whoever reads has seen enough
    except OSError as error:
        return fail(f"{error.filename or arguments.file}: {(error.strerror or str(error)).lower()}")
    except KeyError:
        return fail(
            f"{arguments.file}: there is no {arguments.kind or 'summary'} in it; --kind says which one"
        )
    except (ValueError, zipfile.BadZipFile, Nothing) as error:
        return fail(error)
    if path is not None:
        print(path)
    return 0
