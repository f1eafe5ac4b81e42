"""Addresses as text, and one address or several where a node takes either."""

from __future__ import annotations

import pytest

from qpidha.addresses import address_text, as_addresses, parse_address
from qpidha.errors import ArgumentError
from qpidha.types import Address


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("node-a:5671", ("node-a", 5671)),
        ("10.0.0.1:0", ("10.0.0.1", 0)),
        ("[::1]:5671", ("::1", 5671)),
        ("[fe80::1%eth0]:65535", ("fe80::1%eth0", 65535)),
        (":5671", ("", 5671)),
    ],
)
def test_an_address_comes_back_from_its_text(text: str, address: Address) -> None:
    assert parse_address(text) == address
    assert address_text(address) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "node-a",
        "node-a:",
        "node-a:x",
        "node-a:65536",
        "::1:5671",
        "[::1]",
        "[::1:5671",
        "a:1:2",
        "a:-1",
        "a:٣",
    ],
)
def test_a_text_that_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(ArgumentError, match=r"give host:port, or \[IPv6 address\]:port"):
        parse_address(text)


def test_one_address_or_several_become_a_tuple() -> None:
    first, second = ("node-a", 1), ("10.1.0.1", 1)
    assert as_addresses(first) == (first,)
    assert as_addresses((first, second)) == as_addresses([first, second]) == (first, second)
