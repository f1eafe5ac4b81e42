"""Queues by id and by name, and one handle for each of them in each term."""

from __future__ import annotations

from uuid import UUID

import pytest

from qpidha import Batch, Settings
from qpidha.core.queue import ReplicatedQueue
from qpidha.errors import UnknownQueue
from qpidha.node.handles import Handles
from qpidha.node.runtime import Runtime
from qpidha.types import QueueSpec


def queue(n: int, name: str) -> ReplicatedQueue:
    return ReplicatedQueue(UUID(int=n), QueueSpec(name=name), ((1, 1),), 1)


@pytest.fixture
def handles() -> Handles:
    made = Handles(Runtime("a", Settings(), None))
    for n, name in enumerate(("first", "second"), 1):
        made.add(queue(n, name))
    return made


def test_a_queue_is_found_by_id_and_by_name(handles: Handles) -> None:
    assert len(handles) == 2
    assert UUID(int=1) in handles and UUID(int=3) not in handles
    found = handles.named("second")
    assert found is not None and found.id == UUID(int=2)
    assert handles.named("third") is None
    assert handles.require("second") is found
    with pytest.raises(UnknownQueue, match=r"'third'.*on node 'a'"):
        handles.require("third")


def test_a_handle_is_made_when_it_is_asked_for_and_once(handles: Handles) -> None:
    assert handles.made(UUID(int=1)) is None
    handle = handles.of(UUID(int=1))
    assert handles.of(UUID(int=1)) is handle is handles.named("first")
    assert handles.all_made() == [handle]


def test_a_new_term_has_new_handles(handles: Handles) -> None:
    old = handles.of(UUID(int=1))
    handles.new_term()
    assert handles.all_made() == []
    assert handles.of(UUID(int=1)) is not old


def test_a_queue_that_is_gone_has_no_handle_and_no_name(handles: Handles) -> None:
    handles.of(UUID(int=1))
    handles.remove(UUID(int=1))
    handles.remove(UUID(int=1))
    assert (len(handles), handles.named("first"), handles.made(UUID(int=1))) == (1, None, None)


def test_a_queue_whose_deletion_was_undone_has_a_new_handle_that_reads_it(handles: Handles) -> None:
    """Also if messages came while the old one was there, which a backup calls pending."""
    old, id = handles.of(UUID(int=1)), UUID(int=1)
    old._queue.append(Batch.pack([b"before"]))
    handles.remove(id)
    again = queue(1, "first")
    again.append(Batch.pack([b"after"]))
    handles.add(again)
    assert handles.of(id) is not old
    assert handles.of(id)._queue is again


def test_of_two_queues_with_one_name_the_later_has_it(handles: Handles) -> None:
    """As after a failover that undid a declaration: the name must not vanish with the older one."""
    handles.add(queue(3, "first"))
    handles.remove(UUID(int=1))
    found = handles.named("first")
    assert found is not None and found.id == UUID(int=3)


def test_queues_are_listed_in_the_order_in_which_they_came(handles: Handles) -> None:
    assert [q.spec.name for q in handles.first()] == ["first", "second"]
    assert [q.spec.name for q in handles.first(1)] == ["first"]
    assert [q.spec.name for q in handles.first(10**30)] == ["first", "second"]
    assert handles.all_made() == [], "listing makes no handle"
    assert [q.name for q in handles.all()] == ["first", "second"]
