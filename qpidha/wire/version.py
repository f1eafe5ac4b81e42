"""Protocol versions: which ones this library speaks, and how two ends agree on one.

The backup offers a range in Hello; the primary picks the highest version that both speak and names it
in Welcome, or refuses. Every later frame on the link has the layout of that version.

Rules for a new version, so that any two releases can at least say why they do not understand each other:

  V1  the frame header, Refused, and the fields of Hello that version 1 has never change
  V2  a later version may append fields to Hello; a receiver ignores them if the sender's
      ``version_max`` is above its own, and refuses them otherwise
  V3  everything else may change with the version, because it is sent after the version is agreed
  V4  a kind number is never used again for something else

Version 2 added the limits of both ends to Hello and Welcome.
Version 3 added the parts Copy and Drop, and PlanWithdraw.
Version 4 enters a generation in a lineage with the first id that it gives out (P3).
Version 5 compares groups of queues by digests (C8).
"""

from __future__ import annotations

from qpidha.errors import VersionMismatch

__all__ = [
    "DELETION_SINCE",
    "DIGESTS_SINCE",
    "ENTRIES_SINCE",
    "LIMITS_SINCE",
    "PROTOCOL_MAX",
    "PROTOCOL_MIN",
    "negotiate",
]

PROTOCOL_MIN = 1
PROTOCOL_MAX = 5
LIMITS_SINCE = 2
"""The version from which on Hello and Welcome end with limits."""
DELETION_SINCE = 3
"""The version from which on queues can be deleted, and messages copied without their content."""
ENTRIES_SINCE = 4
"""The version from which on a backup enters the generation in a lineage with the first id that an operation gives out."""
DIGESTS_SINCE = 5
"""The version from which on a backup may send digests of groups of queues in place of their descriptions."""


def negotiate(version_min: int, version_max: int, *, here: str = "this node", there: str = "the peer") -> int:
    """The highest version that both this library and a peer with this range speak.

    ``here`` and ``there`` are what the error calls the two.

    Raises:
        VersionMismatch: There is none, or ``version_min`` is above ``version_max``.

    >>> negotiate(1, 7)
    5
    """
    chosen = min(version_max, PROTOCOL_MAX)
    if version_min > version_max or chosen < max(version_min, PROTOCOL_MIN):
        raise VersionMismatch(
            f"{there} speaks protocol versions {version_min} to {version_max}, "
            f"{here} {PROTOCOL_MIN} to {PROTOCOL_MAX}"
        )
    return chosen
