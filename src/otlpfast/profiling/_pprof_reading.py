"""Reads profiles in pprof's format, whoever wrote them."""

from __future__ import annotations

import zlib
from collections import defaultdict
from collections.abc import Sequence
from itertools import chain

from .._protobuf import Value, fields
from ._pprof import KIND
from .profile import Frame, Label, Profile, Sample, Stack, ValueType

MAX_BYTES = 128 << 20
MAX_FRAMES = 16 << 20
"""Of all stacks together: a few bytes of locations can be made of many."""
MAX_FIELDS = 2 << 20
"""Of one message: each takes a hundred times the memory that it had in the file."""
MAX_PACKED = 1 << 20
"""Bytes of a list of numbers."""
_U63 = 1 << 63
_U64 = 1 << 64
_GZIP = 31  # for zlib

Message = dict[int, list[Value]]


def decode(data: bytes) -> Profile:
    """See ``Profile.from_pprof``."""
    message = _message(_unpacked(data))
    strings = [str(_octets(text), "utf-8", "replace") for text in message[6]]
    if not strings or strings[0]:
        raise ValueError("no pprof profile: it has no table of strings")
    try:
        return _Reader(message, strings).profile()
    except (IndexError, KeyError) as error:
        raise ValueError(f"no pprof profile: it refers to what it does not have ({error})") from None


class _Reader:
    def __init__(self, message: Message, strings: list[str]) -> None:
        self._message = message
        self._strings = strings
        self._frames = 0

    def profile(self) -> Profile:
        message = self._message
        types = tuple(self._type(_octets(value)) for value in message[1])
        if not types:
            raise ValueError("no pprof profile: it has no value type")
        comments = [self._string(number) for number in _numbers(message[13])]
        period_type = self._type(_octets(message[11][-1])) if message[11] else None
        default_type = self._string(_last(message, 14))
        return Profile(
            kind=_kind(comments, default_type or types[-1].type),
            value_types=types,
            samples=self._samples(len(types)),
            time_unix_nano=_signed(_last(message, 9)),
            duration_nanos=_signed(_last(message, 10)),
            default_type=default_type,
            period_type=period_type,
            period=_signed(_last(message, 12)),
            comments=tuple(comment for comment in comments if not comment.startswith(KIND)),
        )

    def _string(self, number: int) -> str:
        return self._strings[number]

    def _type(self, body: memoryview) -> ValueType:
        message = _message(body)
        return ValueType(self._string(_last(message, 1)), self._string(_last(message, 2)))

    def _samples(self, types: int) -> tuple[Sample, ...]:
        locations = self._locations()
        stacks: dict[bytes, Stack] = {}
        labels: dict[bytes, tuple[Label, ...]] = {}
        samples = []
        for value in self._message[2]:
            message = _message(_octets(value))
            values = tuple(map(_signed, _numbers(message[2])))
            if len(values) != types:
                raise ValueError(f"no pprof profile: a sample has {len(values)} values of {types} types")
            key = b"".join(map(bytes, map(_octets, message[3])))
            if key not in labels:
                labels[key] = self._labels(message[3])
            samples.append(Sample(self._stack(message[1], locations, stacks), values, labels[key]))
        return tuple(samples)

    def _stack(self, ids: list[Value], locations: dict[int, Stack], stacks: dict[bytes, Stack]) -> Stack:
        """Stacks that are equal are there once, and frames once in all of them."""
        key = bytes(ids[0]) if len(ids) == 1 and isinstance(ids[0], memoryview) else None
        if key is not None and key in stacks:
            return stacks[key]
        parts = [locations[number] for number in _numbers(ids)]
        self._frames += sum(map(len, parts))
        if self._frames > MAX_FRAMES:
            raise ValueError(f"a profile with more than {MAX_FRAMES:,} frames in its stacks")
        made = tuple(chain.from_iterable(parts))
        if key is not None:
            stacks[key] = made
        return made

    def _labels(self, bodies: Sequence[Value]) -> tuple[Label, ...]:
        labels: dict[str, str | int] = {}
        for body in bodies:
            message = _message(_octets(body))
            text, number = _last(message, 2), _last(message, 3)
            is_number = not text and (number or _last(message, 4))
            key = self._string(_last(message, 1))
            labels[key] = _signed(number) if is_number else self._string(text)
        return tuple(sorted(labels.items()))

    def _locations(self) -> dict[int, Stack]:
        """Of each id its frames: more than one where functions were inlined."""
        functions = self._functions()
        files = {}
        for value in self._message[3]:
            message = _message(_octets(value))
            files[_last(message, 1)] = self._string(_last(message, 5))
        locations: dict[int, Stack] = {}
        for value in self._message[4]:
            message = _message(_octets(value))
            frames = []
            for body in message[4]:
                line = _message(_octets(body))
                name, filename, first = functions[_last(line, 1)]
                frames.append(Frame(name, filename, _signed(_last(line, 2)), first))
            if not frames:
                frames = [Frame(f"{_last(message, 3):#x}", files.get(_last(message, 2), ""), 0)]
            locations[_last(message, 1)] = tuple(frames)
        return locations

    def _functions(self) -> dict[int, tuple[str, str, int]]:
        functions = {}
        for value in self._message[5]:
            message = _message(_octets(value))
            name, system, filename = (self._string(_last(message, field)) for field in (2, 3, 4))
            # Of ours: the name has the module's before it.
            own = system if system and name.endswith(f".{system}") else name or system
            functions[_last(message, 1)] = own, filename, _signed(_last(message, 5))
        return functions


def _unpacked(data: bytes) -> bytes:
    if data[:2] != b"\x1f\x8b":
        if len(data) > MAX_BYTES:
            raise ValueError(f"a profile of more than {MAX_BYTES >> 20} MiB")
        return data
    unpacker = zlib.decompressobj(_GZIP)
    try:
        plain = unpacker.decompress(data, MAX_BYTES + 1)
    except zlib.error as error:
        raise ValueError(f"a gzipped profile that is damaged: {error}") from None
    if len(plain) > MAX_BYTES:
        raise ValueError(f"a profile of more than {MAX_BYTES >> 20} MiB, uncompressed")
    if not unpacker.eof:
        raise ValueError("a gzipped profile that is cut off")
    return plain


def _message(body: bytes | memoryview) -> Message:
    message: Message = defaultdict(list)
    left = MAX_FIELDS
    for number, value, _ in fields(body):
        left -= 1
        if left < 0:
            raise ValueError(f"a profile with more than {MAX_FIELDS:,} fields in one message")
        message[number].append(value)
    return message


def _octets(value: Value) -> memoryview:
    if not isinstance(value, memoryview):
        raise ValueError("no pprof profile: a number where a message or a text belongs")
    return value


def _numbers(values: Sequence[Value]) -> list[int]:
    """Of a repeated field, packed or not."""
    numbers: list[int] = []
    for value in values:
        if isinstance(value, int):
            numbers.append(value)
        else:
            numbers += _packed(_octets(value))
    return numbers


def _packed(view: memoryview) -> list[int]:
    if len(view) > MAX_PACKED:
        raise ValueError(f"a profile with a list of more than {MAX_PACKED:,} bytes of numbers")
    octets = view.tobytes()
    if octets.isascii():  # each number in a byte
        return list(octets)
    numbers = []
    number = shift = 0
    for octet in octets:
        number |= (octet & 0x7F) << shift
        shift += 7
        if octet < 0x80:
            numbers.append(number & _U64 - 1)
            number = shift = 0
        elif shift == 70:
            break
    if shift:
        raise ValueError("no pprof profile: a number does not end")
    return numbers


def _last(message: Message, field: int) -> int:
    """Of a field that is there once at most; 0 is its default."""
    values = message.get(field)
    if not values:
        return 0
    value = values[-1]
    if not isinstance(value, int):
        raise ValueError("no pprof profile: a text where a number belongs")
    return value


def _signed(number: int) -> int:
    return number - _U64 if number >= _U63 else number


def _kind(comments: list[str], value_type: str) -> str:
    for comment in comments:
        if comment.startswith(KIND):
            return comment.removeprefix(KIND)
    return "heap" if value_type.endswith(("_space", "_objects")) else value_type
