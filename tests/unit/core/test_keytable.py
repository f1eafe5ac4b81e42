"""The table of the keys that a store has brought, against a dict; and a keyed queue that uses it."""

from __future__ import annotations

from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qpidha.core import keyed, keytable
from qpidha.core.keyed import CONFIGURATION, TABLE, ConfigurationQueue, KeyedQueue
from qpidha.core.keytable import KeyTable
from qpidha.core.queues import Queues
from qpidha.journal import QueueImage
from qpidha.seq import SequenceSet
from qpidha.types import QueueSpec
from qpidha.wire.batch import Batch

QUEUE = UUID(int=1 << 64 | 7)


@given(st.dictionaries(st.binary(max_size=2), st.integers(1, 2**64 - 2), max_size=60), st.data())
def test_a_key_table_agrees_with_a_dict(keys: dict[bytes, int], data: st.DataObject) -> None:
    of = {id: key for key, id in keys.items()}
    keys = {key: id for id, key in of.items()}
    table = KeyTable(keys.items(), len(keys))
    for key in data.draw(st.lists(st.sampled_from(sorted(keys)), unique=True)) if keys else []:
        assert not table.drop(key, keys[key] + 1), "another message"
        assert table.drop(key, keys[key]) and not table.drop(key, keys[key])
        del keys[key]
    assert table.count == len(keys) and sorted(table) == sorted(keys.values())
    for key in (*of.values(), b"another"):
        assert table.find(key, of.__getitem__) == keys.get(key)


def test_keys_with_the_same_mark_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """The mark is a part of the hash: the keys themselves decide."""
    monkeypatch.setattr(keytable, "_mark", lambda key: 2**31)
    of = {1: b"a", 2: b"b", 3: b"c"}
    table = KeyTable([(key, id) for id, key in of.items()], 3)
    assert [table.find(key, of.__getitem__) for key in (b"a", b"b", b"c", b"d")] == [1, 2, 3, None]
    assert table.drop(b"b", 2)
    assert [table.find(key, of.__getitem__) for key in (b"a", b"b", b"c")] == [1, None, 3]


def loaded(kind: str) -> KeyedQueue:
    """Of the keys 0 to 9, with the ids 1 to 10, as a store has them."""
    first = Batch.pack([b"v%d" % n for n in range(6)], [b"%d" % n for n in range(6)])
    second = Batch.pack([b"v%d" % n for n in range(6, 10)], [b"%d" % n for n in range(6, 10)])
    held = [(SequenceSet([(1, 6)]), first), (SequenceSet([(7, 10)]), second)]
    made = Queues().load(QueueImage(QUEUE, QueueSpec(name="t", kind=kind), ((1, 1),), 11, held))
    assert isinstance(made, KeyedQueue)
    return made


@pytest.mark.parametrize("kind", [CONFIGURATION, TABLE])
@pytest.mark.parametrize("most", [5, 1000])
def test_a_queue_with_loaded_keys_is_like_one_that_was_given_them(
    kind: str, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keyed, "LOADED_MIN", most)
    queue = loaded(kind)
    queue.check()
    assert queue.take_touched() == (), "it is as it was"
    assert (
        dict(queue.items())
        == {key: queue.get(key) for key in list(queue.keys())}
        == {b"%d" % n: b"v%d" % n for n in range(10)}
    )
    assert (queue.id_of(b"3"), queue.id_of(b"x"), queue.get(b"x")) == (4, None, None)
    queue.append(Batch.pack([b"new"], [b"3"]))
    queue.remove(SequenceSet([4]))
    queue.check()
    assert (queue.id_of(b"3"), queue.get(b"3")) == (11, b"new")
    queue.remove(SequenceSet([(1, 2), 11]))
    queue.check()
    assert sorted(queue.keys()) == [b"%d" % n for n in (2, 4, 5, 6, 7, 8, 9)]
    assert queue.take_touched() == (b"3", b"0", b"1")
    queue.insert(SequenceSet([4]), Batch.pack([b"v3"], [b"3"]))  # A rewind brings the old one back.
    queue.check()
    assert queue.get(b"3") == b"v3" and len(list(queue.keys())) == 8


def test_entries_of_producers_are_known_when_they_are_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keyed, "LOADED_MIN", 1)
    from qpidha.core.producers import ProducerEntry, producer_key

    batch = Batch.pack([b"v", ProducerEntry((1, 2), 7).encode()], [b"k", producer_key("client")])
    spec = QueueSpec(name=CONFIGURATION, kind=CONFIGURATION)
    queue = Queues().load(QueueImage(QUEUE, spec, ((1, 1),), 3, [(SequenceSet([(1, 2)]), batch)]))
    assert isinstance(queue, ConfigurationQueue)
    queue.check()
    entry = queue.producers.get("client")
    assert entry is not None and entry.last == 7
    queue.remove(SequenceSet([2]))
    assert queue.producers.get("client") is None
