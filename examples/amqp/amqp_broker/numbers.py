"""Publishers that number their messages: a message that comes again, because its answer was lost, is stored once.

A publisher is a name, of the client's choice, for one sequence of messages: 1, 2, 3, without gaps. It is registered with
its first message. The registration is replicated, so that the next primary knows it with its last number.
"""

from __future__ import annotations

from amqp_broker.refusals import INVALID, PRECONDITION, Refused
from qpidha import ArgumentError, Node, Op, Producer, TooManyProducers


class Numbers:
    """The numbered publishers of one term."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._producers: dict[str, Producer] = {}
        self._epochs = {info.name: info.epoch for info in node.producers()}

    def producer(self, name: str, number: int) -> Producer:
        """The producer with this name. A new one begins with its first message. Raises `Refused`."""
        found = self._producers.get(name)
        if found is not None:
            return found
        epoch = self._epochs.get(name)
        if epoch is None and number != 1:
            raise Refused(
                PRECONDITION, f"publisher {name!r} is new here: its first number is 1, not {number}"
            )
        try:
            found = self._node.producer(name, epoch=epoch)
        except (ArgumentError, TooManyProducers) as error:
            raise Refused(INVALID, str(error)) from error
        self._producers[name] = found
        return found

    def last(self) -> dict[str, int]:
        """The highest number of each publisher."""
        return {info.name: info.last for info in self._node.producers()}

    def forget(self, name: str) -> Op:
        """Forget a publisher, which will send nothing again. Returns the op that makes it safe. Raises `Refused`."""
        if name not in self._epochs and name not in self._producers:
            raise Refused(INVALID, f"there is no publisher {name!r}")
        op = self.producer(name, 1).forget()
        self._producers.pop(name, None)
        self._epochs.pop(name, None)
        return op
