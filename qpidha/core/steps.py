"""What a client may ask for in one commit: its steps become one operation, at one position, on every node (TX1, TX5).

A step names a queue by its uuid, or by the number of the step of the same commit that declares it (0: the first step).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

from qpidha.checks import instance_of
from qpidha.core.producers import COUNT, NAME, check_sequence
from qpidha.seq import SequenceSet
from qpidha.settings import check_spec
from qpidha.types import Level, Position, ProducerSequence, QueueId, QueueSpec, level_of
from qpidha.wire.batch import Batch

QueueRef: TypeAlias = QueueId | int
"""A queue that is there, or the number of the `Declare` step that makes it."""


@dataclass(frozen=True, slots=True)
class Publish:
    """Enqueue a batch in one queue, or in each of several: its content is sent and stored once (U6)."""

    queues: tuple[QueueRef, ...]
    batch: Batch


@dataclass(frozen=True, slots=True)
class Accept:
    """Dequeue messages. All of them must be held (TX9)."""

    queue: QueueRef
    ids: SequenceSet


@dataclass(frozen=True, slots=True)
class Move:
    """Move messages to the end of another queue. All of them must be held (TX9)."""

    source: QueueRef
    ids: SequenceSet
    target: QueueRef
    gone_ignored: bool = False
    """Move those that are held, and ignore the others."""


@dataclass(frozen=True, slots=True)
class Update:
    """Replace the props of messages, which keep their place in the order and get new ids (U1)."""

    queue: QueueRef
    ids: SequenceSet
    props: tuple[bytes, ...]
    """One for each of the ids, all of which are held."""


@dataclass(frozen=True, slots=True)
class Put:
    """Set the value of a key, of a table or of the configuration (Q1)."""

    queue: QueueRef
    key: bytes
    value: bytes


@dataclass(frozen=True, slots=True)
class Erase:
    """Remove a key. One that is not there is fine."""

    queue: QueueRef
    key: bytes


@dataclass(frozen=True, slots=True)
class DeclareQueue:
    """Make a queue, and its object in the configuration (Q2)."""

    spec: QueueSpec
    arguments: bytes = b""
    level: Level = Level.MESSAGES
    """`Level.CONFIGURATION`: each node has its own messages in it. `Level.NONE`: only this node has the queue (LV4)."""


@dataclass(frozen=True, slots=True)
class DeleteQueue:
    """Delete a queue with its object and everything in it (Q2)."""

    queue: QueueRef
    move_to: QueueRef | None = None
    """What is left goes to the end of this queue first, in the same operation.

    Not in a commit that puts messages in the deleted queue.
    """


@dataclass(frozen=True, slots=True)
class Register:
    """Register a producer: its entry gets a new epoch, and sequence 0. An epoch that it had before is over (EO6)."""

    producer: str


@dataclass(frozen=True, slots=True)
class Forget:
    """Remove the entry of a producer (EO6). One that is not there is fine."""

    producer: str


@dataclass(frozen=True, slots=True)
class UseSequence:
    """Make this commit the one with this sequence, or with these (EO1). It must be the next one of its producer (EO5).

    `Replica.commit` and `Replica.publish` add this step themselves, after they have found out that it is no repetition.
    """

    sequence: ProducerSequence
    count: int = 0
    """0: the commit has one sequence. n: it publishes n messages, each of which has its own, from this one on."""


@dataclass(frozen=True, slots=True)
class PutObject:
    """Set the value of an object, wherever it is: `Replica.commit` makes it a `Put`."""

    key: bytes
    value: bytes
    level: Level | None = None
    """`Level.NONE`: it is this node's own (LV4). The others mean the same. None: as it is before the commit."""
    default: Level = Level.MESSAGES
    """The level of an object that is not there, if ``level`` is None."""


@dataclass(frozen=True, slots=True)
class EraseObject:
    """Remove an object, wherever it is: `Replica.commit` makes it an `Erase`. One that is not there is fine."""

    key: bytes
    level: Level | None = None
    """As in `PutObject`."""


ObjectStep: TypeAlias = PutObject | EraseObject
ChangeObject: Final = (PutObject, EraseObject)
Step: TypeAlias = (
    Publish
    | Accept
    | Move
    | Update
    | Put
    | Erase
    | DeclareQueue
    | DeleteQueue
    | Register
    | Forget
    | UseSequence
)


BYTES = instance_of(bytes)
IDS = instance_of(SequenceSet)
BATCH = instance_of(Batch)
REFS = instance_of(list, tuple, what="a tuple")
STEP = instance_of(
    Publish,
    Accept,
    Move,
    Update,
    Put,
    Erase,
    DeclareQueue,
    DeleteQueue,
    Register,
    Forget,
    UseSequence,
    PutObject,
    EraseObject,
    what="a step of `qpidha.core.steps`",
)
LEVEL = instance_of(Level)
STEPS = instance_of(list, tuple, what="a list or tuple of steps")


def check_step(step: object) -> None:
    """Raises `ArgumentError` if it is no step, or a value in it has a wrong type. Its queues are not looked up."""
    STEP("step", step)
    match step:
        case Publish():
            BATCH("batch", step.batch)
            REFS("queues", step.queues)
        case Accept() | Move():
            IDS("ids", step.ids)
        case Update():
            IDS("ids", step.ids)
            REFS("props", step.props)
            for props in step.props:
                BYTES("props", props)
        case Put():
            BYTES("key", step.key)
            BYTES("value", step.value)
        case Erase():
            BYTES("key", step.key)
        case Register() | Forget():
            NAME("producer", step.producer)
        case UseSequence():
            check_sequence(step.sequence)
            COUNT("count", step.count)
        case DeclareQueue():
            check_spec(step.spec)
            BYTES("arguments", step.arguments)
            LEVEL("level", step.level)
        case PutObject() | EraseObject():
            _check_object(step)
        case _:
            pass  # `DeleteQueue` names queues only.


def _check_object(step: ObjectStep) -> None:
    BYTES("key", step.key)
    if step.level is not None:
        LEVEL("level", step.level)
    if isinstance(step, PutObject):
        BYTES("value", step.value)
        LEVEL("default", step.default)


def named(steps: Sequence[Step], objects: QueueId) -> list[QueueRef]:
    """The queues that these steps change: ``objects``, too, where they make or delete an object (Q2).

    Steps are checked as in a commit. Raises `ArgumentError`.
    """
    STEPS("steps", steps)
    for step in steps:
        check_step(step)
    return [queue for step in steps for queue in _queues_of(step, objects)]


def _queues_of(step: Step, objects: QueueId) -> tuple[QueueRef, ...]:
    match step:
        case DeclareQueue():
            return () if step.level is Level.NONE else (objects,)
        case DeleteQueue():
            own = isinstance(step.queue, QueueId) and level_of(step.queue) is Level.NONE
            moved = () if step.move_to is None else (step.move_to,)
            return (step.queue, *moved) if own else (step.queue, *moved, objects)
        case Publish():
            return tuple(step.queues)
        case Move():
            return (step.source, step.target)
        case Accept() | Update() | Put() | Erase():
            return (step.queue,)
        case Register() | Forget() | UseSequence():  # pragma: no branch - there is no other step
            return (objects,)


@dataclass(frozen=True, slots=True)
class Made:
    """What one step did."""

    ids: SequenceSet
    """Given out (`Publish`: in the first of the queues; `Move`, `Update`; `Register`: in the configuration), or dequeued
    (`Accept`). Empty otherwise."""
    queue: QueueId | None = None
    """The queue that `DeclareQueue` made."""


@dataclass(frozen=True, slots=True)
class Committed:
    """A commit, as one operation."""

    position: Position
    """It is complete when everything up to here is (TX5)."""
    made: tuple[Made, ...]
    """One for each step. Empty if it is a repetition, and its first commit is complete."""
    repeated: bool = False
    """Its sequence was used already: nothing was made now (EO4). That does not say by what it was used (EO8)."""
    local: bool = False
    """Nothing of it was sent, because it is about messages that are not replicated (LV2): when ``position`` is complete
    already, `Stored` completes it."""

    def declared(self, step: int) -> QueueId:
        """The queue that this step, a `DeclareQueue`, made."""
        queue = self.made[step].queue
        assert queue is not None, "the step declares no queue"
        return queue
