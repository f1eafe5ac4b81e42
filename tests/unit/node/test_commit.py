"""A commit is made only by a node that serves, and each part that its steps concern is told once."""

from __future__ import annotations

import pytest

from qpidha import Batch, SequenceSet
from qpidha.core.steps import Accept, DeclareQueue, DeleteQueue, Erase, Move, Publish, Put
from qpidha.errors import ArgumentError, MessagesGone, NotEnoughMembers, NotPrimary, UnknownQueue
from qpidha.settings import Settings
from qpidha.types import QueueSpec
from tests.support.content_parts import Room
from tests.support.node_parts import run

ONE = Batch.pack([b"1"])


def test_a_node_that_does_not_serve_commits_nothing() -> None:
    async def main() -> None:
        room = Room()
        assert room.commits.configuration is None
        for call in (
            lambda: room.commits.commit([]),
            lambda: room.commits.declare(DeclareQueue(QueueSpec(name="q"))),
        ):
            with pytest.raises(NotPrimary):
                call()

    run(main())


def test_a_commit_has_one_op_for_all_its_steps() -> None:
    async def main() -> None:
        room = Room().lead()
        q, n = room.declare("q"), room.declare("n")
        committed, op = room.commits.commit([Publish((q.id, n.id), ONE), Publish((q.id,), ONE)])
        assert [list(made.ids) for made in committed.made] == [[1], [2]]
        assert not op.safe
        room.turn()
        assert op.safe and list(op.ids) == []

    run(main())


def test_watchers_of_content_are_called_for_publishes_and_for_the_targets_of_moves() -> None:
    async def main() -> None:
        room = Room().lead()
        names = ("q", "n", "quiet")
        q, n, quiet = (room.declare(name) for name in names)
        told: list[str] = []
        for queue in (q, n, quiet):
            queue.on_content(lambda name=queue.name: told.append(name))  # type: ignore[misc]
        room.turn()
        room.commits.commit([Publish((q.id,), ONE), Publish((q.id,), ONE)])
        room.turn()
        assert told == ["q"]
        room.commits.commit([Move(q.id, SequenceSet([1]), n.id), Accept(q.id, SequenceSet([2]))])
        room.turn()
        assert told == ["q", "n"]
        room.commits.delete(n.id, q.id)
        room.turn()
        assert told == ["q", "n", "q"]

    run(main())


def test_a_queue_that_a_commit_declares_is_known_at_once_and_one_that_it_deletes_no_more() -> None:
    async def main() -> None:
        room = Room().lead()
        old = room.declare("old")
        steps = [DeclareQueue(QueueSpec(name="new")), Publish((0,), ONE), DeleteQueue(old.id, 0)]
        room.commits.commit(steps)
        assert [queue.name for queue in room.queues] == ["new"]
        room.turn()
        assert [queue.name for queue in room.queues] == ["new"]

    run(main())


def test_a_queue_that_one_commit_declares_and_deletes_is_never_known() -> None:
    async def main() -> None:
        room = Room().lead()
        room.commits.commit([DeclareQueue(QueueSpec(name="brief")), DeleteQueue(0)])
        room.turn()
        assert room.queues == []
        assert room.seat.core.find("brief") is None

    run(main())


def test_keys_of_a_table_that_the_same_commit_declares_are_there_at_once() -> None:
    async def main() -> None:
        room = Room().lead()
        room.commits.commit([DeclareQueue(QueueSpec(name="t", kind="$table")), Put(0, b"k", b"1")])
        table, told = room.table("t"), []
        room.turn()
        table.on_change(lambda *change: told.append(change))
        room.commits.commit([Put(table.id, b"k", b"2"), Erase(table.id, b"x")])
        room.turn()
        assert told == [(b"k", b"2")]

    run(main())


def test_a_message_has_data_and_props_of_a_bounded_size() -> None:
    async def main() -> None:
        commits = Room(Settings(message_bytes_max=3)).commits
        assert commits.message(bytearray(b"ab"), b"c") == (b"ab", b"c")
        with pytest.raises(ArgumentError, match=r"at most 3 bytes \(message_bytes_max\), not 4"):
            commits.message(b"ab", b"cd")
        with pytest.raises(ArgumentError, match="key must be bytes"):
            commits.message(b"", "k", "value", "key")  # type: ignore[arg-type]

    run(main())


def test_a_refused_commit_changes_nothing_and_tells_no_watcher() -> None:
    async def main() -> None:
        room = Room().lead()
        q, table = room.declare("q"), room.table("t")
        told: list[object] = []
        q.on_content(lambda: told.append("q"))
        table.on_change(lambda *change: told.append(change))
        room.turn()
        before = room.stored()
        with pytest.raises(UnknownQueue):
            room.commits.commit([Put(table.id, b"k", b""), Publish((q.id,), ONE), Publish((9,), ONE)])
        q.enqueue(b"")
        room.turn()
        told.clear()
        q.dequeue(1)
        room.turn()
        with pytest.raises(MessagesGone, match="of 'q' are not held any more") as caught:
            room.commits.commit([Put(table.id, b"k", b""), Accept(q.id, SequenceSet([1]))])
        assert (caught.value.queue, list(caught.value.ids)) == ("q", [1])
        room.turn()
        assert (told, len(table)) == ([], 0)
        assert room.stored() == before + 2, "the publish and the accept of 1 only"

    run(main())


def test_with_too_few_members_a_commit_is_refused_and_a_declaration_waits() -> None:
    async def main() -> None:
        room = Room(Settings(min_in_sync=2)).lead()
        q = room.declare("q")
        with pytest.raises(NotEnoughMembers):
            room.commits.commit([Publish((q.id,), ONE)])
        room.turn()
        assert not q.declared.safe
        assert q.depth == 0

    run(main())
