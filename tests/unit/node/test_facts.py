"""The properties of a node may be read from any thread, at any time."""

from __future__ import annotations

import pytest

from qpidha import Node, Role, SyncNode
from qpidha.node.facts import Facts
from tests.support.threads import Worker, nodes

NAMES = [name for name in vars(Facts) if not name.startswith("_")]


def test_another_thread_reads_what_the_loop_reads() -> None:
    with nodes("a") as (thread, _, (a,)):

        async def read() -> dict[str, object]:
            return {name: getattr(a, name) for name in NAMES}

        in_the_loop = thread.run(read())
        assert {name: getattr(a, name) for name in NAMES} == in_the_loop
        assert {name: getattr(a.sync, name) for name in NAMES} == in_the_loop
        assert (a.id, a.serving, a.role, a.primary) == ("a", True, Role.ACTIVE, "a")
        assert a.live == ["a"] and a.stopped is None and a.generation == 1


@pytest.mark.parametrize("name", NAMES)
def test_they_can_be_read_after_the_stop(name: str) -> None:
    with nodes("a") as (_, _, (a,)):
        a.sync.stop()
        reader = Worker(lambda: getattr(a, name))
        assert reader.join() is None


def test_they_are_the_same_properties() -> None:
    assert all(getattr(Node, name) is getattr(SyncNode, name) is getattr(Facts, name) for name in NAMES)
