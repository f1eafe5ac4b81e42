"""The events by which a backup is compared with its primary in groups of queues (C8). Since version 5.

They take the place of `Subscribe`; what a digest is of says `qpidha.core.groups`.

    backup                                   primary
      │  SubscribeGroups ──────────────────────► │      one digest for each group of its queues
      │ ◄──────────────────────── GroupsDiffer   │      these groups are not equal to mine
      │  SubscribeRest, SubscribeQueue… ───────► │      the queues of those groups
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Final
from uuid import UUID

from qpidha.seq import SequenceSet
from qpidha.types import Generation

DIGEST_BYTES: Final = 16
KEY_BYTES: Final = 16
GROUPS_MAX: Final = 4_000
"""Their digests fit the smallest frame that a node may be configured to read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SubscribeGroups:
    """Backup → primary: open this session, as `Subscribe` does, with a digest of each group of queues (C1, C3, C8)."""

    KIND: ClassVar[int] = 19
    epoch: UUID
    stored_generation: Generation
    key: bytes
    """Of the digests. The backup draws it for this session, so that nobody can prepare two texts with one digest."""
    digests: tuple[bytes, ...]
    """Of the groups 0, 1, …"""


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupsDiffer:
    """Primary → backup: describe the queues of these groups. All others are equal: they stay as they are (C8)."""

    KIND: ClassVar[int] = 23
    groups: SequenceSet


@dataclass(frozen=True, slots=True, kw_only=True)
class SubscribeRest:
    """Backup → primary: the queues of the groups that differ follow, in this many `SubscribeQueue` frames (C8)."""

    KIND: ClassVar[int] = 24
    queues: int
