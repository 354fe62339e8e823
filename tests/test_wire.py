"""``WireWriter`` gives what google.protobuf gives, and a call that raises writes nothing."""

from __future__ import annotations

import array
import math
import struct
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, unknown_fields
from google.protobuf.empty_pb2 import Empty
from hypothesis import given
from hypothesis import strategies as st

from otlpfast import _pure
from otlpfast._impl import WireWriter

MAX_FIELD = 2**29 - 1


def node_class() -> Any:
    """A message class with a field of each kind that the writer has; ``child`` nests."""
    kinds = ["UINT64", "INT64", "FIXED32", "FIXED64", "DOUBLE", "BYTES", "STRING"]
    file = descriptor_pb2.FileDescriptorProto(name="otlpfast_tests.proto", package="otlpfast_tests")
    node = file.message_type.add(name="Node")
    for number, kind in enumerate(kinds, 1):
        kind_number = descriptor_pb2.FieldDescriptorProto.Type.Value(f"TYPE_{kind}")
        node.field.add(name=kind.lower(), number=number, type=kind_number, label=3)
    node.field.add(name="child", number=8, type=11, label=3, type_name=".otlpfast_tests.Node")
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("otlpfast_tests.Node"))


Node = node_class()
UINT64 = st.integers(0, 2**64 - 1)
VALUES = {
    "uint64": UINT64,
    "int64": st.integers(-(2**63), 2**63 - 1),
    "fixed32": st.integers(0, 2**32 - 1),
    "fixed64": UINT64,
    "double": st.floats(),
    "bytes": st.binary(max_size=300),
    "string": st.text(max_size=300),
}
LEAVES = st.fixed_dictionaries({name: st.lists(values, max_size=3) for name, values in VALUES.items()})
TREES = st.recursive(
    LEAVES,
    lambda trees: st.builds(lambda leaf, children: {**leaf, "child": children}, LEAVES, st.lists(trees)),
    max_leaves=8,
)


def write(writer: Any, tree: dict[str, Any]) -> None:
    """The tree's fields in the order of their numbers, as google.protobuf serialises them."""
    methods = ["varint", "varint", "fixed32", "fixed64", "double", "bytes", "string"]
    for number, (name, method) in enumerate(zip(VALUES, methods, strict=True), 1):
        for value in tree[name]:
            getattr(writer, f"write_{method}")(number, value)
    for child in tree.get("child", ()):
        writer.begin(8)
        write(writer, child)
        writer.end()


@given(TREES)
def test_gives_the_bytes_of_google_protobuf(tree: dict[str, Any]) -> None:
    writer = WireWriter()
    write(writer, tree)
    assert writer.finish() == Node(**tree).SerializeToString(deterministic=True)


@given(TREES)
def test_both_implementations_give_the_same_bytes(tree: dict[str, Any]) -> None:
    here, plain = WireWriter(), _pure.WireWriter()
    write(here, tree)
    write(plain, tree)
    assert here.finish() == plain.finish()


@given(st.integers(1, MAX_FIELD), UINT64)
def test_takes_every_field_number(field: int, number: int) -> None:
    writer = WireWriter()
    writer.write_varint(field, number)
    fields = unknown_fields.UnknownFieldSet(Empty.FromString(writer.finish()))
    assert [(f.field_number, f.wire_type, f.data) for f in fields] == [(field, 0, number)]


@pytest.mark.parametrize("length", [0, 1, 127, 128, 16383, 16384, 2097151, 2097152])
def test_a_nested_length_of_any_size_is_patched_in(length: int) -> None:
    writer = WireWriter()
    writer.begin(8)
    writer.begin(8)
    writer.write_bytes(6, b"x" * length)
    writer.end()
    writer.write_varint(1, 7)
    writer.end()
    node = Node.FromString(writer.finish())
    assert node.child[0].child[0].bytes == [b"x" * length]
    assert node.child[0].uint64 == [7]


def test_a_deep_nest() -> None:
    writer = WireWriter()
    for _ in range(90):
        writer.begin(8)
    writer.write_string(7, "the innermost")
    for _ in range(90):
        writer.end()
    node = Node.FromString(writer.finish())
    for _ in range(90):
        (node,) = node.child
    assert node.string == ["the innermost"]


@given(st.text(st.characters(blacklist_categories=())))
def test_surrogates_become_the_replacement_character(text: str) -> None:
    writer = WireWriter()
    writer.write_string(7, text)
    shown = "".join("\ufffd" if "\ud800" <= character <= "\udfff" else character for character in text)
    assert Node.FromString(writer.finish()).string == [shown]


@pytest.mark.parametrize(
    "data",
    [
        b"octets",
        bytearray(b"octets"),
        memoryview(b"octets"),
        memoryview(b"__octets__")[2:-2],
        array.array("H", [1, 2, 3]),
        np.arange(6, dtype="f8").reshape(2, 3),
        np.empty((0, 3)),
        np.array(1.5),
    ],
)
def test_takes_the_bytes_of_any_contiguous_buffer(data: Any) -> None:
    writer = WireWriter()
    writer.write_bytes(6, data)
    assert Node.FromString(writer.finish()).bytes == [memoryview(data).tobytes()]


def test_floats_keep_their_bits() -> None:
    writer = WireWriter()
    values = [0.0, -0.0, math.inf, -math.inf, math.nan, 5e-324, 1, True]
    for value in values:
        writer.write_double(5, value)
    written = Node.FromString(writer.finish()).double
    assert [struct.pack("<d", value) for value in written] == [struct.pack("<d", value) for value in values]


@pytest.mark.parametrize("field", [0, -1, MAX_FIELD + 1, 2**64, -(2**70)])
def test_a_field_number_out_of_range_is_named(field: int) -> None:
    calls: list[Callable[[Any], None]] = [
        lambda w: w.write_varint(field, 1),
        lambda w: w.write_fixed32(field, 1),
        lambda w: w.write_fixed64(field, 1),
        lambda w: w.write_double(field, 1.0),
        lambda w: w.write_bytes(field, b"x"),
        lambda w: w.write_string(field, "x"),
        lambda w: w.begin(field),
    ]
    for call in calls:
        writer = WireWriter()
        with pytest.raises(ValueError, match=f"field={field}: .* from 1 to {MAX_FIELD} is allowed"):
            call(writer)
        assert writer.finish() == b""


WRONG: list[tuple[str, Any, type[Exception]]] = [
    ("write_varint", 2**64, OverflowError),
    ("write_varint", -(2**63) - 1, OverflowError),
    ("write_varint", "1", TypeError),
    ("write_varint", 1.5, TypeError),
    ("write_varint", None, TypeError),
    ("write_fixed32", 2**32, OverflowError),
    ("write_fixed32", -1, OverflowError),
    ("write_fixed32", 1.5, TypeError),
    ("write_fixed64", 2**64, OverflowError),
    ("write_fixed64", -1, OverflowError),
    ("write_fixed64", "1", TypeError),
    ("write_fixed64", 1.5, TypeError),
    ("write_double", "1.5", TypeError),
    ("write_double", None, TypeError),
    ("write_double", 10**400, OverflowError),
    ("write_bytes", "text", TypeError),
    ("write_bytes", 5, TypeError),
    ("write_bytes", memoryview(b"abcdef")[::2], BufferError),
    ("write_bytes", np.arange(6).reshape(2, 3).T, BufferError),
    ("write_string", b"bytes", TypeError),
    ("write_string", None, TypeError),
]


@pytest.mark.parametrize(("method", "value", "error"), WRONG)
def test_a_wrong_value_raises_and_writes_nothing(method: str, value: Any, error: type[Exception]) -> None:
    writer = WireWriter()
    writer.write_varint(1, 1)
    with pytest.raises(error):
        getattr(writer, method)(2, value)
    writer.write_varint(1, 2)
    assert writer.finish() == b"\x08\x01\x08\x02"


@pytest.mark.parametrize("field", ["1", 1.0, None, True])
def test_a_field_number_that_is_no_whole_number_is_named(field: Any) -> None:
    with pytest.raises(TypeError, match=r"^field="):
        WireWriter().write_varint(field, 1)


def test_an_open_message_has_no_bytes_yet() -> None:
    writer = WireWriter()
    writer.begin(8)
    writer.begin(8)
    with pytest.raises(ValueError, match="2 messages are still open"):
        writer.finish()
    writer.end()
    writer.end()
    assert Node.FromString(writer.finish()).child[0].child[0] == Node()


def test_there_must_be_a_message_to_end() -> None:
    writer = WireWriter()
    with pytest.raises(IndexError, match="no message is open"):
        writer.end()


def test_writing_goes_on_after_finish() -> None:
    writer = WireWriter()
    writer.write_varint(1, 1)
    first = writer.finish()
    writer.write_varint(1, 2)
    assert (first, writer.finish()) == (b"\x08\x01", b"\x08\x01\x08\x02")
