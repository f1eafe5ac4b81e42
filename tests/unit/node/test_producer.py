"""A producer's publishes and commits: made once, joined in a turn, answered when they are repeated (EO1–EO9)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from qpidha import (
    ArgumentError,
    Batch,
    InDoubt,
    MessagesGone,
    NotPrimary,
    Queue,
    SequenceGap,
    Settings,
    StaleHandle,
    UnknownProducer,
    UnknownQueue,
)
from qpidha.node.producer import Producer
from qpidha.types import Level
from tests.support.content_parts import Room
from tests.support.node_parts import run


class Stage:
    """Node a leads, with queues q and r, and producer "ada"."""

    def __init__(self, settings: Settings | None = None) -> None:
        self.room = Room(settings).lead()
        self.q: Queue = self.room.declare("q")
        self.r: Queue = self.room.declare("r")
        self.ada: Producer = self.room.producer("ada")
        self.room.turn()

    @property
    def position(self) -> int:
        primary = self.room.seat.core.primary
        assert primary is not None
        return primary.position

    def content(self, queue: Queue | None = None) -> list[bytes]:
        return [data for _, data in queue or self.q]


def staged(test: Callable[[Stage], None], settings: Settings | None = None) -> None:
    async def main() -> None:
        test(Stage(settings))

    run(main())


def test_a_publish_is_made_once() -> None:
    def test(stage: Stage) -> None:
        ada, q = stage.ada, stage.q
        assert (ada.name, ada.last, ada.generation) == ("ada", 0, 1)
        op = ada.enqueue(q, b"1", b"props", sequence=1)
        assert (op.ids, op.repeated, op.safe, ada.last) == (range(1, 2), 0, False, 1)
        stage.room.turn()
        assert op.safe and op.receipt().nodes == {"a"}
        position = stage.position
        again = ada.enqueue(q, b"1", b"props", sequence=1)
        assert (again.ids, again.repeated) == (range(0), 1)
        assert stage.position == position and list(q.messages()) == [(1, b"1", b"props")]
        assert again.safe and again.receipt().nodes == {"a"}
        assert "Producer 'ada' of node 'a', epoch (1, " in repr(ada)

    staged(test)


def test_a_repetition_of_what_is_pending_is_the_same_answer() -> None:
    """EO4: in the same turn, and as long as it is not safe."""

    def test(stage: Stage) -> None:
        ada, q = stage.ada, stage.q
        op, other = ada.enqueue(q, b"1", sequence=1), ada.enqueue(q, b"2", sequence=2)
        first, second = ada.enqueue(q, b"1", sequence=1), ada.enqueue_many(q, [b"1", b"2"], sequence=1)
        assert (first.ids, second.ids, first.repeated, second.repeated) == (op.ids, range(1, 3), 1, 2)
        assert not op.safe and not first.safe and not second.safe
        stage.room.turn()
        assert op.safe and first.safe and second.safe
        assert first.receipt().nodes == second.receipt().nodes == other.receipt().nodes == {"a"}

    staged(test)


def test_publishes_of_one_turn_are_one_operation() -> None:
    def test(stage: Stage) -> None:
        ada, q, position = stage.ada, stage.q, stage.position
        ops = [ada.enqueue(q, b"%d" % n, sequence=n) for n in range(1, 5)]
        ops.append(ada.enqueue_many(q, [b"5", b"6"], sequence=5))
        ops.append(ada.enqueue(q, b"7", sequence=7))
        assert [list(op.ids) for op in ops] == [[1], [2], [3], [4], [5, 6], [7]]
        assert (ada.last, q.depth, stage.position) == (7, 7, position)
        stage.room.turn()
        assert stage.position == position + 1 and all(op.safe for op in ops)
        assert stage.content() == [b"%d" % n for n in range(1, 8)]

    staged(test)


def test_a_large_run_does_not_wait_for_the_end_of_the_turn() -> None:
    def test(stage: Stage) -> None:
        position = stage.position
        stage.ada.enqueue(stage.q, bytes(1200), sequence=1)
        assert stage.position == position
        stage.ada.enqueue(stage.q, bytes(3200), sequence=2)
        assert stage.position == position + 1
        stage.ada.enqueue_many(stage.q, [bytes(4200)], sequence=3)
        assert stage.position == position + 2
        stage.ada.enqueue(stage.q, b"", sequence=4)
        assert stage.position == position + 2

    staged(test, Settings(operations_bytes=1024))


def test_other_publishes_of_the_turn_have_their_ids_in_the_order_of_the_calls() -> None:
    """Without a producer, single or a batch, or of another one; each with its own outcome."""

    def test(stage: Stage) -> None:
        ada, bob, q = stage.ada, stage.room.producer("bob"), stage.q
        ops: list[Any] = [
            q.enqueue(b"1"),
            ada.enqueue(q, b"2", sequence=1),
            q.enqueue(b"3"),
            q.enqueue(b"4"),
            ada.enqueue(q, b"5", sequence=2),
            q.enqueue_many([b"6", b"7"]),
            bob.enqueue(q, b"8", sequence=1),
            ada.enqueue(q, b"9", sequence=3),
        ]
        assert [op.ids[0] for op in ops] == [1, 2, 3, 4, 5, 6, 8, 9]
        assert stage.content() == [b"%d" % n for n in range(1, 10)]
        stage.room.turn()
        assert all(op.safe and op.receipt().nodes == {"a"} for op in ops)

    staged(test)


def test_sequences_over_several_queues_keep_their_order() -> None:
    def test(stage: Stage) -> None:
        ada, q, r = stage.ada, stage.q, stage.r
        for n, queue in enumerate((q, r, r, q), 1):
            ada.enqueue(queue, b"%d" % n, sequence=n)
        assert ada.last == 4
        stage.room.turn()
        assert (stage.content(q), stage.content(r)) == ([b"1", b"4"], [b"2", b"3"])
        assert stage.room.producers()[0].last == 4

    staged(test)


def test_gaps_are_refused_and_store_nothing() -> None:
    """EO5: also in the middle of a run."""

    def test(stage: Stage) -> None:
        ada, q = stage.ada, stage.q
        for sequence in (2, 7):
            with pytest.raises(SequenceGap):
                ada.enqueue(q, b"x", sequence=sequence)
        ada.enqueue(q, b"1", sequence=1)
        with pytest.raises(SequenceGap) as gap:
            ada.enqueue_many(q, [b"3"], sequence=3)
        assert gap.value.expected == 2
        assert stage.content() == [b"1"]

    staged(test)


def test_a_batch_that_is_partly_known_is_completed() -> None:
    def test(stage: Stage) -> None:
        ada, q = stage.ada, stage.q
        ada.enqueue_many(q, [b"1", b"2"], sequence=1)
        op = ada.enqueue_many(q, Batch.pack([b"2", b"3", b"4"]), sequence=2)
        assert (op.ids, op.repeated) == (range(3, 5), 1)
        large = ada.enqueue_many(q, [b"4", bytes(20_000), b"6"], sequence=4)
        assert (large.ids, large.repeated) == (range(5, 7), 1)
        stage.room.turn()
        assert large.safe and ada.last == 6
        assert stage.content()[:4] == [b"1", b"2", b"3", b"4"] and q.depth == 6

    staged(test)


def test_a_batch_larger_than_half_a_frame_is_sent_in_pieces() -> None:
    """Each has its sequences; what is missing after a failover is completed by the repetition."""

    def test(stage: Stage) -> None:
        position, told = stage.position, []
        stage.q.on_content(lambda: told.append(True))
        many = [b"%d" % n for n in range(5_000)]
        op = stage.ada.enqueue_many(stage.q, many, sequence=1)
        assert op.ids == range(1, 5_001) and stage.position > position + 4
        stage.room.turn()
        assert op.safe and stage.content() == many and told == [True]
        assert stage.ada.enqueue_many(stage.q, many, sequence=1).repeated == 5_000

    staged(test, Settings(frame_bytes_max=1 << 16, message_bytes_max=1 << 14, operations_bytes=1 << 13,
                          plan_chunk_bytes=1 << 14, handshake_frame_bytes_max=1 << 12,
                          ids_runs_per_chunk_max=256, link_buffer_bytes_max=1 << 20))  # fmt: skip


def test_a_limit_of_commits_is_none_for_publishes() -> None:
    def test(stage: Stage) -> None:
        stage.ada.enqueue(stage.q, bytes(2000), sequence=1)
        stage.room.turn()
        assert stage.q.depth == 1
        with pytest.raises(ArgumentError, match="transaction_bytes_max"):
            stage.ada.publish([stage.q, stage.r], bytes(2000), sequence=2)

    staged(test, Settings(transaction_bytes_max=1000))


def test_a_repetition_is_answered_although_its_queue_is_gone() -> None:
    """EO9, EO3. `answer` needs no queue."""

    def test(stage: Stage) -> None:
        ada, q = stage.ada, stage.q
        ada.enqueue(q, b"1", sequence=1)
        stage.room.delete(q)
        assert ada.enqueue(q, b"1", sequence=1).repeated == 1
        answer = ada.answer(1)
        assert answer is not None and answer.repeated == 1 and not answer.safe
        assert ada.answer(2) is None
        with pytest.raises(UnknownQueue):
            ada.enqueue(q, b"2", sequence=2)
        stage.room.turn()
        assert answer.safe

    staged(test)


def test_a_publish_to_several_queues_is_made_once() -> None:
    def test(stage: Stage) -> None:
        ada, q, r = stage.ada, stage.q, stage.r
        ada.enqueue(q, b"1", sequence=1)
        op = ada.publish([r, q], b"2", b"p", sequence=2)
        assert (op.ids, op.repeated) == (range(1, 2), 0)
        again = ada.publish([r, q], b"2", b"p", sequence=2)
        assert (again.ids, again.repeated) == (range(1, 2), 1)
        stage.room.turn()
        assert op.safe and again.safe and again.receipt().nodes == {"a"}
        assert (stage.content(q), stage.content(r)) == ([b"1", b"2"], [b"2"])
        late = ada.publish([r, q], b"2", b"p", sequence=2)
        assert (late.ids, late.repeated) == (range(0), 1)

    staged(test)


def test_a_transaction_is_committed_once_whatever_is_in_it() -> None:
    """EO9: its message is gone and its queue is declared, both by its first commit."""

    def test(stage: Stage) -> None:
        ada, q = stage.ada, stage.q
        work = q.enqueue(b"work").ids
        ada.enqueue(stage.r, b"before", sequence=1)

        def commit(sequence: int) -> tuple[Any, Any, Any]:
            with ada.transaction(sequence=sequence) as t:
                t.dequeue(q, work)
                made = t.declare("new")
                part = t.enqueue(made, b"result")
            return t, made, part

        t, made, part = commit(2)
        assert (t.op.repeated, part.ids) == (0, range(1, 2))
        again, twice, known = commit(2)
        assert (again.op.repeated, known.ids) == (1, range(1, 2)) and twice.queue is made.queue
        stage.room.turn()
        assert t.op.safe and again.op.safe
        late, unknown, nothing = commit(2)
        assert (late.op.repeated, nothing.ids) == (1, range(0)) and unknown.queue is made.queue
        assert stage.content(made.queue) == [b"result"] and ada.last == 2
        with pytest.raises(MessagesGone):
            commit(3)
        assert ada.last == 2
        with pytest.raises(SequenceGap):
            commit(9)
        stage.room.delete(made.queue)
        with pytest.raises(UnknownQueue):
            _ = commit(2)[1].queue

    staged(test)


def test_a_sequence_is_given_up_once_and_for_all() -> None:
    """EO8: a message with it is never stored afterwards."""

    def test(stage: Stage) -> None:
        ada, q = stage.ada, stage.q
        op = ada.give_up(1)
        assert op.repeated == 0 and not op.safe
        assert ada.enqueue(q, b"1", sequence=1).repeated == 1
        ada.enqueue(q, b"2", sequence=2)
        assert ada.give_up(2).repeated == 1 and ada.give_up(3).repeated == 0
        stage.room.turn()
        assert op.safe and stage.content() == [b"2"] and ada.last == 3
        with pytest.raises(SequenceGap):
            ada.give_up(5)

    staged(test)


def test_a_producer_that_is_forgotten_is_refused() -> None:
    """EO6. What it has collected in the turn comes first."""

    def test(stage: Stage) -> None:
        ada, q = stage.ada, stage.q
        ada.enqueue(q, b"1", sequence=1)
        op = ada.forget()
        stage.room.turn()
        assert op.safe and stage.content() == [b"1"] and stage.room.producers() == []
        for call in (lambda: ada.enqueue(q, b"1", sequence=1), lambda: ada.answer(2), lambda: ada.give_up(2)):
            with pytest.raises(UnknownProducer):
                call()
        position = stage.position
        again = ada.forget()
        assert stage.position == position and again.safe and ada.last == 0

    staged(test)


def test_handles_belong_to_their_term() -> None:
    def test(stage: Stage) -> None:
        ada, q = stage.ada, stage.q
        op = ada.enqueue(q, b"1", sequence=1)
        stage.room.follow()
        calls: list[Callable[[], object]] = [
            lambda: ada.enqueue(q, b"2", sequence=2),
            lambda: ada.enqueue_many(q, [b"2"], sequence=2),
            lambda: ada.publish([q], b"2", sequence=2),
            lambda: ada.transaction(sequence=2),
            lambda: ada.answer(1),
            lambda: ada.give_up(1),
            ada.forget,
            lambda: ada.registered,
        ]
        for call in calls:
            with pytest.raises(NotPrimary):
                call()
        stage.room.turn()
        with pytest.raises(InDoubt):
            op.receipt()
        stage.room.seat.lead(generation=3)
        stage.room.turn()
        for call in calls:
            with pytest.raises(StaleHandle, match="handle of producer 'ada' was made in generation 1"):
                call()

    staged(test)


def test_arguments_are_checked_before_anything_changes() -> None:
    def test(stage: Stage) -> None:
        ada, q, position = stage.ada, stage.q, stage.position
        other: Any = Room().lead().declare("q")
        wrong: list[tuple[Callable[[], object], str]] = [
            (lambda: ada.enqueue("q", b"1", sequence=1), "queue"),  # type: ignore[arg-type]
            (lambda: ada.enqueue_many("q", [b"1"], sequence=1), "queue"),  # type: ignore[arg-type]
            (lambda: ada.enqueue(other, b"1", sequence=1), "queue of node"),
            (lambda: ada.enqueue(q, "1", sequence=1), "data"),  # type: ignore[arg-type]
            (lambda: ada.enqueue(q, b"1", 7, sequence=1), "props"),  # type: ignore[arg-type]
            (lambda: ada.enqueue(q, b"1", sequence=0), "sequence"),
            (lambda: ada.enqueue(q, b"1", sequence="1"), "sequence"),  # type: ignore[arg-type]
            (lambda: ada.enqueue_many(q, [], sequence=1), "at least one"),
            (lambda: ada.enqueue_many(q, [b"1", b"2"], sequence=2**64 - 2), "last sequence number"),
            (lambda: ada.enqueue(q, bytes(2000), sequence=1), "message_bytes_max"),
            (lambda: ada.enqueue_many(q, [bytes(2000)], sequence=1), "message_bytes_max"),
            (lambda: ada.give_up(-1), "sequence"),
            (lambda: ada.answer(None), "sequence"),  # type: ignore[arg-type]
            (lambda: ada.transaction(sequence=True), "sequence"),
        ]
        for call, named in wrong:
            with pytest.raises(ArgumentError, match=named):
                call()
        stage.room.turn()
        assert stage.position == position and ada.last == 0 and q.depth == 0

    staged(test, Settings(message_bytes_max=1000))


def test_a_publish_that_is_consumed_while_it_is_pending() -> None:
    """The receipt says so, of the first publish and of its repetition."""

    def test(stage: Stage) -> None:
        op = stage.ada.enqueue(stage.q, b"1", sequence=1)
        stage.q.dequeue(op.ids)
        again = stage.ada.enqueue(stage.q, b"1", sequence=1)
        stage.room.turn()
        assert op.receipt().consumed and again.receipt().consumed

    staged(test)


def test_a_queue_whose_messages_are_not_replicated() -> None:
    """Its part of the publish is stored by this node alone; the sequence is used on all."""

    def test(stage: Stage) -> None:
        mine = stage.room.declare("mine", replicate=Level.CONFIGURATION)
        stage.room.turn()
        op = stage.ada.enqueue(mine, b"1", sequence=1)
        assert op.ids == range(1, 2) and not op.safe
        assert stage.ada.enqueue(mine, b"1", sequence=1).repeated == 1
        stage.room.turn()
        assert op.safe and stage.content(mine) == [b"1"] and stage.ada.last == 1

    staged(test)
