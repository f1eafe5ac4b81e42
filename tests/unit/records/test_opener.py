"""Which sessions a process may replace: its own, and once those of a process that held the same lock."""

from __future__ import annotations

import pytest

from qpidha.errors import ArgumentError
from qpidha.records.opener import LOCK, OPENER_BYTES, OpenerName


def test_without_a_lock_a_name_replaces_nothing_but_itself() -> None:
    one, two = OpenerName(), OpenerName()
    assert len(bytes(one)) == OPENER_BYTES
    assert one.replaces(bytes(one)) and not one.replaces(bytes(two))
    assert one.inherited == b""


def test_the_holder_of_a_lock_replaces_those_before_until_it_has_opened_a_session() -> None:
    before, after, other = OpenerName(), OpenerName(), OpenerName()
    for name, lock in ((before, b"lock"), (after, b"lock"), (other, b"another")):
        name.hold(lock)
    assert bytes(before) != bytes(after)
    assert after.replaces(bytes(before)) and not after.replaces(bytes(other))
    assert bytes(before).startswith(after.inherited) and after.inherited
    after.opened()
    assert not after.replaces(bytes(before)) and after.replaces(bytes(after))
    assert after.inherited == b""


@pytest.mark.parametrize("wrong", [b"", "lock", None])
def test_the_name_of_a_lock_is_some_bytes(wrong: object) -> None:
    with pytest.raises(ArgumentError):
        LOCK("lock", wrong)
