"""The real store judges what power cuts and bad disks leave behind; a store that does not verify is detected."""

from __future__ import annotations

import random
from uuid import UUID

import pytest

from qpidha import SequenceSet
from qpidha.journal import Insert, PutQueue, PutStatus, StoreStatus
from qpidha.stores.loader import _Loading
from qpidha.testing.sim import media
from qpidha.testing.sim.content import Content
from qpidha.types import QueueSpec
from qpidha.wire.batch import Batch

QUEUE = UUID(int=7)
TRIES = 40


def filled() -> Content:
    content = Content(StoreStatus(node="P", epoch=UUID(int=1)))
    content.apply(
        [
            PutStatus(UUID(int=2), 3, primary=True),
            PutQueue(QUEUE, QueueSpec(name="q"), ((3, 1),), 1),
            *(Insert(QUEUE, SequenceSet([n]), Batch.pack([b"v%d" % n * 500])) for n in range(1, 20)),
        ]
    )
    return content


@pytest.mark.parametrize("kind", ["torn_write", "short_write", "reordered_writes"])
def test_a_transaction_is_there_or_not(kind: str) -> None:
    change = Insert(QUEUE, SequenceSet([20]), Batch.pack([b"v20" * 9000]))
    seen = {media.interrupted(filled(), [change], kind, random.Random(n)) for n in range(TRIES)}
    assert seen == {True, False}


@pytest.mark.parametrize("kind", ["bit_flip", "misdirected_write", "truncated", "lost_write"])
def test_damage_is_found_or_does_no_harm(kind: str) -> None:
    said = [media.damaged(filled(), kind, random.Random(n)) for n in range(TRIES)]
    assert sum(map(bool, said)) > TRIES // 4


def test_a_store_with_a_weaker_verification_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """The store's verification reports only the findings that stop it: the damage is missed, and that is found."""
    report = _Loading._report

    def whisper(self: _Loading, code: str, text: str) -> None:
        if code in ("status", "unreadable"):
            report(self, code, text)

    monkeypatch.setattr(_Loading, "_report", whisper)
    with pytest.raises(media.MediaError, match="D3: bit_flip"):
        for n in range(TRIES):
            media.damaged(filled(), "bit_flip", random.Random(n))
