"""Shared by the tests of the transports: certificates, transports, and a strict runner."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import trustme
from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key

from qpidha.interfaces import Transport
from qpidha.transports import MemoryNetwork, MemoryTransport, TcpTransport
from tests.support.roles import with_roles


class Authority:
    """A certificate authority with its files in one directory."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.ca = trustme.CA()
        self.ca_file = directory / "ca.pem"
        self.ca.cert_pem.write_to_path(str(self.ca_file))

    def issue(self, name: str, *, roles: Sequence[str] = (), **how: Any) -> tuple[Path, Path]:
        """Create a certificate for this name, with these roles; return the files of certificate and key."""
        issued = self.ca.issue_cert(name, **how)
        certificate, key = self.directory / f"{name}.pem", self.directory / f"{name}.key"
        leaf, *chain = (pem.bytes() for pem in issued.cert_chain_pems)
        certificate.write_bytes(b"".join([with_roles(self.ca, leaf, roles) if roles else leaf, *chain]))
        key.touch(mode=0o600)
        key.write_bytes(issued.private_key_pem.bytes())
        return certificate, key

    def revoke(self, *certificates: Path, days: float = 1.0) -> Path:
        """Write the list of revoked certificates, valid for so many days. Returns its file, always the same."""
        now, crl = datetime.now(timezone.utc), self.directory / "crl.pem"
        issuer = x509.load_pem_x509_certificate(self.ca.cert_pem.bytes())
        revoked = x509.CertificateRevocationListBuilder(
            issuer.subject,
            min(now, now + timedelta(days=days)) - timedelta(days=2),
            now + timedelta(days=days),
        )
        for certificate in certificates:
            number = x509.load_pem_x509_certificate(certificate.read_bytes()).serial_number
            entry = x509.RevokedCertificateBuilder(number, now - timedelta(days=1))
            revoked = revoked.add_revoked_certificate(entry.build())
        key = load_pem_private_key(self.ca.private_key_pem.bytes(), None)
        new = crl.with_suffix(".new")
        new.write_bytes(revoked.sign(key, SHA256()).public_bytes(Encoding.PEM))  # type: ignore[arg-type]
        new.rename(crl)
        return crl

    def transport(
        self, name: str, *, crl: Path | None = None, roles_required: bool = False, **how: Any
    ) -> TcpTransport:
        """Return a transport with a certificate for this name."""
        certificate, key = self.issue(name, **how)
        return TcpTransport.with_certificates(
            ca=self.ca_file, certificate=certificate, key=key, crl=crl, roles_required=roles_required
        )


def plain(directory: Path) -> tuple[Transport, Transport]:
    transport = TcpTransport()
    return transport, transport


def tls(directory: Path) -> tuple[Transport, Transport]:
    authority = Authority(directory)
    return authority.transport("server"), authority.transport("client")


def memory(directory: Path) -> tuple[Transport, Transport]:
    network = MemoryNetwork()
    return MemoryTransport(network, identity="server"), MemoryTransport(network, identity="client")


def run(main: Coroutine[Any, Any, None]) -> None:
    """Run to the end; any error that reaches the loop's exception handler fails the test."""
    told: list[dict[str, Any]] = []

    async def watched() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: told.append(context))
        await main
        await asyncio.sleep(0)

    asyncio.run(watched(), debug=False)  # In debug mode asyncio reports failed handshakes of peers.
    assert told == []
