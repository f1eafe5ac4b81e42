"""Shared by the tests of the transports: certificates, transports, and a strict runner."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import trustme

from qpidha.interfaces import Transport
from qpidha.transports import MemoryNetwork, MemoryTransport, TcpTransport


class Authority:
    """A certificate authority with its files in one directory."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.ca = trustme.CA()
        self.ca_file = directory / "ca.pem"
        self.ca.cert_pem.write_to_path(str(self.ca_file))

    def issue(self, name: str, **how: Any) -> tuple[Path, Path]:
        """Create a certificate for this name; return the files of certificate and key."""
        issued = self.ca.issue_cert(name, **how)
        certificate, key = self.directory / f"{name}.pem", self.directory / f"{name}.key"
        certificate.write_bytes(b"".join(pem.bytes() for pem in issued.cert_chain_pems))
        key.touch(mode=0o600)
        key.write_bytes(issued.private_key_pem.bytes())
        return certificate, key

    def transport(self, name: str, **how: Any) -> TcpTransport:
        """Return a transport with a certificate for this name."""
        certificate, key = self.issue(name, **how)
        return TcpTransport.with_certificates(ca=self.ca_file, certificate=certificate, key=key)


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
