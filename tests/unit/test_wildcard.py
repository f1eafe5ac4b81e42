"""Hosts to which no node can connect are recognised however they are written."""

from __future__ import annotations

import pytest

from qpidha.wildcard import is_wildcard


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "", "0", "0.0", "0x0.0", "[::]", "::0", "0:0:0:0:0:0:0:0",
                                  "::ffff:0.0.0.0", "224.0.0.1", "ff02::1", "255.255.255.255", "*"])  # fmt: skip
def test_a_host_that_stands_for_many_addresses(host: str) -> None:
    assert is_wildcard(host)


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "::1", "10.0.0.1", "node-a", "0a.example", "x", "fe80::1", "0.0.0.1"]
)
def test_a_name_or_an_address_of_one_machine(host: str) -> None:
    assert not is_wildcard(host)
