"""Clients that number what they publish, and repeat it until they are told: producers of a simulated cluster."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from qpidha.core.primary.producers import Published
from qpidha.errors import SequenceGap, UnknownProducer
from qpidha.testing.invariants.violation import Violation
from qpidha.testing.sim.clients import Clients
from qpidha.testing.sim.node import SimNode
from qpidha.types import Entry, ProducerSequence, QueueId
from qpidha.wire.batch import Batch

SENDS = "sends with sequences"
"""What observers are told."""
KNOWN = "a publish is repeated that is known"
"""What is counted."""


@dataclass(slots=True)
class ProducerClient:
    """One client: what it has sent in its epoch, by number, and what of that it was not told."""

    name: str
    epoch: Entry | None = None
    """None: it has to register."""
    sent: list[str] = field(default_factory=list)
    """The value of each number, from 1 on."""
    open: dict[int, str] = field(default_factory=dict)
    """Numbers without an answer, ascending: their values are repeated, or given up. They are used for nothing else."""
    giving_up: set[int] = field(default_factory=set)
    """Of those: the numbers that are used for nothing. Their values are never sent again (EO8)."""

    def begin(self, epoch: Entry | None) -> None:
        """Another epoch: what was not answered in the former one stays in doubt for ever (EO6)."""
        self.epoch = epoch
        self.sent, self.open, self.giving_up = [], {}, set()

    def at(self, number: int) -> ProducerSequence:
        """The sequence with this number."""
        assert self.epoch is not None, "it is registered"
        return ProducerSequence(self.name, self.epoch, number)


class Producing:
    """What producers do at a primary, and what the checker is told of it."""

    def __init__(self, clients: Clients) -> None:
        self._clients = clients
        self._checker = clients.checker

    def register(self, node: SimNode, client: ProducerClient) -> None:
        """Register, for the first time or again."""
        if self._clients.finds_too_few(node):
            return
        client.begin(node.replica.register(client.name).epoch)
        self._operated(node)

    def forget(self, node: SimNode, client: ProducerClient) -> None:
        """The primary forgets the producer, by an operation (EO6)."""
        if self._clients.finds_too_few(node):
            return
        node.replica.forget(client.name)
        self._operated(node)

    def publish(self, node: SimNode, client: ProducerClient, queue: QueueId, values: list[str]) -> None:
        """Publish new messages with the next numbers."""
        self._checker.attempted(values)
        self._checker.sequences.sent.update(
            {value: client.at(len(client.sent) + n) for n, value in enumerate(values, 1)}
        )
        first = len(client.sent) + 1
        client.sent += values
        client.open.update(enumerate(values, first))
        self.send(node, client, queue, first, values)

    def repeat(self, node: SimNode, client: ProducerClient, queue: QueueId, count: int) -> None:
        """Send what was not answered again, in order, in batches of this size, with the same numbers."""
        self._close(client)
        numbers = sorted(client.open)
        while numbers and client.epoch is not None:
            first = numbers[0]
            if first in client.giving_up:
                self.give_up(node, client, first)
                numbers = numbers[1:]
                continue
            batch = [first]
            while (
                len(batch) < count and batch[-1] + 1 in client.open and batch[-1] + 1 not in client.giving_up
            ):
                batch.append(batch[-1] + 1)
            self.send(node, client, queue, first, [client.open[n] for n in batch])
            numbers = [n for n in numbers if n > batch[-1]]

    def send(
        self, node: SimNode, client: ProducerClient, queue: QueueId, first: int, values: list[str]
    ) -> None:
        """One attempt to publish these values, whose numbers begin with ``first``."""
        if self._clients.finds_too_few(node):
            return
        self._clients._observe(node, SENDS, values)
        batch = Batch.pack([value.encode() for value in values])
        published = self._attempt(node, client, first, queue, batch)
        if published is None:
            return
        if published.repeated < len(values):
            new = values[published.repeated :]
            ids = list(published.ids)
            names = self._checker.sequences.stored(node, queue, ids, new)
            self._checker.published(node, queue, ids, new)
            for value in new:
                self._checker.identities.published[value] |= names
            self._clients.awaits(node, queue, list(zip(ids, new, strict=True)))
        known = values[: published.repeated]
        if known:
            self._checker._world.sometimes(KNOWN)
        if known and (published.queue is None or len(known) < len(values)):  # Else with the first publish.
            self._clients.tell(node, published.position, lambda: self._checker.answered_ok(node, known))
        self._operated(node, operated=published.repeated < len(values))

    def _attempt(
        self, node: SimNode, client: ProducerClient, first: int, queue: QueueId, batch: Batch
    ) -> Published | None:
        primary = node.replica.primary
        if primary is None:
            return None
        before = primary.position
        try:
            return node.replica.publish(queue, batch, client.at(first))
        except UnknownProducer:
            client.begin(None)
        except SequenceGap as gap:  # This history lacks what came before: it is repeated first.
            if gap.expected > first:
                raise Violation(
                    f"EO5: {first} is refused, and {gap.expected} is said to be the next"
                ) from gap
        if primary.position != before:
            raise Violation("EO5: a publish that was refused has a position")
        return None

    def give_up(self, node: SimNode, client: ProducerClient, number: int) -> None:
        """Use a number for nothing, until that is answered (EO8)."""
        primary = node.replica.primary
        if primary is None or self._clients.finds_too_few(node):
            return
        client.giving_up.add(number)
        value, epoch = client.open[number], client.epoch
        try:
            made = node.replica.commit((), client.at(number))
        except UnknownProducer:
            client.begin(None)
            return
        except SequenceGap:
            return

        def told() -> None:
            if client.epoch == epoch:
                client.open.pop(number, None)
            if not made.repeated:
                self._checker.sequences.given_up(value, self._checker.members)

        self._clients.tell(node, made.position, told)
        self._operated(node, operated=not made.repeated)

    def give_up_one(self, node: SimNode, client: ProducerClient) -> None:
        """Give up the first number that was not answered."""
        self._close(client)
        if client.open:
            self.give_up(node, client, min(client.open))

    def gap(self, node: SimNode, client: ProducerClient, queue: QueueId) -> None:
        """A number above the next one is refused, whatever the client has sent before."""
        sequence = replace(client.at(1), number=len(client.sent) + 2)
        primary = node.replica.primary
        if primary is None or self._clients.finds_too_few(node):
            return
        before = primary.position
        try:
            node.replica.publish(queue, Batch.pack([b"gap"]), sequence)
        except (SequenceGap, UnknownProducer):
            if primary.position != before:
                raise Violation("EO5: a gap that was refused has a position") from None
        else:
            raise Violation(f"EO5: sequence {sequence.number} was taken, {len(client.sent)} were sent")

    def _close(self, client: ProducerClient) -> None:
        """Forget what was answered meanwhile."""
        acked = self._checker.acked
        client.open = {n: v for n, v in client.open.items() if v not in acked or n in client.giving_up}

    def _operated(self, node: SimNode, *, operated: bool = True) -> None:
        if operated:
            self._checker.operated(node)
        node.run()
