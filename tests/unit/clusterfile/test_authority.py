"""Certificates for a trial: nodes and engines accept them, and one node's are no other's."""

from __future__ import annotations

import os
import shutil
import ssl
import stat
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from qpidha.clusterfile import authority
from qpidha.clusterfile.authority import make_certificates
from qpidha.errors import SettingsError
from qpidha.records import TlsFiles
from qpidha.system.roles import roles_of
from qpidha.transports import TcpTransport
from qpidha.transports.tls import client_context, peer_names, server_context


def exchanged(server: ssl.SSLContext, client: ssl.SSLContext, host: str | None) -> tuple[Any, Any]:
    """What each end of a handshake in memory sees of the other's certificate."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = [
        server.wrap_bio(to_server, to_client, server_side=True),
        client.wrap_bio(to_client, to_server, server_hostname=host),
    ]
    for _ in range(4):
        for end in ends:
            with suppress(ssl.SSLWantReadError):
                end.do_handshake()
    return ends[0].getpeercert(), ends[1].getpeercert()


def test_nodes_and_engines_accept_them(tmp_path: Path) -> None:
    folder = tmp_path / "certificates"
    make_certificates(folder, "orders", {"a": ["10.0.0.1", "fd00::1", "a.example"], "b": ["10.0.0.2"]})
    names = {f"{name}.{end}" for name in ("ca", "a", "b", "operator") for end in ("key", "pem")}
    assert {path.name for path in folder.iterdir()} == names
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()}
    assert modes == {name: 0o600 if name.endswith("key") else 0o644 for name in names}
    ca, a, b = folder / "ca.pem", folder / "a", folder / "b"
    TcpTransport.with_certificates(ca=ca, certificate=f"{a}.pem", key=f"{a}.key", roles_required=True)
    of_a = server_context(ca, f"{a}.pem", f"{a}.key")
    seen_by_a, seen_by_b = exchanged(of_a, client_context(ca, f"{b}.pem", f"{b}.key"), None)
    assert peer_names(seen_by_a) == {"b"}
    assert peer_names(seen_by_b) == {"a", "a.example"}
    assert roles_of(seen_by_a) == roles_of(seen_by_b) == {"peer"}
    strict = TlsFiles(ca=ca, certificate=f"{b}.pem", key=f"{b}.key").context()
    strict.verify_flags |= ssl.VERIFY_X509_STRICT
    for host in ("10.0.0.1", "fd00::1", "a.example", "127.0.0.1"):
        exchanged(of_a, strict, host)
    with pytest.raises(ssl.SSLCertVerificationError):
        exchanged(of_a, strict, "10.0.0.2")


def test_nothing_is_overwritten_or_left_half_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "certificates"
    folder.mkdir()
    make_certificates(folder, "x", {"a": []})
    before = (folder / "a.key").read_bytes()
    with pytest.raises(SettingsError, match="is there already, and not empty"):
        make_certificates(folder, "x", {"a": []})
    assert (folder / "a.key").read_bytes() == before
    shutil.rmtree(folder)
    for reserved in ("ca", "operator"):
        with pytest.raises(SettingsError, match=f"no node can be called '{reserved}' here"):
            make_certificates(folder, "x", {reserved: []})
    with pytest.raises(SettingsError, match="node 'a' has the host 'b', another node's id"):
        make_certificates(folder, "x", {"a": ["b"], "b": []})
    with pytest.raises(SettingsError, match=r"openssl .* has failed"):
        make_certificates(folder, "x", {"a": ["not, a host"]})
    monkeypatch.setattr(authority, "OPENSSL_TIMEOUT_S", 1e-9)
    with pytest.raises(SettingsError, match="openssl genpkey has not ended in 1e-09 s"):
        make_certificates(folder, "x", {"a": []})
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SettingsError, match="apt-get install openssl"):
        make_certificates(folder, "x", {"a": []})
    assert os.listdir(tmp_path) == []


def test_the_operator_is_no_peer_and_no_server(tmp_path: Path) -> None:
    """The role says so, and so does the purpose of the certificate, which also other programs look at."""
    folder = tmp_path / "certificates"
    make_certificates(folder, "orders", {"a": []})
    ca, a, operator = folder / "ca.pem", folder / "a", folder / "operator"
    with pytest.raises(SettingsError, match=r"operator\.pem is for operator: one for peer is needed"):
        TcpTransport.with_certificates(ca=ca, certificate=f"{operator}.pem", key=f"{operator}.key")
    of_operator = client_context(ca, f"{operator}.pem", f"{operator}.key")
    seen, _ = exchanged(server_context(ca, f"{a}.pem", f"{a}.key"), of_operator, None)
    assert roles_of(seen) == {"operator"} and peer_names(seen) == set()
    with pytest.raises(ssl.SSLCertVerificationError, match="unsuitable certificate purpose"):
        exchanged(
            server_context(ca, f"{operator}.pem", f"{operator}.key"),
            client_context(ca, f"{a}.pem", f"{a}.key"),
            None,
        )


def test_openssl_verifies_the_chain(tmp_path: Path) -> None:
    """A certificate whose name is that of its authority would be taken for one that signed itself."""
    folder = tmp_path / "certificates"
    make_certificates(folder, "orders", {"a": []})
    command = ["openssl", "verify", "-x509_strict", "-CAfile", str(folder / "ca.pem"), str(folder / "a.pem")]
    assert subprocess.run(command, capture_output=True).returncode == 0
    shown = ["openssl", "x509", "-noout", "-subject", "-issuer", "-in", str(folder / "a.pem")]
    subject, issuer = subprocess.run(shown, capture_output=True, text=True).stdout.splitlines()
    assert subject.partition("=")[2] != issuer.partition("=")[2]
