"""Limits of two nodes: a backup must accept what its primary may send, and both use the smaller chunk limit."""

from __future__ import annotations

from dataclasses import replace

import pytest

from qpidha import Settings
from qpidha.core.limits import agreed, check_backup, check_primary, limits_of
from qpidha.errors import HandshakeError

OURS = Settings(queues_max=100)


def test_equal_limits_are_compatible() -> None:
    check_backup("b", limits_of(OURS), "a", OURS, 100)
    check_primary("a", limits_of(OURS), "b", 100)


@pytest.mark.parametrize("name", ["frame_bytes_max", "message_bytes_max"])
def test_a_backup_with_smaller_limits_is_refused_with_both_values(name: str) -> None:
    limits = limits_of(OURS)
    smaller = replace(limits, **{name: getattr(limits, name) - 1})
    with pytest.raises(HandshakeError) as caught:
        check_backup("b", smaller, "a", OURS, 0)
    assert f"{name} of backup 'b' is {getattr(smaller, name)}, of primary 'a' {getattr(limits, name)}" in str(
        caught.value
    )


def test_a_backup_with_larger_limits_is_accepted() -> None:
    limits = limits_of(OURS)
    check_backup("b", replace(limits, frame_bytes_max=limits.frame_bytes_max + 1), "a", OURS, 0)


def test_all_faults_are_named_at_once() -> None:
    limits = replace(limits_of(OURS), frame_bytes_max=4096, message_bytes_max=1024, queues_max=2)
    with pytest.raises(HandshakeError) as caught:
        check_backup("b", limits, "a", OURS, 3)
    assert str(caught.value).count(";") == 2


def test_a_primary_that_allows_fewer_queues_is_refused() -> None:
    with pytest.raises(
        HandshakeError, match="queues_max of primary 'a' is 100, the store of backup 'b' has 101"
    ):
        check_primary("a", limits_of(OURS), "b", 101)


def test_the_smaller_chunk_limit_of_two_nodes_is_used() -> None:
    ours = Settings(ids_runs_per_chunk_max=50)
    assert agreed(ours, limits_of(Settings(ids_runs_per_chunk_max=20))).ids_runs_per_chunk_max == 20
    assert agreed(ours, limits_of(Settings(ids_runs_per_chunk_max=70))) is ours
    assert agreed(ours, None) is ours
