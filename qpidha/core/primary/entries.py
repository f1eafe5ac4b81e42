"""The objects that a commit puts for producers: a registration, and the use of a sequence (rules EO1, EO5, EO6)."""

from __future__ import annotations

from typing import TypeAlias

from qpidha.core.births import ID_MAX
from qpidha.core.keyed import ConfigurationQueue
from qpidha.core.primary.actions import Draft
from qpidha.core.producers import PREFIX, ProducerEntries, ProducerEntry, producer_key
from qpidha.core.steps import UseSequence
from qpidha.errors import ArgumentError, CallerError, TooManyProducers
from qpidha.settings import Settings
from qpidha.types import Generation

Entry: TypeAlias = tuple[bytes, bytes]
"""Key and value of an object."""


def registration(objects: Draft, name: str, generation: Generation, settings: Settings) -> Entry:
    """The entry of a producer that registers: its epoch is the identity that this object is about to get.

    Raises:
        TooManyProducers: It is a new one, and there are ``producers_max`` already.
    """
    key, known = free_key(objects, name), producers(objects)
    more = sum(k.startswith(PREFIX) and id is not None for k, id in objects.keys.items())
    most = settings.producers_max
    if objects.id_of(key) is None and len(known) + more >= most:
        raise TooManyProducers(f"{len(known) + more} producers are registered; producers_max is {most}")
    if objects.next > ID_MAX:
        raise CallerError("the configuration has no ids left")
    return key, ProducerEntry((generation, objects.next), 0).encode()


def advanced(objects: Draft, step: UseSequence) -> Entry:
    """The entry of a producer once this step is made.

    Raises:
        UnknownProducer, SequenceGap: See `ProducerEntries.known`.
        ArgumentError: The sequence was used.
    """
    sequence, key = step.sequence, free_key(objects, step.sequence.producer)
    if producers(objects).known(sequence):
        raise ArgumentError(f"sequence {sequence.number} of {sequence.producer!r} was used")
    last = sequence.number + max(step.count, 1) - 1
    return key, ProducerEntry(sequence.epoch, last).encode()


def free_key(objects: Draft, name: str) -> bytes:
    """The key of a producer's entry, which no other step of the commit changes. Raises `ArgumentError`."""
    key = producer_key(name)
    if key in objects.keys:
        raise ArgumentError(f"two steps of a commit are about the entry of producer {name!r}")
    return key


def producers(objects: Draft) -> ProducerEntries:
    """The entries as they were before the commit."""
    queue = objects.queue
    assert isinstance(queue, ConfigurationQueue), "it has the objects"
    return queue.producers
