"""What the bridge reports, as values. Each class says which input of the core it is for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

from qpidha.core.manager import Answer
from qpidha.core.ready import Request
from qpidha.interfaces import Decision
from qpidha.types import NodeId, NodeInfo, Versioned


@dataclass(frozen=True, slots=True)
class RecordSeen:
    """The watch shows this record: `Replica.record_seen`. Only the newest one is kept."""

    current: Versioned | None


@dataclass(frozen=True, slots=True)
class LiveSeen:
    """The nodes with a live session, and what they publish: where to connect to. Only the newest one is kept."""

    nodes: Mapping[NodeId, NodeInfo | None]
    """None: the node lives, and its info cannot be read."""


@dataclass(frozen=True, slots=True)
class Answered:
    """The answer to `Bridge.request`: `Replica.answered`."""

    request: Request
    answer: Answer


@dataclass(frozen=True, slots=True)
class Decided:
    """The promoter wants this: `Replica.promote` or `Replica.demote`. Repeated until it is done."""

    decision: Decision


@dataclass(frozen=True, slots=True)
class Retrying:
    """Something failed and is tried again: for the log. Of each cause only the newest one is kept."""

    cause: str
    """Which part failed: ``record``, ``live nodes``, ``requests``, ``session``."""
    text: str


@dataclass(frozen=True, slots=True)
class Failed:
    """A task of the bridge ended with an error that no interface allows. Stop the core and end the process."""

    error: BaseException


BridgeEvent: TypeAlias = RecordSeen | LiveSeen | Answered | Decided | Retrying | Failed
