"""Sockets below asyncio transports: how they are connected, their peer and options, how `writelines` sends."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import sys
from functools import partial
from typing import Any

from qpidha.addresses import address_text
from qpidha.errors import LinkClosed
from qpidha.system.racing import AllFailed, first_of
from qpidha.system.roles import roles_of
from qpidha.system.words import in_words
from qpidha.transports.tls import peer_names
from qpidha.types import Address, PeerInfo


def is_loopback(host: str) -> bool:
    """Whether packets to this numeric address never leave the machine. False for what is not a numeric address."""
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return False
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return (mapped or address).is_loopback


async def destination(loop: asyncio.AbstractEventLoop, address: Address) -> dict[str, Any]:
    """The arguments of `loop.create_connection` for this address.

    A name that has several addresses is connected here: the first of them that answers is used. `asyncio` could do that
    itself, but uvloop would wait for an address that drops packets until the time is up.

    Raises:
        OSError: The name cannot be resolved, or none of its addresses answers.
    """
    host, port = address
    plain = {"host": host, "port": port}
    if _is_number(host):
        return plain
    infos = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    if len(infos) == 1:
        return plain
    attempts = [partial(_connected, loop, family, where) for family, _, _, _, where in infos]
    try:
        _, connected = await first_of(attempts, (OSError,), socket.socket.close)
    except AllFailed as failed:
        raise failed.errors[-1] from None
    return {"sock": connected}


def _is_number(host: str) -> bool:
    try:
        ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return False
    return True


async def refuses(loop: asyncio.AbstractEventLoop, address: Address) -> bool:
    """Whether the machine answers that nothing listens there, at each of its addresses. Sends nothing.

    Raises:
        OSError: The name cannot be resolved.
    """
    host, port = address
    hosts = [host]
    if not _is_number(host):
        hosts = [str(info[4][0]) for info in await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)]
    for each in hosts:
        try:
            transport, _ = await loop.create_connection(asyncio.Protocol, each, port)
        except ConnectionRefusedError:
            continue
        except OSError:
            return False
        transport.close()  # In order: a reset would be a failed link to the other end.
        return False
    return True


async def _connected(loop: asyncio.AbstractEventLoop, family: int, where: Any) -> socket.socket:
    connecting = socket.socket(family, socket.SOCK_STREAM)
    try:
        connecting.setblocking(False)
        await loop.sock_connect(connecting, where)
    except BaseException:
        connecting.close()
        raise
    return connecting


def descriptor_of(transport: asyncio.BaseTransport) -> int:
    """The file descriptor of a connection; -1 if asyncio does not know it."""
    sock = transport.get_extra_info("socket")
    return -1 if sock is None else int(sock.fileno())


def describe(transport: asyncio.BaseTransport) -> PeerInfo:
    """Address and names of the peer of a connection, and whether it is on this machine."""
    name = transport.get_extra_info("peername") or ("?", 0)  # Missing if the peer is gone already.
    host, port = str(name[0]), int(name[1])
    tls = transport.get_extra_info("ssl_object")
    certificate = None if tls is None else tls.getpeercert()
    return PeerInfo(
        address=address_text((host, port)),
        identity=peer_names(certificate),
        roles=roles_of(certificate),
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


def as_link_closed(error: BaseException | None, what: str) -> LinkClosed | None:
    """Convert errors of sockets and of TLS to `LinkClosed`. All errors go through this."""
    if error is None or isinstance(error, LinkClosed):
        return error
    reason = in_words(error)
    closed = LinkClosed(f"{what}: {reason}")
    closed.__cause__ = error
    return closed
