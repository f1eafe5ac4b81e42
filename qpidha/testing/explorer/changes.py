"""Inputs of a node for what clients change besides single messages: commits, updates, deletions, objects, producers.

Each is one operation. New identities of messages are found by comparing what the queues hold before and after it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from qpidha.core.births import OWN_OBJECTS, configuration_id
from qpidha.core.steps import Accept, DeclareQueue, DeleteQueue, Publish, Put, Step, Update
from qpidha.errors import CallerError
from qpidha.seq import SequenceSet
from qpidha.testing.explorer.node_invariants import FANNED_OUT
from qpidha.testing.explorer.objects import OWN, THING, mark_of
from qpidha.testing.explorer.running_node import RunningNode
from qpidha.testing.sim.content import messages
from qpidha.types import Entry, MessageId, ProducerSequence, QueueId, QueueSpec
from qpidha.wire.batch import Batch

PRODUCER = "p"
"""The name of the only producer."""
Identities = dict[tuple[QueueId, MessageId], str]


def identities(running: RunningNode) -> Identities:
    """Return the values of all messages in memory, by queue and id."""
    return dict(_identities(running))


def _identities(running: RunningNode) -> Iterator[tuple[tuple[QueueId, MessageId], str]]:
    for queue in running.replica.message_queues:
        for ids, batch in queue.select(queue.held):
            for id, message in zip(ids, messages(batch), strict=True):
                yield (queue.queue, id), message.value


def operate(running: RunningNode, steps: Sequence[Step], sequence: ProducerSequence | None = None) -> bool:
    """Make one operation. False: the core refuses it.

    Its effects: "named" for each new identity, "declared" for a new queue, "made" with its position.
    """
    before = identities(running)
    try:
        committed = running.replica.commit(steps, sequence)
    except CallerError:
        return False
    for place, value in identities(running).items():
        if place not in before:
            running._did("named", place, value)
    for made in committed.made:
        if made.queue is not None:
            running._did("declared", made.queue)
    running._did("made", committed.position)
    return True


def transact(
    running: RunningNode, queue: QueueId, message: int, source: QueueId | None, id: MessageId
) -> bool:
    """Commit the publish of a message, the object that marks this, and the accept of another message unless None."""
    steps: list[Step] = [Publish((queue,), packed(message)), Put(objects(running), mark_of(message), b"")]
    if source is not None:
        steps.append(Accept(source, SequenceSet([id])))
    return operate(running, steps)


def fan_out(running: RunningNode, queues: tuple[QueueId, ...], message: int) -> bool:
    """Publish a message to several queues."""
    return operate(running, [Publish(queues, Batch.pack([b"%c%d" % (FANNED_OUT, message)]))])


def update(running: RunningNode, queue: QueueId, id: MessageId) -> bool:
    """Replace the props of a message."""
    return operate(running, [Update(queue, SequenceSet([id]), (b"new",))])


def delete(running: RunningNode, queue: QueueId, target: QueueId | None) -> bool:
    """Delete a queue. What it holds goes to the target, or is deleted, too."""
    return operate(running, [DeleteQueue(queue, target)])


def redeclare(running: RunningNode, *names: str) -> bool:
    """Declare a queue with the first of these names that is free."""
    free = next((name for name in names if running.replica.find(name) is None), None)
    return free is not None and operate(running, [DeclareQueue(QueueSpec(name=free))])


def put(running: RunningNode, number: int) -> bool:
    """Put the object."""
    return operate(running, [Put(objects(running), THING, b"%d" % number)])


def keep(running: RunningNode, number: int) -> bool:
    """Put the object of this node alone."""
    assert running.replica.primary is not None
    running.replica.commit([Put(OWN_OBJECTS, OWN, b"%d" % number)])
    running._did("kept", running.replica.primary.local.stored)
    return True


def give_up(running: RunningNode, epoch: Entry, number: int) -> bool:
    """Use a sequence of the producer for nothing."""
    return operate(running, [], ProducerSequence(PRODUCER, epoch, number))


def forget(running: RunningNode) -> bool:
    """Forget the producer."""
    running._did("made", running.replica.forget(PRODUCER))
    return True


def register(running: RunningNode) -> bool:
    """Register the producer."""
    running._did("registered", running.replica.register(PRODUCER).epoch)
    return True


def produce(running: RunningNode, queue: QueueId, message: int, epoch: Entry, number: int) -> bool:
    """Publish with a sequence, for the first time or again."""
    steps = [Publish((queue,), packed(message))]
    return operate(running, steps, ProducerSequence(PRODUCER, epoch, number))


def packed(message: int) -> Batch:
    """Return a message as a batch."""
    return Batch.pack([b"v%d" % message])


def objects(running: RunningNode) -> QueueId:
    """Return the queue that is the configuration of this node's cluster."""
    assert running.replica.cluster is not None, "it is primary"
    return configuration_id(running.replica.cluster)


CHANGES: dict[str, Callable[..., bool]] = {
    one.__name__: one
    for one in (transact, fan_out, update, delete, redeclare, put, register, produce, keep, give_up, forget)
}
"""The functions that are inputs."""
