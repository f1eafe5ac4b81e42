"""The arguments of a queue: what is fixed at its declaration, as bytes that every node reads alike."""

from __future__ import annotations

from typing import Any

import msgpack
import pytest

from qpidha import ArgumentError
from qpidha.queues import Overflow, QueueArguments

EVERYTHING = QueueArguments(
    messages_max=5,
    bytes_max=100,
    overflow=Overflow.DEAD_LETTER,
    delivery_limit=3,
    dead_letters="dead",
    fair_share=2,
    expires=False,
    groups=True,
    own=b"mine",
)


@pytest.mark.parametrize("arguments", [QueueArguments(), EVERYTHING])
def test_what_is_encoded_is_decoded(arguments: QueueArguments) -> None:
    assert QueueArguments.decode(arguments.encode()) == arguments


def test_defaults_take_no_space() -> None:
    assert QueueArguments().encode() == b""
    assert not QueueArguments().limited


def test_arguments_of_a_later_release_are_ignored() -> None:
    assert QueueArguments.decode(msgpack.packb({"groups": True, "colour": "red"})) == QueueArguments(
        groups=True
    )


@pytest.mark.parametrize(
    "arguments",
    [b"\xc1", b"\x01", msgpack.packb({"overflow": "explode"}), msgpack.packb({"messages_max": "many"})],
)
def test_bytes_that_are_no_arguments_are_refused(arguments: bytes) -> None:
    with pytest.raises(ArgumentError):
        QueueArguments.decode(arguments)


@pytest.mark.parametrize(
    "wrong",
    [
        {"messages_max": 0},
        {"bytes_max": "1"},
        {"overflow": "refuse"},
        {"delivery_limit": -1},
        {"dead_letters": 7},
        {"fair_share": 0},
        {"expires": None},
        {"groups": 1},
        {"own": "text"},
        {"overflow": Overflow.DEAD_LETTER},
    ],
)
def test_values_that_make_no_sense_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ArgumentError):
        QueueArguments(**wrong)
