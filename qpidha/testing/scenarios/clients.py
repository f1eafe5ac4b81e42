"""Commands of a scenario that act as clients: declare, publish, deliver, accept, commit, put, delete, read and others."""

from __future__ import annotations

from itertools import pairwise

from qpidha.core.births import configuration_id
from qpidha.core.configuration import object_key
from qpidha.core.primary.minimum import Shortage
from qpidha.core.steps import Accept, Publish, Update
from qpidha.errors import MessagesGone, ObjectMismatch
from qpidha.seq import SequenceSet
from qpidha.testing.invariants.commits import Commit
from qpidha.testing.scenarios.commands import Commands
from qpidha.testing.scenarios.error import ScenarioError
from qpidha.testing.sim.clients import Clients
from qpidha.testing.sim.node import SimNode
from qpidha.testing.sim.places import place_of, present_id
from qpidha.types import Settle
from qpidha.wire.batch import Batch


class ClientCommands(Commands):
    """Commands of clients."""

    def queue(self, name: str, *how: str) -> None:
        """``queue q`` or ``queue q immediate``: declare it on the primary; ``queue q at P``: on that one.

        ``queue r named q``: declare another queue of the name q, which the scenario calls r.
        """
        options = dict(pairwise(how))
        settle = Settle.IMMEDIATE if "immediate" in how else Settle.REPLICATED
        primary = self._node(options["at"]) if "at" in options else self.world.primary
        if primary is None:
            raise ScenarioError("no node is primary")
        self.world.declare(primary, name, settle, named=options.get("named"))

    @staticmethod
    def _shortage(node: SimNode) -> Shortage | None:
        primary = node.replica.primary
        return primary.minimum.shortage() if primary is not None else None

    def publish(self, name: str, queue: str, *values: str) -> None:
        """``publish P q v1 v2``: publish them as one batch. ``v1..v9`` are nine values, ``v1..v9/2`` five of them."""
        given = self._values(values)
        if not self.world.clients.publish(self._node(name), self._queue(queue), given, run=False):
            if shortage := self._shortage(self._node(name)):
                self._say(f"{name}: refused: {shortage.refusal()}")
            return
        q = self._node(name).replica.queues[self._queue(queue)]
        self._say(f"{name}: {queue} {q.next - len(given)}-{q.next - 1}@{q.lineage[-1][0]}")
        self._node(name).run()

    def deliver(self, name: str, queue: str) -> None:
        """``deliver P q``: give the next message to the consumer."""
        found = self.world.clients.deliver(self._node(name), self._queue(queue))
        self._say(f"{name} delivers: {found[1] if found else 'nothing'}")

    def accept(self, name: str, queue: str, *values: str) -> None:
        """``accept P q v1``: deliver and accept it."""
        node, id = self._node(name), self._queue(queue)
        for number in self._ids(node, queue, values):
            self.world.checker.delivered(node, id, number, Clients.value_at(node, id, number))
        if not self.world.clients.accept(node, id, self._ids(node, queue, values)):
            shortage = self._shortage(node)
            assert shortage is not None
            self._say(f"{name}: refused: {shortage.refusal()}")

    def move(self, name: str, source: str, target: str, *values: str) -> None:
        """``move P q dlq v1``: move messages to another queue, in one operation."""
        node = self._node(name)
        self.world.clients.move(
            node, self._queue(source), self._ids(node, source, values), self._queue(target)
        )

    def update(self, name: str, queue: str, props: str, *values: str) -> None:
        """``update P q seen v1 v2``: replace the props of messages. They get new ids and keep their places."""
        node, ids = self._node(name), self._ids(self._node(name), queue, values)
        named = [Clients.value_at(node, self._queue(queue), id) for id in ids]
        commit = self._commit()
        commit.given.append((len(commit.steps), self._queue(queue), named, True))
        commit.steps.append(Update(self._queue(queue), SequenceSet(ids), (props.encode(),) * len(ids)))
        self.world.clients.commit(node, commit)

    def settle(self, name: str, queue: str, id: str) -> None:
        """``settle P q 1``: accept the message that was delivered with this id, by that id."""
        node, at = self._node(name), self._queue(queue)
        present = present_id(node, at, place_of(node, at, int(id)))
        values = () if present is None else (Clients.value_at(node, at, present),)
        try:
            position, _ = node.replica.dequeue(at, SequenceSet([int(id)]))
        except MessagesGone as error:
            self._say(f"{name}: refused: {error}")
            return
        self.world.checker.accepted(values)
        self.world.checker.operated(node)
        self.world.clients.settles(node, at, position, values)
        node.run()

    def skip(self, name: str, queue: str, count: str) -> None:
        """``skip P q 4294967296``: give out so many ids without messages."""
        self.world.clients.skip(self._node(name), self._queue(queue), int(count))

    def commit(self, name: str, source: str, value: str, target: str, *values: str) -> None:
        """``commit P q v1 dlq v8 v9``: accept v1 of q, and publish v8 and v9 to dlq, with one outcome."""
        node, queue = self._node(name), self._queue(source)
        ids = self._ids(node, source, (value,))
        for id in ids:
            self.world.checker.delivered(node, queue, id, value)
        commit, given = self._commit(), self._values(values)
        commit.steps.append(Accept(queue, SequenceSet(ids)))
        commit.accepted.append(value)
        commit.given.append((len(commit.steps), self._queue(target), given, False))
        commit.steps.append(Publish((self._queue(target),), Batch.pack([v.encode() for v in given])))
        self.world.clients.commit(node, commit)

    def put(self, name: str, kind: str, key: str, value: str) -> None:
        """``put P exchange topic durable``: set the value of an object of the configuration."""
        commit = self._commit()
        commit.put(configuration_id(self.world.cluster), object_key(kind, key), value.encode())
        try:
            self.world.clients.commit(self._node(name), commit)
        except ObjectMismatch as error:
            self._say(f"{name}: refused: {error}")

    def read(self, name: str, queue: str) -> None:
        """``read P q``: ask a primary whether it has a queue of this name; it answers after a barrier."""
        node = self._node(name)
        found = "no such queue" if node.replica.find(queue) is None else "it is there"
        self.world.clients.read(node, lambda: self._say(f"{name} answers a read of {queue}: {found}"))

    def _commit(self) -> Commit:
        self._commits += 1
        return Commit.marked(self._commits, configuration_id(self.world.cluster))

    def delete(self, name: str, queue: str, *target: str) -> None:
        """``delete P q``: delete it with everything in it; ``delete P q dlq``: move what is left there first."""
        to = self._queue(target[0]) if target else None
        self.world.clients.delete(self._node(name), self._queue(queue), to)
