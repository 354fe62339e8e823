"""Profiles as pprof's ``profile.proto``: the names of messages and fields are those of that file."""

from __future__ import annotations

import zlib

from .._impl import WireWriter
from .._plain import INT64_MAX
from .._protobuf import varint
from ._stacks import per_frame
from .profile import Frame, Label, Profile, Sample, ValueType

PROGRAM = "python"
"""File of the one mapping; ``go tool pprof`` asks for one to be there."""
KIND = "# otlpfast profile: "
"""Begins a comment with the kind; viewers do not show those that begin with "#"."""
_U64 = (1 << 64) - 1
_GZIP = 31  # for zlib: the largest window, and a header of gzip, which then has no time in it


def encode(profile: Profile) -> bytes:
    """See ``Profile.to_pprof``."""
    tables = _Tables()
    writer = WireWriter()
    for value_type in profile.value_types:
        _write_type(writer, 1, value_type, tables)
    locations = per_frame(profile.samples, tables.location)
    labels: dict[tuple[Label, ...], bytes] = {}
    for sample in profile.samples:
        if sample.labels not in labels:
            labels[sample.labels] = b"".join(tables.label(*label) for label in sample.labels)
        ids = b"".join([locations[id(frame)] for frame in sample.stack])
        writer.write_bytes(2, _packed(1, ids) + _values(sample) + labels[sample.labels])
    writer.write_varint(9, profile.time_unix_nano)
    writer.write_varint(10, profile.duration_nanos)
    if profile.period_type:
        _write_type(writer, 11, profile.period_type, tables)
    writer.write_varint(12, profile.period)
    comments = (KIND + profile.kind, *profile.comments)
    writer.write_bytes(13, b"".join(varint(tables.string(comment)) for comment in comments))
    writer.write_varint(14, tables.string(profile.default_type))
    packer = zlib.compressobj(6, zlib.DEFLATED, _GZIP)
    return packer.compress(writer.finish() + tables.finish()) + packer.flush()


class _Tables:
    """What samples refer to by number: strings, functions, locations. Each is there once."""

    def __init__(self) -> None:
        self._strings: dict[str, int] = {}
        self._functions: dict[tuple[str, str, int], int] = {}
        self._locations = 0
        self._writer = WireWriter()
        self._texts = WireWriter()
        self.string("")  # which is number 0 everywhere
        self._mapping()

    def string(self, text: str) -> int:
        number = self._strings.get(text)
        if number is None:
            number = self._strings[text] = len(self._strings)
            self._texts.write_string(6, text)
        return number

    def location(self, frame: Frame) -> bytes:
        """The id, as it is in samples."""
        self._locations += 1
        function = self._function(frame)
        writer = self._writer
        writer.begin(4)
        writer.write_varint(1, self._locations)
        writer.write_varint(2, 1)
        writer.begin(4)
        writer.write_varint(1, function)
        writer.write_varint(2, frame.line)
        writer.end()
        writer.end()
        return varint(self._locations)

    def label(self, key: str, value: str | int) -> bytes:
        """A field of a sample."""
        writer = WireWriter()
        writer.begin(3)
        writer.write_varint(1, self.string(key))
        if isinstance(value, int) and -INT64_MAX - 1 <= value <= INT64_MAX:
            writer.write_varint(3, value)
            if not value:  # is a number only where there is a unit
                writer.write_varint(4, self.string("count"))
        else:
            writer.write_varint(2, self.string(str(value)))
        writer.end()
        return writer.finish()

    def finish(self) -> bytes:
        return self._writer.finish() + self._texts.finish()

    def _function(self, frame: Frame) -> int:
        key = frame.function, frame.filename, frame.first_line
        number = self._functions.get(key)
        if number is not None:
            return number
        number = self._functions[key] = len(self._functions) + 1
        name = frame.name
        fields = [number, self.string(name), 0, self.string(frame.filename), frame.first_line]
        # Never equal to the name: viewers take such a name for C++, and out of it what is in <>.
        if name != frame.function:
            fields[2] = self.string(frame.function)
        self._writer.begin(5)
        for field, value in enumerate(fields, 1):
            self._writer.write_varint(field, value)
        self._writer.end()
        return number

    def _mapping(self) -> None:
        """All that a viewer would look up in a binary is there: functions, file names, line numbers."""
        self._writer.begin(3)
        for field, value in ((1, 1), (5, self.string(PROGRAM)), (7, 1), (8, 1), (9, 1)):
            self._writer.write_varint(field, value)
        self._writer.end()


def _packed(field: int, numbers: bytes) -> bytes:
    return varint(field << 3 | 2) + varint(len(numbers)) + numbers


def _values(sample: Sample) -> bytes:
    return _packed(2, b"".join([varint(value & _U64) for value in sample.values]))


def _write_type(writer: WireWriter, field: int, value_type: ValueType, tables: _Tables) -> None:
    writer.begin(field)
    writer.write_varint(1, tables.string(value_type.type))
    writer.write_varint(2, tables.string(value_type.unit))
    writer.end()
