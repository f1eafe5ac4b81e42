"""Commands of a scenario about queues whose messages are not replicated: local, store, carry, take, keep, drop."""

from __future__ import annotations

from qpidha.core.births import OWN_OBJECTS
from qpidha.core.configuration import object_key
from qpidha.errors import ObjectMismatch
from qpidha.testing.scenarios.commands import Commands
from qpidha.testing.scenarios.error import ScenarioError
from qpidha.testing.sim.node import SimNode
from qpidha.types import Level, Settle


class LevelCommands(Commands):
    """Commands of clients of queues with level configuration or none."""

    def local(self, name: str, level: str) -> None:
        """``local l configuration`` or ``local n none``: declare a queue on the primary, with this level."""
        primary = self.world.primary
        if primary is None:
            raise ScenarioError("no node is primary")
        declare = self.world.clients.local.declare
        self.world.named(name, declare(primary, name, Level[level.upper()], Settle.REPLICATED))

    def store(self, name: str, queue: str, *values: str) -> None:
        """``store P l v1 v2``: publish them as one batch to a queue whose messages are not replicated."""
        self.world.clients.local.publish(self._node(name), self._queue(queue), self._values(values))

    def take(self, name: str, queue: str, *values: str) -> None:
        """``take P l v1``: accept it from a queue whose messages are not replicated."""
        node = self._node(name)
        self.world.clients.local.accept(node, self._queue(queue), self._own(node, queue, values))

    def carry(self, name: str, source: str, target: str, *values: str) -> None:
        """``carry P q l v1``: move messages out of what is replicated, or into it."""
        node, local, to = self._node(name), self.world.clients.local, self._queue(target)
        given = self._values(values)
        if to in node.replica.local:
            local.move_out(node, self._queue(source), self._ids(node, source, values), given, to)
        else:
            local.move_in(node, self._queue(source), self._own(node, source, values), to)

    def keep(self, name: str, kind: str, key: str, value: str = "") -> None:
        """``keep P exchange topic durable``: put an object of this node alone; without a value: delete it."""
        entry = (OWN_OBJECTS, object_key(kind, key), value.encode() or None)
        try:
            self.world.clients.local.change(self._node(name), [entry])
        except ObjectMismatch as error:
            self._say(f"{name}: refused: {error}")

    def drop(self, name: str, queue: str) -> None:
        """``drop P l``: delete a queue whose messages are not replicated, with what each node has in it."""
        self.world.clients.local.delete(self._node(name), self._queue(queue))

    def _own(self, node: SimNode, queue: str, words: tuple[str, ...]) -> list[int]:
        at = self._queue(queue)
        held = {self.world.clients.local.value_at(node, at, id): id for id in node.replica.local[at].held}
        return sorted(held[value] for value in self._values(words))
