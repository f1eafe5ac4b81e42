"""Network addresses as text, and where a node may have several."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TypeAlias

from qpidha.checks import PORT_MAX
from qpidha.errors import ArgumentError
from qpidha.types import Address

Addresses: TypeAlias = Address | Sequence[Address]
"""One address, or several in the order of preference."""
TEXT = re.compile(r"(?:\[(?P<bracketed>[^\[\]]*)\]|(?P<plain>[^:\[\]]*)):(?P<port>[0-9]{1,5})", re.ASCII)


def address_text(address: Address) -> str:
    """``host:port``, with an IPv6 address in brackets.

    >>> address_text(("::1", 5671)), address_text(("node-a", 5671))
    ('[::1]:5671', 'node-a:5671')
    """
    host, port = address
    return f"[{host}]:{port}" if ":" in str(host) else f"{host}:{port}"


def parse_address(text: str) -> Address:
    """The address in ``host:port`` or ``[IPv6 address]:port``.

    >>> parse_address("[::1]:5671")
    ('::1', 5671)

    Raises:
        ArgumentError: The text is not one of these, or the port is above 65535.
    """
    match = TEXT.fullmatch(text)
    port = int(match["port"]) if match else PORT_MAX + 1
    if match is None or port > PORT_MAX:
        raise ArgumentError(f"{text!r} is not an address: give host:port, or [IPv6 address]:port")
    return match["bracketed"] if match["plain"] is None else match["plain"], port


def as_addresses(addresses: Addresses) -> tuple[Address, ...]:
    """A tuple of addresses, of one or of several."""
    if isinstance(addresses, tuple) and len(addresses) == 2 and isinstance(addresses[0], str):
        return (addresses,)
    return tuple(addresses)
