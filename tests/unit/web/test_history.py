"""What the page draws is bounded, and a change of the record is noted once."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from qpidha import Node
from qpidha.errors import ArgumentError
from qpidha.events import RoleEntered
from qpidha.records import MemoryRecordStore
from qpidha.stores import MemoryStore
from qpidha.types import Role
from qpidha.web import EventLog
from qpidha.web.history import CHANGES_MAX, SAMPLES_MAX, History
from tests.support.harness import Gate, Recorder

STATUS = Node(
    "a", broker=Recorder(), store=MemoryStore(), transport=Gate(), records=MemoryRecordStore()
).status()


def test_events_are_kept_up_to_a_number_oldest_first() -> None:
    events = EventLog(events_max=2)
    for generation in (1, 2, 3):
        events(RoleEntered(Role.ACTIVE, generation))
    assert len(events) == 2
    assert [entry["line"] for entry in events.entries()] == [
        "role: active, generation 2",
        "role: active, generation 3",
    ]
    assert {entry["name"] for entry in events.entries()} == {"role"}


@pytest.mark.parametrize("number", [0, -1, True, "5", 1.5])
def test_a_wrong_number_of_events(number: int) -> None:
    with pytest.raises(ArgumentError, match="events_max"):
        EventLog(number)


def test_samples_and_changes_are_bounded() -> None:
    history = History(None)
    for generation in range(SAMPLES_MAX + 10):
        history.sample(replace(STATUS, generation=generation))
    found = history.to_dict()
    assert (len(found["samples"]), len(found["record"])) == (SAMPLES_MAX, CHANGES_MAX)
    assert found["record"][-1]["generation"] == SAMPLES_MAX + 9 and found["events"] == []
    json.dumps(found)


def test_a_change_of_the_record_is_noted_once() -> None:
    history = History(EventLog())
    for primary in ("a", "a", "b", "b", "a"):
        history.sample(replace(STATUS, primary=primary))
    assert [change["primary"] for change in history.to_dict()["record"]] == ["a", "b", "a"]
