"""What is published in one turn is joined in order, with its properties."""

from __future__ import annotations

from typing import Any

import pytest

from qpidha import Batch
from qpidha.core.producers import TAG_BYTES
from qpidha.errors import ArgumentError
from qpidha.node.waiting import MESSAGE_OVERHEAD_BYTES, Run, Waiting, as_batch
from qpidha.types import ProducerSequence


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


class Collecting:
    """A queue that notes what it publishes."""

    def __init__(self) -> None:
        self._waiting = Waiting(scheduled=True)
        self.flushed: list[Waiting] = []

    def _flush(self) -> None:
        self.flushed.append(self._waiting)
        self._waiting = Waiting(scheduled=True)


def test_a_run_of_a_producer_is_published_before_anything_else_is_added() -> None:
    """Who added goes on with what the queue collects then."""
    queue = Collecting()
    for add in (lambda run: run.add(b"plain", b""), lambda run: run.add_batch(Batch.pack([b"plain"]))):
        run = queue._waiting = Run(queue, ProducerSequence("ada", (1, 1), 1), lambda: None)
        run.append(b"1", b"p")
        run.append_batch(Batch.pack([b"2", b"3"]))
        assert (run.messages, run.scheduled) == (3, True) and run.bytes > 3 * TAG_BYTES
        add(run)
        assert queue.flushed[-1] is run and list(run.joined()) == [b"1", b"2", b"3"]
        assert list(queue._waiting.joined()) == [b"plain"]
        assert (run.bytes, run.outcome) == (queue._waiting.bytes, queue._waiting.outcome)
