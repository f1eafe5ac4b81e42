"""The replication protocol, sans-I/O: no sockets, clock, threads, randomness, logging or broker calls.

Time comes in as ``now``, ids and random values as arguments; effects go out as a `Ready`. Rules are
named where the code keeps them (C5, J2, …) and explained in ``docs/protocol.md``.

A broker that has its own event loop imports these names, together with `qpidha.driver`:

    Replica      one node's part in the protocol: inputs are methods, effects come out of `Replica.ready`
    Ready        one batch of effects, in the order in which they must be performed
    requests     CompareAndSet, ReadRecord, and their answers: Applied, Lost, NotSent, Unknown, Read
    completions  Safe, Settled, Doubtful
    notices      RoleChanged, QueueAdded, QueueRemoved, Inserted, Removed, HandOver, CloseLink;
                 what an operator should see is a `qpidha.events.NodeEvent`
    resync       History, plan_resync and judge: usable in your own protocol (``docs/parts.md``)

``docs/without-asyncio.md`` lists the duties of the program around them.
"""

from qpidha.core.manager import Answer, Applied, Lost, NotSent, Read, Unknown
from qpidha.core.ready import (
    CloseLink,
    CompareAndSet,
    Completion,
    Doubtful,
    HandOver,
    Inserted,
    Notice,
    QueueAdded,
    QueueRemoved,
    ReadRecord,
    Ready,
    Removed,
    Request,
    RoleChanged,
    Safe,
    Settled,
)
from qpidha.core.replica import Replica
from qpidha.core.resync import History, ResyncPlan, judge, plan_resync

__all__ = [
    "Answer",
    "Applied",
    "CloseLink",
    "CompareAndSet",
    "Completion",
    "Doubtful",
    "HandOver",
    "History",
    "Inserted",
    "Lost",
    "NotSent",
    "Notice",
    "QueueAdded",
    "QueueRemoved",
    "Read",
    "ReadRecord",
    "Ready",
    "Removed",
    "Replica",
    "Request",
    "ResyncPlan",
    "RoleChanged",
    "Safe",
    "Settled",
    "Unknown",
    "judge",
    "plan_resync",
]
