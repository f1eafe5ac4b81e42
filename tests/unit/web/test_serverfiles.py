"""The certificate of the HTTP port is renewed in place; what cannot be used is told, and the old one goes on."""

from __future__ import annotations

from pathlib import Path

import pytest
import trustme

from qpidha.errors import SettingsError
from qpidha.web import ServerFiles


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


def write(authority: trustme.CA, base: Path) -> tuple[Path, Path]:
    certificate = authority.issue_cert("127.0.0.1")
    chain, key = base / "server.pem", base / "server.key"
    certificate.cert_chain_pems[0].write_to_path(chain)
    certificate.private_key_pem.write_to_path(key)
    key.chmod(0o600)
    return chain, key


def test_a_renewed_certificate_is_loaded(authority: trustme.CA, tmp_path: Path) -> None:
    files = ServerFiles(*write(authority, tmp_path))
    before = files.context
    (tmp_path / "server.pem").write_text("no certificate")
    files.refresh()
    assert "cannot use certificate" in files.fault
    write(authority, tmp_path)
    files.refresh()
    assert not files.fault and files.context is before
    files.refresh()
    assert str(tmp_path) in repr(files)


def test_files_that_cannot_be_used(authority: trustme.CA, tmp_path: Path) -> None:
    chain, key = write(authority, tmp_path)
    with pytest.raises(SettingsError, match="cannot read the key file"):
        ServerFiles(chain, tmp_path / "none")
    key.chmod(0o644)
    with pytest.raises(SettingsError, match="mode 0644"):
        ServerFiles(chain, key)
    key.chmod(0o600)
    with pytest.raises(SettingsError, match="cannot use certificate"):
        ServerFiles(tmp_path / "none", key)


def test_one_file_may_hold_both(authority: trustme.CA, tmp_path: Path) -> None:
    chain, key = write(authority, tmp_path)
    both = tmp_path / "both.pem"
    both.write_bytes(chain.read_bytes() + key.read_bytes())
    both.chmod(0o600)
    assert ServerFiles(both).context
