"""The producers of one node: their handles of the current term, and a list of all that are registered."""

from __future__ import annotations

from dataclasses import dataclass

from qpidha.checks import shown
from qpidha.core.producers import NAME
from qpidha.errors import ArgumentError, UnknownProducer
from qpidha.node.commit import Commits
from qpidha.node.handles import Handles
from qpidha.node.producer import Producer
from qpidha.node.runtime import Runtime
from qpidha.types import Entry, Generation


@dataclass(frozen=True, slots=True)
class ProducerInfo:
    """One registered producer, as this node knows it: on a backup, and on a primary before it is safe, it may change."""

    name: str
    epoch: Entry
    last: int
    """The highest sequence that was used; 0: none."""


class Producers:
    """One handle for each producer and term, because it collects what the producer publishes in one turn."""

    def __init__(self, runtime: Runtime, commits: Commits, handles: Handles) -> None:
        self._runtime = runtime
        self._commits = commits
        self._handles = handles
        self._made: dict[str, Producer] = {}
        """By name: the producer with the epoch that is registered now."""
        self._generation: Generation = 0
        """The term of what was made."""

    def register(self, name: str) -> Producer:
        """Register a producer with a new epoch. What is collected of the former one is published first."""
        NAME("name", name)
        self._commits.require_serving()
        known = self._term().get(name)
        if known is not None:
            known._flush()
        registered = self._runtime.replica.register(name)
        self._runtime.poke()
        return self._make(name, registered.epoch, registered.position)

    def attach(self, name: str, epoch: object) -> Producer:
        """The handle of a producer that is registered. Raises `UnknownProducer`."""
        NAME("name", name)
        wanted = as_epoch(epoch)
        self._commits.require_serving()
        known = self._term().get(name)
        if known is not None and known.epoch == wanted and known._entry is not None:
            return known
        primary = self._runtime.replica.primary
        assert primary is not None, "it serves"
        entry = primary.producers.get(name)
        if entry is None or entry.epoch != wanted:
            current = None if entry is None else entry.epoch
            raise UnknownProducer(
                f"producer {name!r} is not registered with epoch {wanted}",
                producer=name,
                epoch=wanted,
                current=current,
            )
        return self._make(name, wanted, primary.position)

    def all(self) -> list[ProducerInfo]:
        """All that are registered. O(producers)."""
        objects = self._commits.configuration
        entries = () if objects is None else objects.producers
        return [ProducerInfo(name, entry.epoch, entry.last) for name, entry in entries]

    def _term(self) -> dict[str, Producer]:
        if self._generation != self._runtime.serving_generation:
            self._generation, self._made = self._runtime.serving_generation, {}
        return self._made

    def _make(self, name: str, epoch: Entry, position: int) -> Producer:
        made = Producer(
            self._runtime, self._commits, self._handles, name=name, epoch=epoch, position=position
        )
        self._made[name] = made
        return made


def as_epoch(epoch: object) -> Entry:
    """An epoch as a client may have brought it back: a pair of integers. Raises `ArgumentError`."""
    if isinstance(epoch, (tuple, list)) and len(epoch) == 2:
        generation, id = epoch
        if type(generation) is int and type(id) is int:
            return generation, id
    raise ArgumentError(f"epoch must be the epoch of a producer, a pair of integers, not {shown(epoch)}")
