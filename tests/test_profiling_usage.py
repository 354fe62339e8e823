"""``otlpfast profile`` called in a wrong way, or with files that do not fit: one line says what is wrong."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path

import pytest

from otlpfast.cli import main
from otlpfast.profiling import Frame, Profile, Sample, ValueType
from otlpfast.profiling._order import Order

Capture = pytest.CaptureFixture[str]


@pytest.fixture(name="folder")
def folder_fixture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """With saved profiles, and with what is none."""
    monkeypatch.chdir(tmp_path)
    sample = Sample((Frame("work", "/app/work.py", 2, 1),), (1, 10**7))
    kinds = (ValueType("samples", "count"), ValueType("cpu", "nanoseconds"))
    cpu = Profile("cpu", kinds, (sample,), 1, 10**9, "cpu")
    cpu.save(tmp_path / "cpu.pb.gz")
    sizes = (ValueType("inuse_objects", "count"), ValueType("inuse_space", "bytes"))
    Profile("heap", sizes, (sample,), 1, 10**9, "inuse_space").save(tmp_path / "heap.pb.gz")
    with zipfile.ZipFile(tmp_path / "full.zip", "w") as archive:
        archive.writestr("cpu.pb.gz", cpu.to_pprof())
    (tmp_path / "junk.pb.gz").write_bytes(b"\xff" * 100)
    (tmp_path / "junk.zip").write_bytes(b"PK" + b"\xff" * 100)
    return tmp_path


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["-m", "--pid", "1"], "-m needs the name of a module"),
        (
            ["--seconds", "soon", "app.py"],
            "a number of seconds above 0, at most 86400, is allowed, not 'soon'",
        ),
        (
            ["--frequency", "100", "--top", "few", "app.py"],
            "a whole number from 1 to 100000 is allowed, not 'few'",
        ),
        (["--diff", "junk.pb.gz", "app.py"], "--diff junk.pb.gz: "),
        (["show", "cpu.pb.gz", "-o", "cpu.png"], "the suffix says the format: one of .pb.gz"),
    ],
)
def test_wrong_usage(words: list[str], said: str, folder: Path, capsys: Capture) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["profile", *words])
    assert ended.value.code == 2
    assert said in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["cpu.pb.gz", "--diff", "heap.pb.gz"], "the two profiles can't be compared: "),
        (["cpu.pb.gz", "--trace", "1"], "no sample carries a trace id: the program has to record spans"),
        (["full.zip"], "full.zip: there is no summary in it; --kind says which one"),
        (["full.zip", "--kind", "heap"], "full.zip: there is no heap in it; --kind says which one"),
        (
            ["full.zip", "-o", "cpu.svg"],
            "full.zip has several profiles: --kind says which one is to be written",
        ),
        (["junk.zip"], "File is not a zip file"),
    ],
)
def test_what_can_not_be_shown_is_one_line(
    words: list[str], said: str, folder: Path, capsys: Capture
) -> None:
    assert main(["profile", "show", *words]) == 1
    errors = capsys.readouterr().err
    assert errors.startswith("otlpfast profile: ") and said in errors and errors.count("\n") == 1


def test_one_kind_of_a_full_profile(folder: Path, capsys: Capture) -> None:
    assert main(["profile", "show", "full.zip", "--kind", "cpu"]) == 0
    assert "work.work" in capsys.readouterr().out


@pytest.mark.skipif(os.name != "posix", reason="another system starts programs in another way")
def test_a_program_that_can_not_be_run(folder: Path, capsys: Capture) -> None:
    (folder / "serve").write_text("#!/nowhere/python\n")
    (folder / "serve").chmod(0o755)
    assert main(["profile", "./serve"]) == 126
    assert "otlpfast profile: './serve' can't be run: " in capsys.readouterr().err


def test_an_order_of_another_version(tmp_path: Path) -> None:
    Order("cpu", 1.0).save(str(tmp_path))
    assert Order.load(str(tmp_path)) == Order("cpu", 1.0)
    [file] = tmp_path.iterdir()
    file.write_text(file.read_text().replace("cpu", "energy"))
    with pytest.raises(ValueError, match="kind='energy': not known to this version of otlpfast"):
        Order.load(str(tmp_path))
