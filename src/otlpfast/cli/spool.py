"""``otlpfast spool``: looks into a spool's directory, checks it, and sends what is left in it."""

from __future__ import annotations

import argparse
import json
import logging
import math
import os
import sys
import time
from contextlib import closing
from typing import TYPE_CHECKING

from .._spool import Spool
from .._spool.survey import Survey, survey
from .console import Console
from .seconds import seconds

if TYPE_CHECKING:
    from ..export import OTLPSpanExporter

    _Subcommands = argparse._SubParsersAction[argparse.ArgumentParser]

_SECONDS = seconds("a positive number of seconds", lambda value: 0 < value < math.inf)
_DESCRIPTION = """\
A spool holds requests that could not be delivered: in a directory, one folder for each process that lives or
lived. When a process is gone, what it left is an orphan: the next process that uses the directory takes it
over, or `otlpfast spool drain` sends it.
"""
_EPILOG = """\
examples:
  otlpfast spool ls /var/spool/myapp                  what waits, and for whom
  otlpfast spool ls --json /var/spool/myapp | jq 'map(.spans) | add'
  otlpfast spool verify /var/spool/myapp              read all of it, and say what is damaged
  otlpfast spool drain /var/spool/myapp               send the orphans, as OTEL_EXPORTER_OTLP_* says
  otlpfast spool drain --endpoint http://localhost:4318/v1/traces /var/spool/myapp

`ls` and `verify` change nothing and may run at any time. `drain` has to run as the user to whom the directory
belongs; it leaves the folders of running processes alone.
"""
_LS = """\
Lists the folders of a spool's directory: whether a process holds it (live) or not (orphan), its segment
files, and how many records (requests), spans and bytes wait in it, for how long.
"""
_VERIFY = """\
Reads everything that waits and compares checksums. A record is torn where a process or the power ended in the
middle of writing it, and damaged where its bytes have changed since; both are skipped when the rest is sent.
"""
_VERIFY_EPILOG = "exit status: 0 if all is sound, 1 otherwise\n"
_DRAIN = """\
Takes over the orphans in a spool's directory and sends them, oldest first, with otlpfast's exporter. What was
sent is deleted; what a collector refuses for good is counted and deleted too. Stops where a request can't be
delivered within the timeout, and leaves that one and the others for the next time.
"""
_DRAIN_EPILOG = """\
examples:
  otlpfast spool drain /var/spool/myapp
  otlpfast spool drain --timeout 60 --endpoint https://otlp.example.com/v1/traces /var/spool/myapp
  otlpfast spool drain --protocol grpc --endpoint http://localhost:4317 /var/spool/myapp

environment: OTEL_EXPORTER_OTLP_* and OTEL_EXPORTER_OTLP_TRACES_* (ENDPOINT, HEADERS, PROTOCOL, TIMEOUT,
COMPRESSION, CERTIFICATE, CLIENT_KEY, CLIENT_CERTIFICATE), as in the OpenTelemetry specification

exit status: 0 if no orphan is left, 1 otherwise
"""


def add_parser(subcommands: _Subcommands) -> None:
    """Adds ``spool`` to the command line."""
    parser = _parser(
        subcommands,
        "spool",
        "look into a spool's directory, check it, send what is left",
        _DESCRIPTION,
        _EPILOG,
    )
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    ls = _parser(commands, "ls", "what waits, in which folder", _LS, None)
    verify = _parser(commands, "verify", "read everything, report what is damaged", _VERIFY, _VERIFY_EPILOG)
    drain = _parser(commands, "drain", "send what processes left that are gone", _DRAIN, _DRAIN_EPILOG)
    for command in (ls, verify, drain):
        command.add_argument("directory", metavar="DIR", help="the spool's directory")
    for command in (ls, verify):
        command.add_argument("--json", action="store_true", help="print a JSON array, one object a folder")
    drain.add_argument("--endpoint", metavar="URL", help="where to send (default: the environment's)")
    drain.add_argument("--protocol", choices=("http/protobuf", "grpc"), help="default: the environment's")
    drain.add_argument(
        "--timeout", type=_SECONDS, metavar="SECONDS", help="for one request, with its retries (default 10)"
    )
    ls.set_defaults(run=run_ls)
    verify.set_defaults(run=run_verify)
    drain.set_defaults(run=run_drain)


def _parser(
    commands: _Subcommands, name: str, help: str, description: str, epilog: str | None
) -> argparse.ArgumentParser:
    return commands.add_parser(
        name,
        help=help,
        description=description,
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def run_ls(arguments: argparse.Namespace) -> int:
    """Prints a table of the folders; returns the exit status."""
    found = _survey(arguments.directory, "ls", thorough=False)
    if found is None:
        return 1
    print(_as_json(found) if arguments.json else _as_table(found))
    return 0


def run_verify(arguments: argparse.Namespace) -> int:
    """Reads all that waits and prints what is wrong; returns the exit status."""
    found = _survey(arguments.directory, "verify", thorough=True)
    if found is None:
        return 1
    torn = sum(damage.torn for folder in found for damage in folder.damage)
    damaged = sum(len(folder.damage) for folder in found) - torn
    if arguments.json:
        print(_as_json(found))
        return 1 if torn or damaged else 0
    for folder in found:
        for damage in folder.damage:
            path = os.path.join(arguments.directory, folder.folder, damage.file)
            print(f"{path}: byte {damage.offset}: {'torn' if damage.torn else 'damaged'}")
    records = sum(folder.records for folder in found)
    print(f"{_number(records, 'record')} in {_number(len(found), 'folder')}: {torn} torn, {damaged} damaged")
    return 1 if torn or damaged else 0


def _survey(directory: str, command: str, *, thorough: bool) -> list[Survey] | None:
    """None where the directory can't be looked at; then the reason was printed."""
    try:
        return list(survey(directory, thorough=thorough))
    except (OSError, ValueError) as error:
        _complain(command, error)
        return None


def _complain(command: str, error: object) -> None:
    if isinstance(error, OSError):
        error = f"{error.filename}: {(error.strerror or '').lower()}"
    print(f"otlpfast spool {command}: {error}", file=sys.stderr)


def _as_json(found: list[Survey]) -> str:
    return json.dumps(
        [
            {
                "folder": folder.folder,
                "live": folder.live,
                "segments": folder.segments,
                "records": folder.records,
                "spans": folder.spans,
                "bytes": folder.nbytes,
                "oldest_unix_seconds": folder.oldest,
                "damage": [
                    {"file": damage.file, "byte": damage.offset, "torn": damage.torn}
                    for damage in folder.damage
                ],
            }
            for folder in found
        ],
        indent=2,
    )


def _as_table(found: list[Survey]) -> str:
    """Text to the left, numbers to the right, a line of sums at the end."""
    heads = ("FOLDER", "STATE", "SEGMENTS", "RECORDS", "SPANS", "BYTES", "OLDEST")
    rows: list[tuple[str, ...]] = [
        (
            folder.folder,
            "live" if folder.live else "orphan",
            f"{folder.segments:,}",
            f"{folder.records:,}",
            f"{folder.spans:,}",
            f"{folder.nbytes:,}",
            "-" if folder.oldest is None else _age(time.time() - folder.oldest),
        )
        for folder in found
    ]
    sums = [sum(getattr(f, n) for f in found) for n in ("segments", "records", "spans", "nbytes")]
    rows.append((f"{_number(len(found), 'folder')}", "", *(f"{number:,}" for number in sums), ""))
    widths = [max(len(row[column]) for row in (heads, *rows)) for column in range(len(heads))]
    return "\n".join(
        "  ".join(
            text.ljust(width) if column < 2 else text.rjust(width)
            for column, (text, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in (heads, *rows)
    )


def _age(seconds: float) -> str:
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{max(seconds, 0):.0f} s"


def _number(count: int, what: str) -> str:
    return f"{count:,} {what}" if count == 1 else f"{count:,} {what}s"


# --- drain


class _Notes(logging.Handler):
    """What the exporter has to say, as lines that don't run into the progress."""

    def __init__(self, console: Console) -> None:
        super().__init__(logging.WARNING)
        self._console = console

    def emit(self, record: logging.LogRecord) -> None:
        self._console.note(f"otlpfast: {record.getMessage()}")


def run_drain(arguments: argparse.Namespace) -> int:
    """Sends what is left; returns the exit status."""
    from ..export import OTLPSpanExporter

    directory = arguments.directory
    console = Console()
    notes, logger = _Notes(console), logging.getLogger("otlpfast")
    logger.addHandler(notes)
    try:
        os.stat(directory)  # a spool would make it
        exporter = OTLPSpanExporter(
            arguments.endpoint, timeout=arguments.timeout, protocol=arguments.protocol
        )
        with closing(Spool(directory, max_age=math.inf)) as spool:
            try:
                all_sent = _send(spool, exporter, console)
            finally:
                exporter.shutdown()
                console.clear()
        return _report(directory, spool) if all_sent else 1
    except (ImportError, OSError, TypeError, ValueError) as error:
        _complain("drain", error)
        return 1
    finally:
        logger.removeHandler(notes)


def _send(spool: Spool, exporter: OTLPSpanExporter, console: Console) -> bool:
    """Whether all was taken over and delivered, or refused for good; says what was."""
    from ..batch import SpanBatch

    sent = rejected = 0
    console.step("sending what is left in orphans")
    while True:
        record = spool.oldest()
        if record is None:
            if spool.adopt():
                continue
            break
        outcome = exporter.export_batch(SpanBatch.from_request(record.data, record.count))
        if outcome.failed:
            console.clear()
            left = f"{_number(spool.records, 'record')} with {_number(spool.spans, 'span')} left"
            _complain("drain", f"stopped after {_number(sent, 'span')}; {left}")
            return False
        spool.acknowledge(record)
        sent += outcome.exported
        rejected += outcome.rejected
        console.update(f"{sent:,} spans sent, {spool.spans:,} to go")
    console.clear()
    refused = f", {_number(rejected, 'span')} refused by the collector" if rejected else ""
    corrupt = spool.stats()["corrupt"]
    skipped = f", {_number(corrupt, 'damaged record')} skipped" if corrupt else ""
    print(f"{_number(sent, 'span')} sent{refused}{skipped}")
    return True


def _report(directory: str, spool: Spool) -> int:
    """Says what was left alone; 1 if that is not because somebody lives who sends it."""
    found = [folder for folder in survey(directory) if folder.records]
    live = [folder for folder in found if folder.live]
    for kind, folders in (("running processes", live), ("others", [f for f in found if not f.live])):
        if folders:
            what = _number(sum(folder.records for folder in folders), "record")
            print(f"left alone: {what} in {_number(len(folders), 'folder')} of {kind}")
    return 0 if len(live) == len(found) else 1
