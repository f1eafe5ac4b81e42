"""Objects of the configuration in an explored cluster: marks of commits, and one that is put again and again."""

from __future__ import annotations

from qpidha.core.births import OWN_OBJECTS
from qpidha.core.configuration import object_key, read_key
from qpidha.testing.invariants.configuration import objects_of
from qpidha.testing.sim.content import Content

REPLICATED = 99
MARK = "mark"
"""Kind of the objects that mark commits; the name is the number of the message that the commit publishes."""
THING = object_key("thing", "k")
"""The key of the object that is put again and again: its content is the number of the put."""


OWN = object_key("thing", "own")
"""The key of the object of one node: its content is the number of the put."""


def mark_of(message: int) -> bytes:
    """Return the key of the object that marks the commit which publishes this message."""
    return object_key(MARK, str(message))


def marks_on(content: Content) -> int:
    """Return the marks on a disk, as bits."""
    keys = [read_key(key) for key in held(content)]
    return sum(1 << int(name) for kind, name in keys if kind == MARK)


def object_on(content: Content) -> int:
    """Return the number of the last put on a disk; -1: none."""
    return int(held(content).get(THING, b"-1"))


def own_on(content: Content) -> int:
    """Return the number of the last put of this node's own object on a disk; -1: none. 99: it is replicated."""
    own = content.local.get(OWN_OBJECTS)
    found = {m.props: m.data for m in own.held.values()} if own else {}
    return REPLICATED if OWN in held(content) else int(found.get(OWN, b"-1"))


def held(content: Content) -> dict[bytes, bytes]:
    """Return the objects on a disk, by key."""
    objects = objects_of(content)
    return {m.props: m.data for m in objects.held.values()} if objects else {}
