"""What a configuration and props are made of: objects of queues, entries of producers, arguments, traits of messages."""

from __future__ import annotations

from contextlib import suppress

from qpidha.core.configuration import QUEUE, QueueObject, check_objects, is_object_key, read_key
from qpidha.core.producers import PREFIX, ProducerEntries, ProducerEntry
from qpidha.errors import ArgumentError, RemoteProtocolError
from qpidha.queues.arguments import QueueArguments
from qpidha.queues.index import MessageIndex
from qpidha.queues.properties import MSGPACK, Traits
from qpidha.settings import check_spec
from qpidha.wire.batch import Batch

INDEX = MessageIndex(MSGPACK)


def object_bytes(key: bytes, content: bytes) -> bytes:
    """An object in the form of the target: the size of its key in one byte, key, content."""
    return bytes([len(key)]) + key + content


def objects(data: bytes) -> None:
    """An object of the configuration as a peer sends it; and the same bytes as arguments of a queue, and as props."""
    size = data[0] if data else 0
    key, content = data[1 : 1 + size], data[1 + size :]
    of_a_peer(key, content)
    of_a_producer(key, content)
    of_a_queue(data)
    of_a_message(data)


def of_a_peer(key: bytes, content: bytes) -> None:
    """What is accepted can be read by everything that reads objects, and has one encoding."""
    accepted = False
    with suppress(RemoteProtocolError):
        check_objects(Batch.pack([content], [key]))
        accepted = True
    if accepted:
        kind, name = read_key(key)
        assert is_object_key(key) == (kind != QUEUE and not kind.startswith("$"))
        if kind == QUEUE:
            found = QueueObject.decode(key, content)
            assert (found.key, found.encode(), found.spec.name) == (key, content, name)
            check_spec(found.spec)
            assert found.birth is None or all(type(part) is int and part > 0 for part in found.birth)
    else:
        assert not is_object_key(key)


def of_a_producer(key: bytes, content: bytes) -> None:
    """Whatever the entry says, the index of the entries stays consistent."""
    entries = ProducerEntries()
    entry = ProducerEntry.decode(content)
    if entry is not None:
        assert ProducerEntry.decode(entry.encode()) == entry
    for suffix in (key, key.removeprefix(PREFIX)):
        entries.put(PREFIX + suffix, content)
        entries.put(PREFIX + suffix, content[:-1])
        entries.put(PREFIX + suffix, content)
        assert len(entries) == (entry is not None)
        entries.erase(PREFIX + suffix)
        assert len(entries) == 0


def of_a_queue(data: bytes) -> None:
    """Arguments that are accepted come back."""
    with suppress(ArgumentError):
        found = QueueArguments.decode(data)
        assert QueueArguments.decode(found.encode()) == found


def of_a_message(data: bytes) -> None:
    """Props that are not a map have no traits; an exception of a format never gets into an index."""
    found = INDEX.read(data)
    assert isinstance(found, Traits)
    assert (type(found.priority), type(found.deliveries)) == (int, int)
