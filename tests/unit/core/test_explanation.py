"""The words of an explanation: each verdict has its own, and all of it fits JSON."""

from __future__ import annotations

import json
from typing import Any
from uuid import UUID

import pytest

from qpidha.core.explanation import Explanation, Kept, Owes, Place, TooFew, Verdict, Waiting
from qpidha.types import Fate, Origin

QUEUE = UUID(int=7)


def explanation(verdict: Verdict, **fields: Any) -> Explanation:
    return Explanation(node="a", verdict=verdict, queue=QUEUE, queue_name="orders", id=5, **fields)


@pytest.mark.parametrize("verdict", list(Verdict))
@pytest.mark.parametrize("as_primary", [False, True])
def test_every_verdict_has_its_words(verdict: Verdict, as_primary: bool) -> None:
    found = explanation(verdict, as_primary=as_primary, primary="b", generation=3)
    head, what = found.lines
    assert head == f"message 5 of queue 'orders', generation 3: {verdict.value}"
    assert len(what) > 20 and "{" not in what
    assert all("{" not in line for line in found.to_do)
    assert found.text.startswith(f"{head}; {what}")
    assert ("To do" in found.text) == bool(found.to_do)
    document = found.to_dict()
    assert json.loads(json.dumps(document)) == document
    assert document["verdict"] == verdict.value and document["queue"] == str(QUEUE)


def test_verdicts_do_not_share_words() -> None:
    assert len({explanation(verdict).lines[1] for verdict in Verdict}) == len(Verdict)


@pytest.mark.parametrize("owes", list(Owes))
@pytest.mark.parametrize("joining", [False, True])
def test_every_reason_to_wait_has_its_words(owes: Owes, joining: bool) -> None:
    waiting = Waiting(node="b", owes=owes, behind=3, joining=joining)
    assert waiting.text.startswith("'b'") and "3 operations behind" in waiting.text
    assert ("becoming a member" in waiting.text) == joining
    assert "node 'b'" in waiting.to_do
    found = explanation(
        Verdict.PENDING, as_primary=True, position=9, publish_pending=True, waits_for=(waiting,)
    )
    assert f"waits for {waiting.text}" in found.lines and waiting.to_do in found.to_do


def test_missing_members_are_to_be_started() -> None:
    few = TooFew(min_in_sync=3, members=("a",), missing=("b", "c"))
    assert few.text == "1 of 3 members (min_in_sync): nothing is confirmed; missing: 'b', 'c'"
    found = explanation(Verdict.PENDING, as_primary=True, position=9, too_few=few)
    assert few.text in found.lines and "start the missing nodes" in found.to_do


@pytest.mark.parametrize("fate", list(Fate))
def test_what_is_in_quarantine_says_how_certain_its_fate_is(fate: Fate) -> None:
    texts = set()
    for decided, offered in ((False, False), (True, False), (True, True)):
        kept = Kept(
            queue=QUEUE, queue_name="orders", generation=2, id=5, fate=fate, decided=decided, offered=offered
        )
        texts.add(kept.text)
        assert any(kept.text in line for line in explanation(Verdict.QUARANTINED, kept=(kept,)).lines)
    assert len(texts) == 3


def test_a_queue_without_a_name_is_shown_by_its_uuid() -> None:
    found = Explanation(node="a", verdict=Verdict.NO_QUEUE, queue=QUEUE, queue_name="", id=5)
    assert found.lines[0] == f"message 5 of queue '{QUEUE}': no-queue"


def test_a_move_says_where_from_and_where_to() -> None:
    found = explanation(
        Verdict.MOVED,
        as_primary=True,
        place=Place(queue=QUEUE, queue_name="done", id=7),
        published_as=Origin(queue=QUEUE, generation=2, id=1),
    )
    assert "it is now message 7 of queue 'done'" in found.lines
    assert f"it was published as message 1 of queue {QUEUE}, generation 2" in found.lines
    assert found.to_dict()["place"] == {"queue": str(QUEUE), "queue_name": "done", "id": 7}
