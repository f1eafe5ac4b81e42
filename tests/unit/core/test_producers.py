"""Entries of producers: read from objects, found by name and epoch; and the sequences that messages carry (EO5–EO7)."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import msgpack
import pytest

from qpidha import Batch, SequenceSet
from qpidha.core.births import born
from qpidha.core.configuration import SPEC, is_object_key, object_key
from qpidha.core.keyed import ConfigurationQueue
from qpidha.core.producers import (
    IN_COMMIT,
    PREFIX,
    PRODUCER,
    PUBLISHED,
    ProducerEntries,
    ProducerEntry,
    check_sequence,
    epoch_of,
    is_tag,
    producer_key,
    producer_name,
    tagged,
)
from qpidha.errors import ArgumentError, InvariantError, SequenceGap, UnknownProducer
from qpidha.types import MESSAGE_ID_MAX, ProducerSequence

EPOCH = (3, 17)


def entries(last: int = 4) -> ProducerEntries:
    made = ProducerEntries()
    made.put(producer_key("ada"), ProducerEntry(EPOCH, last).encode())
    return made


def test_an_entry_is_an_object_of_a_kind_that_no_embedder_may_put() -> None:
    key = producer_key("ada")
    assert key == object_key(PRODUCER, "ada") and producer_name(key) == "ada"
    assert key.startswith(PREFIX) and not object_key("producer", "ada").startswith(PREFIX)
    assert not is_object_key(key)


def test_an_entry_comes_back_equal_and_other_bytes_are_no_entry() -> None:
    entry = ProducerEntry(EPOCH, 4)
    assert ProducerEntry.decode(entry.encode()) == entry
    for content in (b"", b"\xc1", msgpack.packb([1, 2]), msgpack.packb(7), msgpack.packb([1, 2, "3"])):
        assert ProducerEntry.decode(content) is None


def test_an_entry_is_found_by_name_and_by_epoch() -> None:
    known = entries()
    assert known.get("ada") == ProducerEntry(EPOCH, 4)
    assert known.find(EPOCH) == ("ada", ProducerEntry(EPOCH, 4))
    assert known.get("bob") is None and known.find((3, 18)) is None
    assert list(known) == [("ada", ProducerEntry(EPOCH, 4))] and len(known) == 1
    known.check()


def test_an_entry_is_replaced_and_forgotten() -> None:
    """A producer that registers again has another epoch; the former one is over."""
    known = entries()
    known.put(producer_key("ada"), ProducerEntry((4, 9), 0).encode())
    assert known.find(EPOCH) is None and known.find((4, 9)) == ("ada", ProducerEntry((4, 9), 0))
    known.check()
    known.erase(producer_key("ada"))
    known.erase(producer_key("ada"))
    assert len(known) == 0 and known.find((4, 9)) is None
    known.check()


def test_objects_that_are_no_entries_are_ignored() -> None:
    """A content that cannot be read means that there is no such producer, not an error."""
    known = entries()
    known.put(object_key("exchange", "ada"), ProducerEntry((5, 5), 1).encode())
    known.put(producer_key("eve"), ProducerEntry(EPOCH, 9).encode())
    assert [name for name, _ in known] == ["ada"], "an epoch has one producer"
    known.put(producer_key("ada"), b"damaged")
    assert len(known) == 0
    known.check()


def test_the_next_sequence_is_new_those_below_are_known_and_those_above_are_refused() -> None:
    """EO5, for one publish and for a batch of which the first ones may be known."""
    known = entries(last=4)
    counts = [(5, 1, 0), (4, 1, 1), (1, 1, 1), (3, 2, 2), (3, 5, 2), (5, 9, 0), (1, 4, 4)]
    for number, count, expected in counts:
        assert known.known(ProducerSequence("ada", EPOCH, number), count) == expected
    with pytest.raises(SequenceGap, match="sequence 6 of producer 'ada', whose next one is 5") as gap:
        known.known(ProducerSequence("ada", EPOCH, 6))
    assert (gap.value.producer, gap.value.number, gap.value.expected) == ("ada", 6, 5)


def test_an_epoch_that_is_not_there_is_refused() -> None:
    """EO6: also if the name is known, and whatever the sequence."""
    known = entries(last=4)
    with pytest.raises(UnknownProducer, match="has registered again") as fenced:
        known.known(ProducerSequence("ada", (3, 16), 5))
    assert (fenced.value.producer, fenced.value.epoch, fenced.value.current) == ("ada", (3, 16), EPOCH)
    with pytest.raises(UnknownProducer, match="is not registered") as forgotten:
        known.known(ProducerSequence("bob", EPOCH, 1))
    assert forgotten.value.current is None


@pytest.mark.parametrize(
    ("sequence", "why"),
    [
        ("ada", "sequence must be"),
        (ProducerSequence("", EPOCH, 1), "producer must be"),
        (ProducerSequence("ada", [3, 17], 1), "epoch must be"),  # type: ignore[arg-type]
        (ProducerSequence("ada", (3,), 1), "epoch must be"),  # type: ignore[arg-type]
        (ProducerSequence("ada", (3, "17"), 1), "epoch must be"),  # type: ignore[arg-type]
        (ProducerSequence("ada", EPOCH, 0), "sequence number must be"),
        (ProducerSequence("ada", EPOCH, MESSAGE_ID_MAX + 1), "sequence number must be"),
    ],
)
def test_what_is_no_sequence_is_refused(sequence: Any, why: str) -> None:
    check_sequence(ProducerSequence("ada", EPOCH, 1))
    with pytest.raises(ArgumentError, match=why):
        check_sequence(sequence)


def test_messages_carry_their_sequences_as_origins() -> None:
    """EO7: one after the other in a batch of publishes; that of the commit in each of its messages."""
    batch = Batch.pack([b"a", b"b"], props=[b"x", b"y"])
    each = tagged(batch, EPOCH, 5, in_commit=False)
    origins = [each.origin(i) for i in (0, 1)]
    assert origins == [(born(*EPOCH).bytes, PUBLISHED, 5), (born(*EPOCH).bytes, PUBLISHED, 6)]
    assert list(each) == [b"a", b"b"] and each.props(1) == b"y"
    assert all(origin is not None and is_tag(origin) and epoch_of(origin) == EPOCH for origin in origins)
    whole = tagged(batch, EPOCH, 5, in_commit=True)
    assert [whole.origin(i) for i in (0, 1)] == [(born(*EPOCH).bytes, IN_COMMIT, 5)] * 2
    assert is_tag(whole.origin(0))


def test_what_a_move_left_behind_is_no_sequence() -> None:
    assert not is_tag(None) and not is_tag((born(3, 17).bytes, 2**62, 5))


# --- the configuration ---------------------------------------------------------------------------


def configuration(last: int = 4) -> ConfigurationQueue:
    made = ConfigurationQueue(UUID(int=1), SPEC, ((1, 1),), 1)
    made.append(Batch.pack([b"topic"], props=[object_key("exchange", "x")]))
    made.append(Batch.pack([ProducerEntry(EPOCH, last).encode()], props=[producer_key("ada")]))
    return made


def test_the_configuration_knows_its_producers() -> None:
    """A put replaces an entry: the removal of the older message leaves it."""
    made = configuration()
    assert made.producers.get("ada") == ProducerEntry(EPOCH, 4)
    made.append(Batch.pack([ProducerEntry(EPOCH, 5).encode()], props=[producer_key("ada")]))
    made.remove(SequenceSet([2]))
    assert made.producers.get("ada") == ProducerEntry(EPOCH, 5)
    made.check()
    made.remove(SequenceSet([3]))
    assert made.producers.get("ada") is None
    made.check()


def test_a_rewind_takes_an_entry_back() -> None:
    """EO2: the newer one is removed, and the older one inserted again, as a flip does."""
    made = configuration(last=9)
    made.remove(SequenceSet([2]))
    made.append(Batch.pack([ProducerEntry(EPOCH, 4).encode()], props=[producer_key("ada")]))
    assert made.producers.get("ada") == ProducerEntry(EPOCH, 4)
    made.check()


def test_check_finds_entries_that_differ_from_the_objects() -> None:
    made = configuration()
    made.producers.put(producer_key("eve"), ProducerEntry((1, 1), 0).encode())
    with pytest.raises(InvariantError, match="differ from the objects"):
        made.check()
