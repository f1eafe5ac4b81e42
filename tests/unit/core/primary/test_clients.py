"""The calls of clients reach the replicated queues, and those of this node alone, by their ids (O1, LV2)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from qpidha import ArgumentError, Batch, SequenceSet, UnknownQueue
from qpidha.core.keyed import TABLE
from qpidha.core.primary.clients import ClientCalls
from qpidha.types import Level, QueueSpec
from tests.support.cores import OTHER, QUEUE, SETTINGS, Node

ONE = Batch.pack([b"one"])
CALLS: list[Callable[[Any, Any], object]] = [
    lambda core, queue: core.enqueue(queue, ONE),
    lambda core, queue: core.dequeue(queue, SequenceSet([1])),
    lambda core, queue: core.skip(queue, 1),
]


def test_only_a_primary_makes_operations() -> None:
    with pytest.raises(TypeError, match="operate"):
        ClientCalls(1, {}, None, None, None, None)  # type: ignore[abstract, arg-type]


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("level", Level)
def test_a_call_names_a_queue_of_any_level_and_a_table_by_none(
    call: Callable[[Any, Any], object], level: Level
) -> None:
    node = Node(SETTINGS).promoted()
    core = node.replica.primary
    assert core is not None
    queue, _ = core.declare(QueueSpec(name="q"), b"", level)
    table, _ = core.declare(QueueSpec(name="t", kind=TABLE), b"", level)
    core.enqueue(queue, ONE)
    before, stored = core.position, core.local.stored
    call(core, queue)
    sent = level is Level.MESSAGES
    assert (core.position - before, core.local.stored - stored) == (sent, not sent)
    with pytest.raises(ArgumentError, match="has keys"):
        call(core, table)
    for wrong in (None, [], "q", QUEUE.int):
        with pytest.raises(UnknownQueue, match="no queue"):
            call(core, wrong)
    assert core.enqueue(OTHER, ONE)[0] == core.position
    node.check()
