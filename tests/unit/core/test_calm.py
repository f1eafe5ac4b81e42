"""The short way through `Replica.ready`: taken while only operations can have effects, and with the same effects."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace

import pytest

from qpidha import Batch, SequenceSet
from qpidha.core import replica as core
from qpidha.core.manager import Read
from qpidha.core.primary.primary import Primary
from qpidha.core.ready import ReadRecord, Safe
from qpidha.core.replica import Replica
from qpidha.errors import InvariantError, RemoteProtocolError
from qpidha.settings import Settings
from qpidha.wire.events import Acknowledged, Enqueue, Frame, Operations, PlanEnd, Progress, Resubscribe
from tests.support.cores import BOOT, GENERATION, LINK, ME, PEER, QUEUE, SESSION, SETTINGS, Node, seen
from tests.support.plans import EMPTY, END, PLAN, backup

MESSAGE = Batch.pack([b"m"])
RECORD = seen(GENERATION, ("me", BOOT), frozenset({ME, PEER}))


def primary(settings: Settings = SETTINGS) -> Node:
    """A primary whose backup follows, and which has found that nothing else is to be done."""
    node = Node(settings).promoted().subscribed().work()
    at = next(event.position for event in reversed(node.sent) if isinstance(event, PlanEnd))
    node.acknowledge(at).work().forget()
    node.perform()
    assert node.replica._calm
    return node


def core_of(node: Node) -> Primary:
    assert node.replica.primary is not None
    return node.replica.primary


def publish(node: Node) -> int:
    """One message, sent. Returns its position."""
    position, _ = node.replica.enqueue(QUEUE, MESSAGE)
    node.perform()
    return position


def test_operations_and_their_acknowledgements_do_not_end_the_calm_of_a_primary() -> None:
    node = primary()
    for _ in range(3):
        node.acknowledge(publish(node))
        assert node.replica._calm
        assert not node.replica.unfinished
        node.replica.check()
    node.replica.dequeue(QUEUE, SequenceSet([1]))
    node.perform()
    assert node.replica._calm
    assert [type(event) for event in node.sent] == [Operations] * 4
    assert [done.upto for done in node.completed if isinstance(done, Safe)] == [10, 11, 12]


def test_operations_do_not_end_the_calm_of_a_backup() -> None:
    node = backup(PLAN, EMPTY, END).work()
    node.perform()
    session = node.replica.follower.session
    assert session is not None
    assert node.replica._calm
    queue = next(q for q in node.replica.queues.values() if q.queue == QUEUE)
    part = Enqueue(queue=QUEUE, first=queue.next, batch=MESSAGE)
    node.forget().say(Operations(first=session.position + 1, operations=((part,),)), session=session.sid)
    assert node.sent == [Acknowledged(position=session.position)]
    assert node.replica._calm
    node.replica.check()


INPUTS: dict[str, Callable[[Replica], object]] = {
    "a tick": lambda replica: replica.tick(1.0),
    "a link": lambda replica: replica.link_opened(9),
    "the end of a link": lambda replica: replica.link_closed(LINK),
    "the end of another link": lambda replica: replica.link_closed(9),
    "a link that breaks the protocol": lambda replica: replica.link_failed(LINK, RemoteProtocolError("no")),
    "another frame": lambda replica: replica.received(
        LINK, Frame(GENERATION, SESSION, Progress(chunks=0)), 1.0
    ),
    "a record": lambda replica: replica.record_seen(RECORD, 1.0),
    "an answer": lambda replica: replica.answered(ReadRecord(), Read(RECORD), 1.0),
    "a node that is gone": lambda replica: replica.nodes_gone(frozenset({"peer"})),
    "a wish to hand over": lambda replica: replica.demote(),
    "a step-down": lambda replica: replica.step_down("why not"),
    "the stop": lambda replica: replica.stop(),
    "messages that were handed over": lambda replica: replica.handed_over([]),
    "messages that were not taken": lambda replica: replica.hand_over_failed(1.0),
}


@pytest.mark.parametrize("name", INPUTS)
def test_any_other_input_ends_the_calm(name: str) -> None:
    node = primary()
    INPUTS[name](node.replica)
    assert not node.replica._calm
    node.perform()
    node.replica.check()


def test_a_promotion_ends_the_calm_of_a_backup() -> None:
    node = backup(PLAN, EMPTY, END).work()
    node.perform()
    assert node.replica._calm
    node.replica.promote(found_as=BOOT)
    assert not node.replica._calm
    node.perform()
    assert not node.replica._calm  # Its request is under way.


def test_a_backup_that_falls_behind_is_told_to_subscribe_again() -> None:
    node = primary(replace(SETTINGS, window_operations_max=2))
    for _ in range(3):
        publish(node)
        node.replica.check()
    assert isinstance(node.sent[-1], Resubscribe)
    assert core_of(node).lags
    assert not node.replica._calm


def test_a_pause_is_found_while_it_is_calm() -> None:
    """Every member gets a fresh time-out, as with a whole `ready` (T42)."""
    node = primary()
    publish(node)
    left = node.clock
    node.replica.performed(left)
    node.clock += node.replica.settings.ack_timeout_s
    publish(node)
    oldest = core_of(node).oldest_incomplete()
    assert oldest is not None
    assert oldest > left


def test_a_slice_of_completions_is_continued() -> None:
    node, position = primary(replace(SETTINGS, window_bytes_max=1 << 20)), 0
    core_of(node).settings = replace(SETTINGS, queues_per_slice=1)
    for _ in range(15):  # Ten operations are completed for each queue of a slice.
        position, _ = node.replica.enqueue(QUEUE, MESSAGE)
    node.perform()
    node.acknowledge(position)
    assert node.replica._calm
    assert node.replica.unfinished
    node.work()
    assert core_of(node).safe == position


def test_calm_without_reason_is_an_error() -> None:
    node = primary()
    node.replica.state.gone = frozenset({"peer"})
    assert not node.replica._is_calm()
    with pytest.raises(InvariantError, match="not looked at"):
        node.replica.check()


@pytest.mark.parametrize("seed", range(50))
def test_both_ways_have_the_same_effects(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same random inputs: with the short way, and with whole `ready` alone."""
    short = effects(seed)
    monkeypatch.setattr(core, "is_calm", lambda *_: False)
    assert effects(seed) == short


def effects(seed: int) -> tuple[object, ...]:
    chance = random.Random(seed)
    node = (
        Node(replace(SETTINGS, window_operations_max=chance.choice([3, 100]))).promoted().subscribed().work()
    )
    at = next(event.position for event in reversed(node.sent) if isinstance(event, PlanEnd))
    node.acknowledge(at).work().forget()
    acked = at
    for _ in range(60):
        what = chance.random()
        position = core_of(node).position
        if what < 0.4:
            node.replica.enqueue(QUEUE, MESSAGE)
        elif what < 0.6:
            node.replica.dequeue(QUEUE, SequenceSet([chance.randrange(1, node.replica.queues[QUEUE].next)]))
        elif what < 0.65:
            node.replica.tick(node.clock)
        elif what < 0.67:
            node.replica.nodes_gone(frozenset({"peer"} if chance.random() < 0.5 else ()))
        elif core_of(node).sessions:
            acked = chance.randint(acked, min(position, next(iter(core_of(node).sessions.values())).sent))
            node.acknowledge(acked)
        if chance.random() < 0.7:
            node.perform()
        node.replica.check()
    node.work()
    return node.frames, node.persisted, node.requests, node.completed, node.notices, node.clock
