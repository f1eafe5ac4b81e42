"""Live, ready, serving: what each state of a node means to a service manager and to a load balancer."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from qpidha import Node
from qpidha.node import NodeStatus
from qpidha.node.health import liveness, readiness, serving
from qpidha.records import MemoryRecordStore
from qpidha.stores import MemoryStore
from tests.support.harness import Gate, Recorder


@pytest.fixture(scope="module")
def before_start() -> NodeStatus:
    return Node(
        "a", broker=Recorder(), store=MemoryStore(), transport=Gate(), records=MemoryRecordStore()
    ).status()


PRIMARY: dict[str, Any] = {"role": "primary", "broker": "serving", "in_sync": True, "primary": "a"}
BACKUP: dict[str, Any] = {"role": "backup", "broker": "standby", "primary": "b"}


@pytest.mark.parametrize(
    ("state", "live", "ready", "serves", "why"),
    [
        (PRIMARY, True, True, True, "serves as primary"),
        (
            {**PRIMARY, "below_min_in_sync": True, "min_in_sync": 2},
            True,
            False,
            False,
            "fewer than 2 members",
        ),
        ({**BACKUP, "in_sync": True}, True, True, False, "in sync with b"),
        ({**BACKUP, "in_sync": False}, True, False, False, "not in sync with b"),
        ({**BACKUP, "in_sync": True, "primary": None}, True, False, False, "no primary is known"),
        ({**PRIMARY, "broker": "promoting"}, True, True, False, "in sync with a"),
        ({**PRIMARY, "stopped": "Ctrl-C"}, False, False, False, "stopped: Ctrl-C"),
        ({**BACKUP, "in_sync": True, "store_error": "disk full"}, False, False, False, "disk full"),
    ],
)
def test_health(
    before_start: NodeStatus, state: dict[str, Any], live: bool, ready: bool, serves: bool, why: str
) -> None:
    status = replace(before_start, **state)
    found = liveness(status), readiness(status), serving(status)
    assert [health.ok for health in found] == [live, ready, serves]
    assert why in found[1].why
    assert all(health.why for health in found)
