"""Hosts that stand for many addresses: one may listen there, and nobody can connect to them."""

from __future__ import annotations

import ipaddress
import re

ZEROS = re.compile(r"(0x0*|0+)(\.(0x0*|0+)){0,3}", re.ASCII)
"""Every way to write the IPv4 address of all zeros."""


def is_wildcard(host: str) -> bool:
    """Whether the host stands for all addresses of a machine, or for many machines: no node can connect to it."""
    host = host.strip("[]")
    if host in ("", "*") or ZEROS.fullmatch(host.lower()):
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False  # A name.
    address = getattr(address, "ipv4_mapped", None) or address
    return address.is_unspecified or address.is_multicast or str(address) == "255.255.255.255"
