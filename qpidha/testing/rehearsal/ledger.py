"""What clients of a rehearsal did and saw, and the checks of it.

S1   every confirmed value is delivered
S2   only published values are confirmed or delivered, and none whose commit was refused
S3   a value whose accept was confirmed is not delivered again on the same connection, or by a later primary
S4   first deliveries of the values of one publisher come in the order of the publishes
S5   once all faults are over, everything is confirmed and delivered
EO1  a value that is published once, however often it is repeated, is stored once
TX1  of each commit of which a value was accepted, all values are delivered
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from typing import NoReturn

from qpidha.testing.invariants.violation import Violation


@dataclass
class Published:
    """One value that was published."""

    publisher: str
    """Values of one publisher are ordered by their numbers."""
    number: int | None
    """None: it has no place in the order, because it is part of a commit."""
    once: bool = False
    """It is published once, however often its publish is repeated."""


@dataclass
class Consumer:
    """One consumer, and its connection now."""

    number: int
    connection: int = 0
    """How many connections it had."""
    generation: int | None = None
    """The generation of the broker that it is connected to, if it says so."""
    highest: dict[str, int] = field(default_factory=dict)
    """By publisher: the highest number that it was the first to get."""


@dataclass
class Settled:
    """The accept of a value was confirmed."""

    consumer: int
    connection: int
    generation: int | None


class Ledger:
    """Everything that the clients of one rehearsal were told. Methods raise `Violation`."""

    def __init__(self, consumers: int, now: Callable[[], float]) -> None:
        self.published: dict[bytes, Published] = {}
        self.confirmations: dict[bytes, int] = {}
        """Confirmed values, each with the number of deliveries before it."""
        self.deliveries = 0
        """Repeated ones included."""
        self.first: list[bytes] = []
        """Values in the order of their first delivery."""
        self.events: list[str] = []
        """What clients did and were told, each line with the virtual time in seconds."""
        self.commits: list[Sequence[bytes]] = []
        """The values of each commit whose outcome is not known, or that was confirmed."""
        self.refused: set[bytes] = set()
        self._now = now
        self._consumers = consumers
        self._seen: set[bytes] = set()
        self._accepted: set[bytes] = set()
        self._settled: dict[Hashable, Settled] = {}
        self._identities: dict[tuple[bytes, int], object] = {}
        self._may_be_late = 0
        self._published_before: dict[str, int] = {}
        self._last: dict[str, int] = {}

    def event(self, text: str) -> None:
        """Add a line to what clients did and were told."""
        self.events.append(f"{self._now():9.3f} {text}")

    def broken(self, text: str) -> NoReturn:
        """A rule is broken. Raises `Violation`."""
        raise self._broken(text)

    def _broken(self, text: str) -> Violation:
        self.event(f"VIOLATION {text}")
        return Violation(text)

    # --- publishing ------------------------------------------------------------------------------

    def publish(self, value: bytes, published: Published) -> None:
        """A client begins to publish this value."""
        self.published[value] = published
        if published.number is not None:
            self._last[published.publisher] = published.number
        self.event(f"{published.publisher} publishes {value.decode()}")

    def confirm(self, value: bytes) -> None:
        """A client was told that this value is safe."""
        if value not in self.published:
            raise self._broken(f"S2: {value!r} was confirmed and never published")
        if value not in self.confirmations:
            self.confirmations[value] = self.deliveries
            self.event(f"confirmed {value.decode()}")

    def refuse(self, values: Sequence[bytes]) -> None:
        """A client was told that this commit was refused."""
        self.commits.remove(values)
        self.refused.update(values)
        self.event(f"refused the commit of {values[0].decode()}")
        self._none_of(self._seen.intersection(values))

    def _none_of(self, delivered: set[bytes]) -> None:
        if delivered:
            raise self._broken(f"S2: the commit of {min(delivered)!r} was refused, and it was delivered")

    # --- consuming -------------------------------------------------------------------------------

    def connected(self, consumer: Consumer, prefetch: int, generation: int | None) -> None:
        """A consumer has a connection. See `Workload.consumer_connected`."""
        if consumer.connection or self._consumers > 1:
            self._may_be_late += prefetch
        consumer.connection += 1
        consumer.generation = generation
        self._published_before = dict(self._last)
        self.event(f"consumer {consumer.number} connected, generation {generation}")

    def deliver(self, consumer: Consumer, value: bytes, identity: Hashable) -> None:
        """A consumer got this value."""
        self.event(f"consumer {consumer.number} got {value.decode(errors='replace')} ({identity})")
        published = self.published.get(value)
        if published is None:
            raise self._broken(f"S2: {value!r} was delivered and never published")
        self._none_of({value} & self.refused)
        self.deliveries += 1
        self._not_settled(consumer, value, identity)
        if published.once and identity is not None and consumer.generation is not None:
            known = self._identities.setdefault((value, consumer.generation), identity)
            if known != identity:
                raise self._broken(f"EO1: {value!r} is stored twice, as {known} and {identity}")
        if value not in self._seen:
            self._seen.add(value)
            self.first.append(value)
            if published.number is not None:
                self._in_order(consumer, published.publisher, published.number, value)

    def settle(self, consumer: Consumer, value: bytes, identity: Hashable) -> None:
        """A consumer was told that its accept of this value is safe."""
        if value not in self._seen:
            raise self._broken(f"S2: the accept of {value!r} was confirmed, and it was never delivered")
        self.event(f"consumer {consumer.number} settled {value.decode()}")
        self._accepted.add(value)
        key = self._settled_key(value, identity)
        if key is not None:
            self._settled[key] = Settled(consumer.number, consumer.connection, consumer.generation)

    def _settled_key(self, value: bytes, identity: Hashable) -> Hashable:
        """A value that is published at least once may be stored twice: then only its message is known by an identity."""
        if self.published[value].once:
            return value
        return None if identity is None else (value, identity)

    def _not_settled(self, consumer: Consumer, value: bytes, identity: Hashable) -> None:
        """Another connection to the same primary may still bring what it sent before."""
        settled = self._settled.get(self._settled_key(value, identity))
        if settled is None:
            return
        here = (settled.consumer, settled.connection) == (consumer.number, consumer.connection)
        known = settled.generation is not None and consumer.generation is not None
        if here or (known and consumer.generation > settled.generation):  # type: ignore[operator]
            raise self._broken(f"S3: the accept of {value!r} was confirmed, and it was delivered again")

    def _in_order(self, consumer: Consumer, publisher: str, number: int, value: bytes) -> None:
        highest = consumer.highest.get(publisher, -1)
        if number > highest:
            consumer.highest[publisher] = number
            return
        self._may_be_late -= 1
        too_new = self._consumers == 1 and number > self._published_before.get(publisher, -1)
        if self._may_be_late < 0 or too_new:
            raise self._broken(f"S4: {value!r} came after number {highest} of {publisher}")

    # --- at rest ---------------------------------------------------------------------------------

    def wanted(self) -> list[bytes]:
        """Values that must be confirmed: all that are published, but for those of commits."""
        return [value for value, known in self.published.items() if known.number is not None]

    def partial(self) -> list[Sequence[bytes]]:
        """Commits of which a part was accepted, and another part never delivered.

        A primary may deliver what a failover undoes, but not confirm its accept.
        """
        return [c for c in self.commits if not self._accepted.isdisjoint(c) and not self._seen.issuperset(c)]

    def lost(self) -> list[bytes]:
        """Values that were confirmed and not delivered so far."""
        return [value for value in self.confirmations if value not in self._seen]

    @property
    def at_rest(self) -> bool:
        """Whether all values that were published were confirmed and delivered, and each commit wholly or not at all."""
        return not self.partial() and not self.lost() and all(v in self.confirmations for v in self.wanted())

    def check(self, values: int) -> None:
        """Check that everything was confirmed and delivered. Raises `Violation`.

        Args:
            values: How many values the publishers should have published.
        """
        if partial := self.partial():
            delivered = self._seen.intersection(partial[0])
            raise self._broken(
                f"TX1: of the commit {list(partial[0])} only {sorted(delivered)} was delivered"
            )
        if lost := self.lost():
            raise self._broken(
                f"S1: {len(lost)} confirmed values were never delivered, the first is {lost[0]!r}"
            )
        wanted = self.wanted()
        values += sum(self.published[value].once for value in wanted)
        confirmed = sum(value in self.confirmations for value in wanted)
        if not (values <= len(wanted) == confirmed):
            raise self._broken(
                f"S5: of {values} values {len(wanted)} were published, "
                f"{confirmed} confirmed, {len(self.first)} delivered, when the time was over"
            )
