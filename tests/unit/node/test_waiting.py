"""What is published in one turn is joined in order, with its properties."""

from __future__ import annotations

from typing import Any

import pytest

from qpidha import Batch
from qpidha.errors import ArgumentError
from qpidha.node.waiting import MESSAGE_OVERHEAD_BYTES, Waiting, as_batch


def test_singles_and_batches_stay_in_order() -> None:
    waiting = Waiting()
    waiting.add(b"1", b"")
    waiting.add_batch(Batch.pack([b"2", b"3"]))
    waiting.add(b"4", b"p")
    joined = waiting.joined()
    assert [joined.data(i) for i in range(4)] == [b"1", b"2", b"3", b"4"]
    assert [joined.props(i) for i in range(4)] == [b"", b"", b"", b"p"]
    assert waiting.messages == 4


def test_one_batch_goes_as_it_is() -> None:
    waiting, batch = Waiting(), Batch.pack([b"1"])
    waiting.add_batch(batch)
    assert waiting.joined() is batch


def test_an_empty_message_counts_for_something() -> None:
    waiting = Waiting()
    waiting.add(b"", b"")
    assert waiting.bytes == MESSAGE_OVERHEAD_BYTES


@pytest.mark.parametrize("wrong", [[], (), ["text"], [1], b"bytes", None, {b"1": 1}], ids=repr)
def test_a_value_that_is_no_batch_is_refused(wrong: Any) -> None:
    with pytest.raises(ArgumentError):
        as_batch(wrong)


def test_a_list_or_a_tuple_of_bytes_is_a_batch() -> None:
    assert as_batch([b"1", b"2"]) == as_batch((b"1", b"2")) == Batch.pack([b"1", b"2"])
