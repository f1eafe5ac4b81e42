"""Two nodes in one process, and huey on the primary."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from huey.api import Huey
from huey_ha import ReplicatedStorage
from huey_ha.unit import QUEUE_TYPES

from qpidha import Node
from qpidha.bridge import LoopThread
from tests.support.harness import PATIENT, World
from tests.support.threads import SOON_S


@contextmanager
def cluster(*names: str) -> Iterator[list[Node]]:
    """The first node is primary."""
    thread, world = LoopThread("loop of a test"), World(PATIENT)
    try:
        for name in names:
            thread.run(world.start(name, queue_types=QUEUE_TYPES), SOON_S)
        nodes = list(world.nodes.values())
        nodes[0].sync.promote(timeout_s=SOON_S)
        for node in nodes[1:]:
            node.sync.wait_in_sync(SOON_S)
        yield nodes
    finally:
        thread.run(world.__aexit__(), SOON_S)
        thread.close()


def storage(node: Node, name: str = "huey", read_timeout: float = 0.02) -> ReplicatedStorage:
    made = ReplicatedStorage(name, node=node, read_timeout=read_timeout)
    made.promoted()
    return made


def huey_on(made: ReplicatedStorage, **options: Any) -> Huey:
    """A huey with this storage, in local time as huey's own tests have it."""
    return Huey(made.name, storage_class=lambda name: made, utc=False, **options)
