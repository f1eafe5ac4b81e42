"""Making a commit of steps on the primary: what the public calls for tables, configuration and transactions share."""

from __future__ import annotations

from collections.abc import Sequence

from qpidha.core.births import OWN_OBJECTS
from qpidha.core.keyed import ConfigurationQueue, KeyedQueue
from qpidha.core.objects import Objects
from qpidha.core.steps import (
    Committed,
    DeclareQueue,
    DeleteQueue,
    Erase,
    EraseObject,
    Move,
    ObjectStep,
    Publish,
    Put,
    PutObject,
    Step,
)
from qpidha.errors import ArgumentError
from qpidha.node.caller import as_bytes
from qpidha.node.effects import NodeEffects
from qpidha.node.handles import Handles
from qpidha.node.keywatches import KeyWatches
from qpidha.node.ledger import Outcome
from qpidha.node.op import Op, ProducerOp
from qpidha.node.runtime import Runtime
from qpidha.types import BytesLike, Level, Position, ProducerSequence, QueueId, level_of


class Commits:
    """Makes commits, and tells the other parts of the node what they have changed."""

    def __init__(
        self, runtime: Runtime, *, handles: Handles, effects: NodeEffects, watches: KeyWatches
    ) -> None:
        self._runtime = runtime
        self._handles = handles
        self._effects = effects
        self.watches = watches

    def require_serving(self) -> None:
        """Raise `NotPrimary` unless this node is primary and its broker was told so."""
        if not self._runtime.serving:
            raise self._runtime.not_primary()

    def message(
        self, data: BytesLike, props: BytesLike, data_name: str = "data", props_name: str = "props"
    ) -> tuple[bytes, bytes]:
        """Data and props of one message; or value and key. Raises `ArgumentError`: not bytes, or too many."""
        if type(data) is not bytes or type(props) is not bytes:
            data, props = as_bytes(data_name, data), as_bytes(props_name, props)
        size, most = len(data) + len(props), self._runtime.settings.message_bytes_max
        if size > most:
            raise ArgumentError(f"a message must have at most {most} bytes (message_bytes_max), not {size}")
        return data, props

    def arguments(self, arguments: BytesLike) -> bytes:
        """The arguments of a declaration. Raises `ArgumentError`: not bytes, or too many."""
        return self.message(arguments, b"", "arguments")[0]

    @property
    def configuration(self) -> ConfigurationQueue | None:
        """The queue that holds the configuration; None before this node got it."""
        return self._runtime.replica.state.configuration

    @property
    def objects(self) -> Objects:
        """The objects that this node has: those of the cluster, and its own."""
        return self._runtime.replica.state.objects

    def commit(self, steps: Sequence[Step | ObjectStep]) -> tuple[Committed, Op]:
        """Make one operation of these steps. Raises `CallerError`; nothing was changed then."""
        runtime = self._runtime
        self.require_serving()
        committed = runtime.replica.commit(steps)
        self._follow_all(steps, committed)
        return committed, self._op(committed.position, committed.local)

    def _op(self, position: Position, local: bool) -> Op:
        runtime = self._runtime
        if local:
            return runtime.stored_op(position, range(0))
        return Op(runtime.settled, position, range(0), runtime.settled.expect(position, Outcome()))

    def commit_once(
        self, steps: Sequence[Step | ObjectStep], sequence: ProducerSequence
    ) -> tuple[Committed, ProducerOp]:
        """The same with a sequence: what was made before is not made again (EO1)."""
        settled, replica = self._runtime.settled, self._runtime.replica
        committed = replica.commit(steps, sequence)
        if not committed.repeated:
            self._follow_all(steps, committed)
        position, repeated = committed.position, int(committed.repeated)
        return committed, ProducerOp(settled, position, range(0), settled.covering(position), repeated)

    def _follow_all(self, steps: Sequence[Step | ObjectStep], committed: Committed) -> None:
        for step, made in zip(steps, committed.made, strict=True):
            self._follow(step, made.queue)
        self._runtime.poke()

    def declare(self, step: DeclareQueue) -> QueueId:
        """Declare a queue or a table. With too few members it is taken, and waits (J4)."""
        self.require_serving()
        id, _ = self._runtime.replica.declare(step.spec, step.arguments, step.level)
        self._follow(step, id)
        self._runtime.poke()
        return id

    def delete(self, queue: QueueId, move_to: QueueId | None) -> Op:
        """Delete a queue or a table; what is left is moved first, if a target is given."""
        runtime = self._runtime
        position = runtime.replica.delete(queue, move_to)
        self._follow(DeleteQueue(queue, move_to), None)
        runtime.poke()
        own = level_of(queue) is Level.NONE
        return self._op(position, own and (move_to is None or level_of(move_to) is not Level.MESSAGES))

    def _follow(self, step: Step | ObjectStep, declared: QueueId | None) -> None:
        """Have the other parts of the node know what this step has made."""
        match step:
            case Put(queue=queue) | Erase(queue=queue):
                self._keys_changed(queue)
            case PutObject() | EraseObject():
                self._keys_changed(self._configuration_id)
                self._keys_changed(OWN_OBJECTS)
            case Publish(queues=queues):
                for queue in queues:
                    self._content_changed(queue)
            case Move(target=target):
                self._content_changed(target)
            case DeclareQueue():
                self._keys_changed(self._configuration_id)
                if declared is not None and (made := self._runtime.replica.queue(declared)) is not None:
                    self._effects.queue_added(made)
            case DeleteQueue(queue=queue, move_to=move_to):
                self._keys_changed(self._configuration_id)
                if isinstance(queue, QueueId):
                    self._effects.queue_removed(queue)
                if move_to is not None:
                    self._content_changed(move_to)
            case _:
                pass  # An accept tells nobody.

    @property
    def _configuration_id(self) -> QueueId | None:
        objects = self.configuration
        return None if objects is None else objects.queue

    def _keys_changed(self, queue: QueueId | int | None) -> None:
        found = self._runtime.replica.queue(queue) if isinstance(queue, QueueId) else None
        if isinstance(found, KeyedQueue):
            self.watches.changed(found)

    def _content_changed(self, queue: QueueId | int) -> None:
        """Its watchers of content are called at the end of the turn. A queue that this commit declares has none."""
        if isinstance(queue, QueueId) and (handle := self._handles.made(queue)) is not None:
            handle.content_changed()
