"""`OrderedMap`, small and large, against a plain dict whose keys are sorted for each comparison."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qpidha import ordered
from qpidha.ordered import OrderedMap

KEYS = st.integers(0, 30)
STEPS = st.lists(st.tuples(st.sampled_from(["set", "set", "set", "del", "pack"]), KEYS), max_size=80)


@pytest.fixture(scope="module", autouse=True)
def large_maps_are_small() -> Any:
    before = ordered.SMALL_MAX, ordered.BLOCK_MAX
    ordered.SMALL_MAX, ordered.BLOCK_MAX = 8, 3
    yield
    ordered.SMALL_MAX, ordered.BLOCK_MAX = before


def raised(work: Any) -> Any:
    try:
        return work()
    except (KeyError, IndexError) as error:
        return type(error)


@given(STEPS, KEYS, KEYS)
def test_an_ordered_map_agrees_with_a_sorted_dict(steps: list[tuple[str, int]], low: int, high: int) -> None:
    model: dict[int, str] = {}
    tried = OrderedMap[str]()
    for n, (what, key) in enumerate(steps):
        if what == "set":
            model[key] = tried[key] = f"{n}"
        elif what == "pack":
            tried.pack(lambda keys, values, key=key: tuple(values) if len(keys) > key % 3 else None)  # type: ignore[misc]
        else:
            assert raised(lambda key=key: model.__delitem__(key)) == raised(
                lambda key=key: tried.__delitem__(key)
            )  # type: ignore[misc]
        entries = sorted(model.items())
        assert list(tried.items()) == entries
        assert list(tried.values()) == [value for _, value in entries]
        assert len(tried) == len(model)
    entries = sorted(model.items())
    for key in range(-1, 32):
        assert tried.look(key) == max((e for e in entries if e[0] <= key), default=(0, None))[1]
        assert tried.floor(key) == max((e for e in entries if e[0] <= key), default=None)
        assert tried.after(key) == min((e for e in entries if e[0] > key), default=None)
        assert raised(lambda key=key: tried[key]) == raised(lambda key=key: model[key])  # type: ignore[misc]
    assert raised(lambda: tried.last) == raised(lambda: entries[-1][1])
    assert list(tried.keys_between(low, high)) == [key for key, _ in entries if low < key <= high]
