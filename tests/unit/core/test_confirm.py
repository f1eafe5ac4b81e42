"""An operation that changes nothing: each member acknowledges it, so only a primary that it follows completes it (Q7)."""

from __future__ import annotations

import pytest

from qpidha import SequenceSet
from qpidha.core.ready import Settled
from qpidha.errors import NotPrimary
from qpidha.wire.events import Dequeue, Operations
from tests.support.cores import GENERATION, LINK, Node


def test_it_is_complete_when_every_member_has_acknowledged_it_and_changes_nothing() -> None:
    node = Node().promoted().work().subscribed().work().acknowledge(1).forget()
    objects = node.replica.state.configuration
    assert objects is not None
    before = (objects.next, list(objects.held))
    position = node.replica.confirm()
    node.perform()
    (frame,) = [frame.event for link, frame in node.frames if link == LINK]
    assert frame == Operations(
        first=position, operations=((Dequeue(queue=objects.queue, ids=SequenceSet()),),)
    )
    assert not node.completed
    assert node.acknowledge(position).completed == [Settled(position, GENERATION, frozenset({"me", "peer"}))]
    assert (objects.next, list(objects.held)) == before
    node.check()


def test_a_backup_confirms_nothing() -> None:
    with pytest.raises(NotPrimary):
        Node().replica.confirm()
