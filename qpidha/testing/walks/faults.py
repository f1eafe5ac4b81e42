"""The faults a walk may inject, as a table of names and effects.

A fault's name is also the name of the action that injects it (`qpidha.testing.walks.chaos`), of its weight in a
walk, and of its counter: ``fault cut`` counts how often something was really cut, not how often it was tried.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class FaultKind:
    """One line of the table."""

    group: str
    name: str
    weight: float
    """How often it is drawn, relative to others; each run multiplies it by a drawn factor."""
    what: str

    @property
    def counter(self) -> str:
        """The name under which `World.counts` counts it."""
        return f"fault {self.name}"


FAULTS: Final = (
    FaultKind("network", "drop", 1.5, "a link breaks with all that was under way; both ends hear of it"),
    FaultKind("network", "duplicate", 0.7, "a backup opens a second link to its primary beside the first"),
    FaultKind(
        "network", "reorder", 0.7, "what was sent on an old link arrives after what a newer one brings"
    ),
    FaultKind("network", "delay", 1, "everything on every link takes much longer"),
    FaultKind("network", "clog", 0.7, "a direction delivers nothing, but does not look dead"),
    FaultKind("network", "cut_one_way", 1, "nothing passes in one direction; no link can be opened"),
    FaultKind("network", "cut", 2, "nothing passes between two nodes"),
    FaultKind("network", "isolate", 0.7, "one node reaches no other node, nor the cluster manager"),
    FaultKind("network", "half_open", 0.7, "one end loses a link, the other is not told"),
    FaultKind("network", "split", 0.5, "frames arrive in pieces"),
    FaultKind("network", "merge", 0.5, "several frames arrive at once"),
    FaultKind(
        "network",
        "corrupt",
        1,
        "one bit of one frame is flipped. If the frame does not show it, the checksum of the transport "
        "does: either way the link ends and nothing of the frame is taken over",
    ),
    FaultKind("network", "late_close", 0.5, "an end hears late that its link was closed"),
    FaultKind("node", "crash", 2, "kill -9; a transaction under way is durable or not"),
    FaultKind("node", "crash_unsynced", 1, "a power cut in the middle of a transaction, which is lost"),
    FaultKind("node", "pause", 1.2, "SIGSTOP"),
    FaultKind("node", "slow", 0.7, "a process that stands still most of the time"),
    FaultKind("node", "restart_empty", 0.4, "a new disk, with a new store epoch"),
    FaultKind(
        "node",
        "restart_older",
        0.3,
        "an older copy of the store, with its epoch. Corrected by difference once the node follows a "
        "primary; if it is promoted first nobody can know, and the walk is counted apart",
    ),
    FaultKind("node", "twin", 0.3, "a second process with the id of a node, and a store of its own"),
    FaultKind(
        "node", "new_version", 0.5, "a restart with a release that speaks a later protocol, too or only"
    ),
    FaultKind("time", "clock_jump", 0.6, "a pause after which the node's clock has jumped ahead"),
    FaultKind("time", "wall_clock", 0.5, "a restart whose clock counts from up to ten years before or after"),
    FaultKind("time", "timer", 0.6, "a node's clock and timers run at half to twice the speed"),
    FaultKind(
        "disk", "disk_stall", 0.7, "one transaction takes longer than a backup may take to acknowledge it"
    ),
    FaultKind("disk", "write_error", 0.3, "EIO on write: the transaction is not there, the store is dead"),
    FaultKind("disk", "sync_error", 0.3, "EIO on fsync: it is there or not, nobody knows, the store is dead"),
    FaultKind(
        "disk",
        "read_error",
        0,
        "EIO on reading a message that is not in memory: the node ends. Mixed in apart from the others",
    ),
    FaultKind("disk", "full", 0.3, "ENOSPC, until somebody makes room: the store does not open either"),
    FaultKind("disk", "short_write", 0.25, "a write stops half-way and fails"),
    FaultKind("disk", "torn_write", 0.25, "a power cut leaves the first part of a transaction"),
    FaultKind("disk", "lost_write", 0.15, "blocks of a transaction were never written, later ones were"),
    FaultKind(
        "disk", "reordered_writes", 0.25, "a power cut leaves some blocks of a transaction, in no order"
    ),
    FaultKind("disk", "bit_flip", 0.2, "one bit of the store changes"),
    FaultKind("disk", "misdirected_write", 0.15, "one block of the store lies over another"),
    FaultKind("disk", "truncated", 0.15, "the store's file ends early"),
    FaultKind("manager", "unreachable", 1, "requests of one node surely fail, its watch is silent"),
    FaultKind("manager", "lost_reply", 1, "requests are lost, answered late, twice or not at all"),
    FaultKind("manager", "promote_wrong", 1, "a node is told to become primary that must not, or lags"),
    FaultKind("manager", "promote_two", 0.7, "two nodes are told to become primary at once"),
    FaultKind("manager", "stale_watch", 1, "a node is not told of changes of the record"),
)
"""All faults. A byte stream cannot lose or repeat bytes in its middle, so loss and repetition happen between
links: a link breaks, or there are two. No rule of the core reads a wall clock, and no other clock is
compared between nodes or lives."""
