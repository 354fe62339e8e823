"""Certificate and key files of the OTLP exporter: taken, and refused with a reason."""

from __future__ import annotations

import os
import ssl
import subprocess
from pathlib import Path

import pytest

from otlpfast.export.config import resolve

from .exporting import one_warning


@pytest.fixture
def pem(tmp_path: Path) -> dict[str, Path]:
    """A self-signed certificate, its key, a key that does not fit, and an encrypted one."""
    files = {name: tmp_path / f"{name}.pem" for name in ("cert", "key", "other", "encrypted", "junk")}
    make = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    for cert, key in (("cert", "key"), ("junk", "other")):
        command = [*make, "-subj", "/CN=x", "-keyout", str(files[key]), "-out", str(files[cert])]
        subprocess.run(command, check=True, capture_output=True)
    files["junk"].write_text("this is no certificate")
    command = ["openssl", "ec", "-aes256", "-passout", "pass:abc", "-in", str(files["key"])]
    subprocess.run([*command, "-out", str(files["encrypted"])], check=True, capture_output=True)
    return files


FILES = [
    ("certificate_file", "CERTIFICATE"),
    ("client_key_file", "CLIENT_KEY"),
    ("client_certificate_file", "CLIENT_CERTIFICATE"),
]


@pytest.mark.parametrize(("argument", "suffix"), FILES)
@pytest.mark.parametrize("endpoint", ["http://c/", "https://c/"])
def test_an_unreadable_file_argument_raises_and_names_the_reason(
    argument: str, suffix: str, endpoint: str, tmp_path: Path
) -> None:
    for path, reason in (
        (tmp_path / "gone.pem", "No such file or directory"),
        (tmp_path, "Is a directory"),
        ("a\0b", "not a path"),
    ):
        with pytest.raises(
            ValueError, match=f"{argument}=.*cannot be read .{reason}.*allowed: a readable PEM"
        ):
            resolve(endpoint, **{argument: path})  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=f"{argument} must be a path"):
        resolve(endpoint, **{argument: 7})  # type: ignore[arg-type]


@pytest.mark.parametrize(("argument", "suffix"), FILES)
@pytest.mark.parametrize("prefix", ["OTEL_EXPORTER_OTLP_", "OTEL_EXPORTER_OTLP_TRACES_"])
def test_an_unreadable_file_variable_gets_one_warning_and_the_default(
    prefix: str, argument: str, suffix: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv(prefix + suffix, "/gone/away.pem")
    settings = resolve("https://c/")
    assert settings.tls is not None
    assert settings.tls.trust == "the system's CAs"
    text = one_warning(caplog)
    assert text.startswith(
        f"{prefix}{suffix}='/gone/away.pem' cannot be read (No such file or directory); allowed: "
    )


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root reads everything")
def test_a_file_without_permission_names_the_reason(tmp_path: Path) -> None:
    path = tmp_path / "locked.pem"
    path.touch(0o000)
    with pytest.raises(ValueError, match=r"certificate_file=.*Permission denied"):
        resolve("https://c/", certificate_file=path)


def test_files_that_are_no_certificates_are_refused(pem: dict[str, Path], tmp_path: Path) -> None:
    empty = tmp_path / "empty.pem"
    empty.touch()
    for path in (pem["junk"], pem["key"], empty):
        with pytest.raises(ValueError, match=r"certificate_file=.* is not a file of PEM certificates"):
            resolve("https://c/", certificate_file=path)
    with pytest.raises(ValueError, match=r"client_certificate_file=.* cannot be used with the key in it"):
        resolve("https://c/", client_certificate_file=pem["cert"])
    with pytest.raises(
        ValueError, match=r"client_certificate_file=.* cannot be used with client_key_file \(.*mismatch"
    ):
        resolve("https://c/", client_certificate_file=pem["cert"], client_key_file=pem["other"])


def test_an_encrypted_key_is_an_error_and_not_a_question_at_the_terminal(pem: dict[str, Path]) -> None:
    with pytest.raises(ValueError, match=r"client_certificate_file=.* cannot be used with client_key_file"):
        resolve("https://c/", client_certificate_file=pem["cert"], client_key_file=pem["encrypted"])


def test_a_client_key_needs_a_client_certificate(
    pem: dict[str, Path], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(ValueError, match=r"client_key_file=.* without a client certificate"):
        resolve("https://c/", client_key_file=pem["key"])
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_CLIENT_KEY", str(pem["key"]))
    assert resolve("https://c/").tls is not None
    assert one_warning(caplog).startswith("OTEL_EXPORTER_OTLP_CLIENT_KEY='")
    caplog.clear()
    resolve("https://c/", client_certificate_file=str(pem["cert"]))
    assert not caplog.records


def test_good_files_are_taken_from_arguments_and_variables(
    pem: dict[str, Path], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    tls = resolve("https://c/", certificate_file=pem["cert"]).tls
    assert tls is not None
    assert tls.context.verify_mode == ssl.CERT_REQUIRED
    assert tls.context.check_hostname
    assert tls.trust == f"the CA file '{pem['cert']}' (certificate_file)"
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_CERTIFICATE", "/gone")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TRACES_CERTIFICATE", str(pem["cert"]))
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TRACES_CLIENT_KEY", str(pem["key"]))
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TRACES_CLIENT_CERTIFICATE", str(pem["cert"]))
    tls = resolve("https://c/").tls
    assert tls is not None
    assert tls.trust.endswith("(OTEL_EXPORTER_OTLP_TRACES_CERTIFICATE)")
    assert resolve("http://c/").tls is None
    assert not caplog.records
