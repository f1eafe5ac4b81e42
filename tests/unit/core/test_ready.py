"""What of a `Ready` may still be performed when its role, or its node, is over (K1, L1)."""

from __future__ import annotations

from uuid import UUID

import pytest

from qpidha.core.ready import (
    CloseLink,
    Doubtful,
    HandOver,
    QueueAdded,
    ReadRecord,
    Ready,
    RoleChanged,
    Safe,
    Settled,
    is_last_word,
    last_words,
    remainder,
)
from qpidha.journal import DropQueue
from qpidha.types import QueueSpec, Role
from qpidha.wire.events import Established, Frame

QUEUE = UUID(int=1)
SAFE, SETTLED = Safe(QUEUE, 1, 3, frozenset()), Settled(1, 3, frozenset())
ADDED, CLOSED = QueueAdded(QUEUE, QueueSpec(name="q")), CloseLink(7, "why")
OVER = RoleChanged(Role.JOINING, 3)
FRAME = Frame(3, 1, Established())


def ready() -> Ready:
    return Ready(
        [DropQueue(QUEUE)], [(1, FRAME)], ReadRecord(), [SAFE, SETTLED, Doubtful(3)], [ADDED, CLOSED, OVER]
    )


def test_nothing_to_do_is_false() -> None:
    assert not Ready()


@pytest.mark.parametrize("kind", ["persist", "send", "request", "complete", "notify"])
def test_anything_to_do_is_true(kind: str) -> None:
    assert Ready(**{kind: getattr(ready(), kind)})


@pytest.mark.parametrize("effect", [Doubtful(3), CLOSED, OVER, RoleChanged(Role.STOPPED, 3)], ids=repr)
def test_what_ends_something_needs_no_disk(effect: object) -> None:
    assert is_last_word(effect)


@pytest.mark.parametrize(
    "effect",
    [SAFE, SETTLED, ADDED, HandOver(()), FRAME, RoleChanged(Role.ACTIVE, 3)],
    ids=lambda e: type(e).__name__,
)
def test_what_promises_or_tells_content_does(effect: object) -> None:
    assert not is_last_word(effect)


def test_last_words_hold_no_frame_no_request_and_no_promise() -> None:
    assert last_words(ready()) == Ready(complete=[Doubtful(3)], notify=[CLOSED, OVER])


def test_the_remainder_is_stored_and_asks_but_sends_and_promises_nothing() -> None:
    assert remainder(ready()) == Ready([DropQueue(QUEUE)], [], ReadRecord(), [], [ADDED])


def test_last_words_and_remainder_share_nothing() -> None:
    whole = ready()
    assert not set(map(id, last_words(whole).notify)) & set(map(id, remainder(whole).notify))
