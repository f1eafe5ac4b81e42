"""Numbers for people fit their columns, and the progress of work is said without nonsense."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qpidha.amounts import advance, amount, duration, size

NUMBERS = st.one_of(st.none(), st.floats(min_value=0), st.integers(0, 10**30).map(float))


@given(NUMBERS)
def test_numbers_fit_their_columns(value: float | None) -> None:
    assert len(amount(value)) <= 6
    assert len(size(value)) <= 7
    assert len(duration(value)) <= 5


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0, "0"), (0.4, "0.4"), (9.96, "10.0"), (17, "17"), (1234, "1,234"), (9999.7, "10,000"), (12345, "12.3k"),
     (123456, "123k"), (4.5e6, "4.5M"), (1e30, ">999P"), (None, "-"), (math.nan, "-")],
)  # fmt: skip
def test_amounts(value: float | None, shown: str) -> None:
    assert amount(value) == shown


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0, "0 B"), (512, "512 B"), (999, "999 B"), (1200, "1.2 kB"), (123_456, "123 kB"), (34.5e6, "34.5 MB"),
     (1e30, ">999 PB"), (None, "-")],
)  # fmt: skip
def test_sizes(value: float | None, shown: str) -> None:
    assert size(value) == shown


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0, "0.0ms"), (0.0003, "0.3ms"), (0.012, "12ms"), (0.9999, "1.0s"), (1.24, "1.2s"), (34, "34s"), (99, "99s"),
     (120, "2m"), (7200, "2h"), (5 * 86_400, "5d"), (-1, "0.0ms"), (None, "-"), (math.inf, "-")],
)  # fmt: skip
def test_durations(value: float | None, shown: str) -> None:
    assert duration(value) == shown


@pytest.mark.parametrize(
    ("said", "shown"),
    [((12_300_000, 45_600_000, 8_100_000.0), "12.3 MB of 45.6 MB, 26 %, 8.1 MB/s, about 4.1s left"),
     ((0, 45_600_000), "0 B of 45.6 MB, 0 %"), ((7, 5, 1.0), "5 B of 5 B, 100 %, 1 B/s"),
     ((7, 0), "7 B"), ((7, 0, 3.0), "7 B, 3 B/s"),
     ((0, 4, 2e-308), "0 B of 4 B, 0 %, 0 B/s"),
     ((50, 200, 25.0, "seeds"), "50 of 200 seeds, 25 %, 25 seeds/s, about 6.0s left")],
)  # fmt: skip
def test_how_far_work_has_come(said: tuple[int, int, float], shown: str) -> None:
    assert advance(*said) == shown


@given(st.integers(0, 10**20), st.integers(0, 10**20), st.one_of(st.none(), st.floats(0, 1e20)))
def test_no_share_is_more_than_the_whole(done: int, total: int, rate: float | None) -> None:
    said = advance(done, total, rate)
    assert "-" not in said and (not total or int(said.split(" %")[0].rpartition(" ")[2]) <= 100)
