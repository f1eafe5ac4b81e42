"""Clients of huey's port that send what is no request. They are refused or dropped; the others go on."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from itertools import count
from typing import Any

import msgpack
import pytest
from huey_ha import Port
from huey_ha.remote import LIST_MAX
from huey_ha.storage import pack

from tests.huey.clusters import cluster, storage

INFINITE = float("inf")
NUMBERS = count(1)


@pytest.fixture(scope="module")
def address() -> Iterator[tuple[str, int]]:
    with cluster("a") as (a,):
        port = Port(("127.0.0.1", 0), storage(a))
        try:
            yield port.server_address
        finally:
            port.shutdown()
            port.server_close()


def said(address: tuple[str, int], data: bytes) -> list[Any] | None:
    """The answer; None: the connection was ended without one."""
    with socket.create_connection(address, timeout=60) as client:
        client.sendall(data)
        unpacker = msgpack.Unpacker()
        while came := client.recv(1 << 16):
            unpacker.feed(came)
            for answer in unpacker:
                return list(answer)
    return None


def request(method: str, *arguments: object) -> bytes:
    return pack([b"me", next(NUMBERS), method, arguments, {}])


@pytest.mark.parametrize(
    ("method", "arguments"),
    [
        ("__class__", ()),
        ("enqueue", (5,)),
        ("enqueue", (b"x", INFINITE)),
        ("enqueue", (b"x", "high")),
        ("enqueue", (1, 2, 3)),
        ("put_data", ([], b"x")),
        ("put_data", ("key", 5)),
        ("incr", ("key", INFINITE)),
        ("peek_many", (5,)),
        ("add_to_schedule", (b"x", 5)),
        ("enqueued_items", ("x",)),
    ],
    ids=range(11),
)
def test_a_call_that_cannot_be_is_refused(
    address: tuple[str, int], capfd: pytest.CaptureFixture[str], method: str, arguments: tuple[object, ...]
) -> None:
    """Without an answer, a client would repeat it at every node until its patience is over."""
    answer = said(address, request(method, *arguments))
    assert answer is not None and answer[0] is False
    assert said(address, request("queue_size")) == [True, 0]
    assert "Traceback" not in capfd.readouterr().err


@pytest.mark.parametrize(
    "data",
    [
        b"\x05",
        pack([b"x", 1]),
        pack([b"x", 1, [], []]),
        b"\xc1",
        b"\x91" * 100_000,
        msgpack.packb(msgpack.ExtType(2, b"\xff")),
        msgpack.packb([0] * (LIST_MAX + 1)),
        b"\xdd\x03\xff\xff\xff" * 10,
        b"\xdf\x03\xff\xff\xff",
    ],
    ids=range(9),
)
def test_what_is_no_request_ends_the_connection(
    address: tuple[str, int], capfd: pytest.CaptureFixture[str], data: bytes
) -> None:
    assert said(address, data) is None
    assert said(address, request("queue_size")) == [True, 0]
    assert "Traceback" not in capfd.readouterr().err


def test_a_key_that_is_no_text_hides_no_results(address: tuple[str, int]) -> None:
    assert said(address, request("put_data", b"\xff", b"x")) == [True, None]
    assert said(address, request("result_items")) == [True, {"\\xff": b"x"}]
