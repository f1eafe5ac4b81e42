"""The keys of a last-value queue: which message of a key is the newest, whatever the order in which they came."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from qpidha.queues.keys import Keys
from qpidha.seq import SequenceSet


def test_a_newer_message_supersedes_the_older_ones_of_its_key() -> None:
    keys = Keys()
    keys.add(1, b"a")
    keys.add(2, b"b")
    keys.add(3, b"a")
    assert keys.superseded == SequenceSet([1])
    assert (keys.newest(b"a"), keys.newest(b"b"), keys.newest(b"c"), len(keys)) == (3, 2, None, 2)


def test_the_one_before_is_the_newest_again_if_the_newest_is_gone() -> None:
    """A rewind takes the newest: the older one, which a consumer had, must not be dropped as superseded."""
    keys = Keys()
    keys.add(1, b"a")
    keys.add(3, b"a")
    keys.discard(3)
    assert (keys.newest(b"a"), keys.superseded) == (1, SequenceSet())


def test_an_older_message_that_comes_later_is_superseded() -> None:
    """A plan fills in messages that were missed, below those that are there."""
    keys = Keys()
    keys.add(3, b"a")
    keys.add(1, b"a")
    assert keys.superseded == SequenceSet([1])


def test_an_update_may_give_a_place_another_key() -> None:
    keys = Keys()
    keys.add(1, b"a")
    keys.add(1, b"b")
    assert (keys.newest(b"a"), keys.newest(b"b"), keys.key_of(1), len(keys)) == (None, 1, b"b", 1)


def test_a_place_without_a_key_is_fine() -> None:
    keys = Keys()
    keys.discard(7)
    assert keys.key_of(7) is None
    assert keys.places(b"a") == SequenceSet()


CHANGES = st.lists(
    st.tuples(st.integers(1, 20), st.none() | st.sampled_from([b"a", b"b", b"c"])), max_size=40
)


@given(CHANGES)
def test_what_is_superseded_follows_from_what_is_held(changes: list[tuple[int, bytes | None]]) -> None:
    keys, held = Keys(), dict[int, bytes]()
    for place, key in changes:
        if key is None:
            keys.discard(place)
            held.pop(place, None)
        else:
            keys.add(place, key)
            held[place] = key
    newest = {key: max(p for p, k in held.items() if k == key) for key in held.values()}
    assert keys.superseded == SequenceSet([p for p, k in held.items() if newest[k] != p])
    assert {key: keys.newest(key) for key in newest} == newest
    assert len(keys) == len(newest)
