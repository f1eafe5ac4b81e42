"""An authority, and certificates of servers and clients, as PEM files."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from pathlib import Path

import trustme


@dataclass(frozen=True)
class Identity:
    """A certificate and its key."""

    certificate: Path
    key: Path


class Authority:
    """Issues certificates into a folder."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._ca = trustme.CA()
        self.ca = folder / "ca.pem"
        self._ca.cert_pem.write_to_path(self.ca)

    def issue(self, name: str, *hosts: str, common_name: str | None = None) -> Identity:
        """Write a certificate for hosts (127.0.0.1 and localhost if none are given) under a name."""
        issued = self._ca.issue_cert(*(hosts or ("127.0.0.1", "localhost")), common_name=common_name)
        found = Identity(self._folder / f"{name}.pem", self._folder / f"{name}.key")
        found.certificate.write_bytes(b"".join(pem.bytes() for pem in issued.cert_chain_pems))
        found.key.touch(mode=0o600)
        issued.private_key_pem.write_to_path(found.key)
        return found

    def client_context(self, identity: Identity | None = None) -> ssl.SSLContext:
        """A context that trusts this authority, and shows a certificate if one is given."""
        context = ssl.create_default_context(cafile=self.ca)
        if identity is not None:
            context.load_cert_chain(identity.certificate, identity.key)
        return context
