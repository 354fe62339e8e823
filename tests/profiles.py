"""Profiles for tests, and pprof's ``profile.proto`` as its own library of messages reads it."""

from __future__ import annotations

import gzip
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from otlpfast.profiling import Frame, Profile, Sample, ValueType

CPU = (ValueType("samples", "count"), ValueType("cpu", "nanoseconds"))
HEAP = tuple(
    ValueType(f"{kind}_{what}", unit)
    for kind in ("alloc", "inuse")
    for what, unit in (("objects", "count"), ("space", "bytes"))
)
TRACE, OTHER_TRACE = "4bf92f3577b34da6a3ce929d0e0e4736", "0af7651916cd43dd8448eb211c80319c"

MAIN = Frame("main", "/srv/shop/manage.py", 20, 10)
GET = Frame("Orders.get", "/srv/shop/views.py", 33, 30)
RENDER = Frame("render", "/srv/shop/views.py", 52, 50)
LAMBDA = Frame("<lambda>", "/srv/shop/views.py", 60, 60)
DECODE = Frame("JSONDecoder.decode", "/usr/lib/python3.11/json/decoder.py", 340, 330)
QUERY = Frame("Query.all", "/srv/venv/lib/python3.11/site-packages/orm/query.py", 77, 70)
WALK = Frame("walk", "/srv/shop/tree.py", 8, 5)
DEEPER = Frame("walk", "/srv/shop/tree.py", 9, 5)

REQUEST = (("span_id", "00f067aa0ba902b7"), ("span_name", "GET /orders"), ("trace_id", TRACE))
OTHER_REQUEST = (("span_id", "b7ad6b7169203331"), ("span_name", "GET /"), ("trace_id", OTHER_TRACE))
MILLISECOND = 1_000_000


def cpu(*samples: tuple[tuple[Frame, ...], int, tuple[tuple[str, str | int], ...]]) -> Profile:
    """Of stacks, how often each was seen, and labels; 100 samples a second."""
    return Profile(
        kind="cpu",
        value_types=CPU,
        samples=tuple(
            Sample(stack, (times, times * 10 * MILLISECOND), labels) for stack, times, labels in samples
        ),
        time_unix_nano=1_764_121_641_000_000_000,
        duration_nanos=10_000 * MILLISECOND,
        default_type="cpu",
        period_type=ValueType("cpu", "nanoseconds"),
        period=10 * MILLISECOND,
        comments=("CPU time of each thread.",),
    )


SHOP = cpu(
    ((RENDER, GET, MAIN), 500, REQUEST),
    ((LAMBDA, RENDER, GET, MAIN), 123, REQUEST),
    ((DECODE, GET, MAIN), 77, OTHER_REQUEST),
    ((QUERY, GET, MAIN), 40, OTHER_REQUEST),
    ((DEEPER, WALK, WALK, MAIN), 9, (("attempt", 3), ("thread", "worker"))),
    ((MAIN,), 2, ()),
)

HOSTILE_NAMES = (
    'a";]]><script>alert(1)</script>',
    "b;c d\n0 9",
    "\x00\x1b[31m\u202e",
    "f\udc80",
    "",
    "'&lt;" * 50,
)
HOSTILE = cpu(*(((Frame(name, name, 1, 1), MAIN), 1, (("thread", name),)) for name in HOSTILE_NAMES))


def _messages() -> Any:
    """The class of pprof's Profile: field names and numbers of profile.proto."""
    kinds = {"ValueType": "type:1 unit:2"}
    kinds["Sample"] = "location_id:1* value:2* label:3*Label"
    kinds["Label"] = "key:1 str:2 num:3 num_unit:4"
    kinds["Mapping"] = (
        "id:1 memory_start:2 memory_limit:3 file_offset:4 filename:5 build_id:6 "
        "has_functions:7 has_filenames:8 has_line_numbers:9 has_inline_frames:10"
    )
    kinds["Location"] = "id:1 mapping_id:2 address:3 line:4*Line is_folded:5"
    kinds["Line"] = "function_id:1 line:2 column:3"
    kinds["Function"] = "id:1 name:2 system_name:3 filename:4 start_line:5"
    kinds["Profile"] = (
        "sample_type:1*ValueType sample:2*Sample mapping:3*Mapping location:4*Location function:5*Function "
        "string_table:6*text drop_frames:7 keep_frames:8 time_nanos:9 duration_nanos:10 "
        "period_type:11ValueType period:12 comment:13* default_sample_type:14"
    )
    file = descriptor_pb2.FileDescriptorProto(name="profile.proto", package="pprof", syntax="proto3")
    for kind, described in kinds.items():
        message = file.message_type.add(name=kind)
        for text in described.split():
            name, _, rest = text.partition(":")
            number = rest.rstrip("*abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")
            field = message.field.add(name=name, number=int(number), label=3 if "*" in rest else 1)
            of = rest[len(number) :].lstrip("*")
            if of == "text":
                field.type = field.TYPE_STRING
            elif of:
                field.type, field.type_name = field.TYPE_MESSAGE, f".pprof.{of}"
            else:
                field.type = field.TYPE_INT64
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("pprof.Profile"))


Proto = _messages()


def proto(data: bytes) -> Any:
    """What ``to_pprof`` made, as messages."""
    return Proto.FromString(gzip.decompress(data))
