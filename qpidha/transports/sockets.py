"""Facts about the socket of an asyncio transport: its peer, its options, how its `writelines` sends."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import sys
from typing import Any

from qpidha.transports.tls import peer_names
from qpidha.types import PeerInfo


def is_loopback(host: str) -> bool:
    """Whether packets to this numeric address never leave the machine. False for what is not a numeric address."""
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return False
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return (mapped or address).is_loopback


def descriptor_of(transport: asyncio.BaseTransport) -> int:
    """The file descriptor of a connection; -1 if asyncio does not know it."""
    sock = transport.get_extra_info("socket")
    return -1 if sock is None else int(sock.fileno())


def describe(transport: asyncio.BaseTransport) -> PeerInfo:
    """Address and names of the peer of a connection, and whether it is on this machine."""
    name = transport.get_extra_info("peername") or ("?", 0)  # Missing if the peer is gone already.
    host, port = str(name[0]), int(name[1])
    tls = transport.get_extra_info("ssl_object")
    return PeerInfo(
        address=f"[{host}]:{port}" if ":" in host else f"{host}:{port}",
        identity=None if tls is None else peer_names(tls.getpeercert()),
        local=is_loopback(host),
    )


def is_vectored(transport: asyncio.Transport) -> bool:
    """Whether the transport's `writelines` sends several buffers without joining them.

    Before 3.12.9 and 3.13.2 asyncio's `writelines` did not pause the writer (CVE-2024-12254): single writes there.
    """
    writelines: Any = getattr(type(transport), "writelines", None)
    if writelines is asyncio.WriteTransport.writelines:
        return False
    if not type(transport).__module__.startswith("asyncio."):
        return True
    version = sys.version_info[:3]
    return not ((3, 12) <= version < (3, 12, 9) or (3, 13) <= version < (3, 13, 2))


def tune(transport: asyncio.BaseTransport) -> None:
    """Send small writes at once (TCP_NODELAY), and let the kernel probe silent peers (SO_KEEPALIVE)."""
    sock = transport.get_extra_info("socket")
    if sock is not None:
        try:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        except OSError:
            return  # The peer is gone already: `connection_lost` says so.
