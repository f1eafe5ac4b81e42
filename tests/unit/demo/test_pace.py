"""Every kill falls inside the stream, for long inputs and for short ones, on fast clusters and on slow ones.

Method: a simulated clock drives `Pace` with a publisher that uses all of its allowance and a cluster that
needs a given time to recover from each kill.
"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qpidha.demo.pace import STRETCH_S, Pace, plan

STEP_S = 0.01


def play(total: int, head: int, kills: int, seed: int, recovery_s: float) -> tuple[list[int], float]:
    """Returns how much was published at each kill, and when the stream was through."""
    pace = Pace(total, head, kills, seed)
    published, now, busy_until, at_kills = 0, 100.0, 0.0, list[int]()
    last_return: float | None = None
    while published < total or pace.kills_left or last_return:
        assert now < 100.0 + 60 * (kills + 1) + kills * recovery_s, "the stream stands still"
        allowed = pace.allowance(published, now)
        assert 0 <= allowed <= total - published
        published += allowed
        if now >= busy_until and pace.due(published):
            at_kills.append(published)
            pace.next()
            busy_until = now + recovery_s
            last_return = None if pace.kills_left else busy_until
        if last_return and now >= last_return:
            pace.next()
            last_return = None
        now += STEP_S
    return at_kills, now - 100.0


@given(
    st.integers(0, 100_000),
    st.integers(0, 5),
    st.integers(0, 2**32),
    st.sampled_from([0.0, 0.5, 3.0]),
    st.data(),
)
def test_all_kills_take_place_and_the_stream_ends(
    total: int, kills: int, seed: int, recovery_s: float, data: st.DataObject
) -> None:
    head = data.draw(st.integers(0, total // 3))
    at_kills, _ = play(total, head, kills, seed, recovery_s)
    assert len(at_kills) == kills
    assert at_kills == sorted(at_kills)
    if total > 10 * (kills + 1):
        assert all(0 < at < total for at in at_kills), "a kill outside of the stream"


@pytest.mark.parametrize("recovery_s", [1.0, 10.0])
def test_a_short_input_lasts_until_the_last_killed_broker_is_back(recovery_s: float) -> None:
    _, seconds = play(500, 100, 3, 1, recovery_s)
    assert seconds >= 3 * recovery_s


def test_without_a_hindrance_a_stretch_lasts_as_long_as_it_should() -> None:
    _, seconds = play(1_000_000, 250_000, 3, 7, recovery_s=STRETCH_S * 0.6)
    assert seconds < 4 * STRETCH_S + 1


def test_the_times_of_the_kills_depend_on_the_seed_only() -> None:
    assert plan(10_000, 0, 3, 5) == plan(10_000, 0, 3, 5)
    assert plan(10_000, 0, 3, 5) != plan(10_000, 0, 3, 6)


def test_nothing_is_slowed_down_without_kills() -> None:
    assert Pace(1000, 100, 0, 0).allowance(0, 1.0) == 1000


def test_the_head_goes_at_full_speed() -> None:
    assert Pace(1000, 300, 3, 0).allowance(20, 1.0) == 280
