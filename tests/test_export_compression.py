"""Compression of OTLP/HTTP requests by zlib, isal and zstd, also where the last two are missing or broken."""

from __future__ import annotations

import gzip
import importlib
import subprocess
import sys
import zlib
from collections.abc import Callable, Sequence
from importlib.machinery import ModuleSpec
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otlpfast.export.compression import compressor_of

from .collector import Collector
from .exporting import (  # noqa: F401
    EXPORTED,
    Make,
    batch,
    collector_fixture,
    make_fixture,
    one_warning,
    warnings,
)

ZSTD = "compression.zstd" if sys.version_info >= (3, 14) else "backports.zstd"
ISAL = "isal.isal_zlib"

zstd: Any = pytest.importorskip(ZSTD)
pytest.importorskip(ISAL)

Inflate = Callable[[bytes], bytes]
FORMATS: list[tuple[str, Inflate]] = [
    ("gzip", gzip.decompress),
    ("deflate", zlib.decompress),
    ("zstd", zstd.decompress),
]


def missing(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setitem(sys.modules, name, None)


class Broken:
    """Finds a module that cannot be loaded, as after an update of a library that it needs."""

    def __init__(self, name: str) -> None:
        self._name = name

    def find_spec(self, name: str, path: object, target: object = None) -> ModuleSpec | None:
        if name == self._name:
            raise ImportError("undefined symbol: something")
        return None


def broken(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "meta_path", [Broken(name), *sys.meta_path])


@pytest.mark.parametrize("without_isal", [False, True], ids=["isal", "zlib"])
@pytest.mark.parametrize(("compression", "inflate"), FORMATS, ids=[name for name, _ in FORMATS])
@given(parts=st.lists(st.one_of(st.binary(), st.binary().map(memoryview))))
def test_what_is_compressed_comes_out_again(
    compression: str, inflate: Inflate, without_isal: bool, parts: Sequence[bytes]
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        if without_isal:
            missing(patch, ISAL)
        make_compressor = compressor_of(compression)
    for _ in range(2):
        compressor = make_compressor()
        compressed = b"".join([*map(compressor.compress, parts), compressor.flush()])
        assert inflate(compressed) == b"".join(parts)


@pytest.mark.parametrize("compression", ["gzip", "deflate"])
def test_isal_is_used_where_it_is_installed(compression: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert isinstance(compressor_of(compression)(), type(importlib.import_module(ISAL).compressobj()))
    missing(monkeypatch, ISAL)
    assert isinstance(compressor_of(compression)(), type(zlib.compressobj()))


@pytest.mark.parametrize("compression", ["gzip", "deflate"])
def test_without_isal_requests_are_compressed_all_the_same(
    compression: str, collector: Collector, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    missing(monkeypatch, ISAL)
    assert make(collector, compression=compression).export_batch(batch(text="x" * 500)) == EXPORTED
    request = collector.wait_for_request()
    assert len(request.spans) == 3
    assert request.wire_bytes < len(request.body) // 2


def test_an_isal_that_is_broken_gets_one_warning(
    collector: Collector, make: Make, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    broken(monkeypatch, ISAL)
    assert make(collector, compression="gzip").export_batch(batch()) == EXPORTED
    assert one_warning(caplog) == (
        "isal is installed and cannot be imported (undefined symbol: something); compressing with zlib"
    )


def test_without_zstd_the_argument_raises_and_says_what_to_install(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    missing(monkeypatch, ZSTD)
    said = (
        "this Python was built without it"
        if sys.version_info >= (3, 14)
        else r"it takes `pip install otlpfast\[zstd\]`"
    )
    with pytest.raises(ValueError, match=f"compression='zstd' cannot be used: {said}; allowed without it: "):
        make("http://localhost:4318/v1/traces", compression="zstd")


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (missing, "'zstd' cannot be used: "),
        (broken, "its module cannot be imported (undefined symbol: something)"),
    ],
)
def test_without_zstd_the_variable_gets_one_warning_and_requests_go_uncompressed(
    spoil: Callable[[pytest.MonkeyPatch, str], None],
    said: str,
    collector: Collector,
    make: Make,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    spoil(monkeypatch, ZSTD)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_COMPRESSION", "zstd")
    assert make(collector).export_batch(batch()) == EXPORTED
    assert "content-encoding" not in collector.wait_for_request().headers
    text = one_warning(caplog)
    assert text.startswith("OTEL_EXPORTER_OTLP_COMPRESSION='zstd' cannot be used: ")
    assert said in text
    assert text.endswith("allowed without it: none, gzip, deflate; using the default, none")


def test_what_is_not_used_is_not_imported() -> None:
    code = (
        "import sys, otlpfast\n"
        "otlpfast.OTLPSpanExporter()\n"
        "print(sorted(name for name in sys.modules if name in ('isal', 'backports.zstd')))\n"
        "otlpfast.OTLPSpanExporter(compression='gzip')\n"
        "print(sorted(name for name in sys.modules if name in ('isal', 'backports.zstd')))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["[]", "['isal']"]
