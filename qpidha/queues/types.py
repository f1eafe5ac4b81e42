"""The kinds of queues that the library has, and the index that each needs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Final

from qpidha.checks import FLAG
from qpidha.queues.index import FORMAT, LEVELS, MessageIndex
from qpidha.queues.properties import MSGPACK, PropertiesFormat
from qpidha.types import QueueSpec

FIFO: Final = "fifo"
"""In the order of arrival. It has no index unless it was asked for."""
PRIORITY: Final = "priority"
"""The highest priority first; within a priority in the order of arrival."""
RING: Final = "ring"
"""In the order of arrival; at its limit the oldest messages are dropped."""
LAST_VALUE: Final = "last-value"
"""In the order of arrival; a new message replaces the older ones of its key."""
DEFAULT_LEVELS: Final = 10
"""Priorities of a priority queue: 0 to 9, as in AMQP and JMS."""


def queue_types(
    props_format: PropertiesFormat = MSGPACK, *, levels: int = DEFAULT_LEVELS, fifo: bool = False
) -> Mapping[str, Callable[[QueueSpec], MessageIndex]]:
    """What to give a `Node` as ``queue_types``: the same on all nodes.

    Args:
        props_format: How to read the props of messages.
        levels: How many priorities a queue of kind "priority" has.
        fifo: Queues of kind "fifo" have an index, too: they can have limits in bytes, expiry, groups and prioritised
            consumers, and each message with props costs about a microsecond more on each node.
    """
    FORMAT("props_format", props_format)
    LEVELS("levels", levels)
    FLAG("fifo", fifo)
    types = {
        PRIORITY: partial(_index, props_format, levels, False),
        RING: partial(_index, props_format, 1, False),
        LAST_VALUE: partial(_index, props_format, 1, True),
    }
    if fifo:
        types[FIFO] = partial(_index, props_format, 1, False)
    return types


def _index(props_format: PropertiesFormat, levels: int, keyed: bool, spec: QueueSpec) -> MessageIndex:
    return MessageIndex(props_format, levels=levels, keyed=keyed)


STANDARD_TYPES: Final = queue_types()
"""Those of a node that was given no others."""
