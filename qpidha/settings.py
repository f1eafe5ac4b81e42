"""Every limit and time-out, in one place, with units in the names and relations checked.

All times are seconds on the monotonic clock. Times decide *when* something is tried, never whether
it is safe (safety R14).
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Literal

from qpidha.errors import SettingsError
from qpidha.types import NODE_ID_BYTES_MAX, QUEUE_KIND_BYTES_MAX, QUEUE_NAME_BYTES_MAX, NodeId, QueueSpec

KIB = 1024
MIB = 1024 * KIB


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Immutable; build a new one with ``dataclasses.replace``."""

    # --- links
    handshake_timeout_s: float = 5.0
    heartbeat_interval_s: float = 0.25
    heartbeat_timeout_s: float = 1.5
    """A link that is silent for this long is closed."""
    reconnect_interval_s: float = 0.05
    links_unauthenticated_max: int = 64
    link_buffer_bytes_max: int = 64 * MIB
    """A peer that does not read is cut off when this much waits for it."""

    # --- frames
    handshake_frame_bytes_max: int = 4 * KIB
    frame_bytes_max: int = 16 * MIB
    message_bytes_max: int = 8 * MIB

    # --- replication
    window_bytes_max: int = 32 * MIB
    """Streamed but not yet acknowledged by one backup. Beyond it the backup drops to catch-up (C7)."""
    window_operations_max: int = 65_536
    operations_bytes: int = 128 * KIB
    """A frame of operations is closed when it reaches this. Fits the reused receive buffer."""
    plan_chunk_bytes: int = 1 * MIB
    plan_chunks_in_flight_max: int = 8
    ids_runs_per_chunk_max: int = 65_536
    queues_max: int = 100_000

    # --- membership
    ack_timeout_s: float = 5.0
    """A member that leaves an operation unacknowledged for this long is removed by compare-and-set (J1)."""
    rejoin_timeout_s: float = 10.0
    """The same for members that have not come back since a promotion (LM5): never silently."""
    readmission_delay_s: float = 0.5
    """A removed member waits this long before it may be added again; doubles on every removal (T44)."""
    readmission_delay_max_s: float = 60.0

    # --- cluster manager
    session_ttl_s: float = 2.0
    record_timeout_s: float = 2.0
    record_retry_s: float = 0.1

    # --- store
    dirty_start: Literal["verify", "refuse"] = "verify"
    """What to do with a store that was not closed cleanly: verify it, or refuse as the base design did."""
    discard_policy: Literal["hand-over", "drop"] = "hand-over"
    discard_retry_s: float = 1.0
    """Discarded messages that the broker did not take are offered to it again after this time."""

    def __post_init__(self) -> None:
        for f in fields(self):
            value = getattr(self, f.name)
            if isinstance(value, (int, float)) and not value > 0:
                raise SettingsError(f"{f.name} must be positive, not {value!r}")
        self._require(
            self.heartbeat_interval_s * 2 <= self.heartbeat_timeout_s,
            "heartbeat_timeout_s must be at least twice heartbeat_interval_s",
        )
        self._require(
            self.message_bytes_max <= self.frame_bytes_max // 2,
            "message_bytes_max must be at most half of frame_bytes_max",
        )
        self._require(
            self.plan_chunk_bytes <= self.frame_bytes_max // 2,
            "plan_chunk_bytes must be at most half of frame_bytes_max",
        )
        self._require(
            self.handshake_frame_bytes_max <= self.frame_bytes_max,
            "handshake_frame_bytes_max must not exceed frame_bytes_max",
        )
        self._require(
            self.readmission_delay_s <= self.readmission_delay_max_s,
            "readmission_delay_s must not exceed readmission_delay_max_s",
        )
        self._require(self.dirty_start in ("verify", "refuse"), "dirty_start must be 'verify' or 'refuse'")
        self._require(
            self.discard_policy in ("hand-over", "drop"), "discard_policy must be 'hand-over' or 'drop'"
        )

    @staticmethod
    def _require(condition: bool, message: str) -> None:
        if not condition:
            raise SettingsError(message)


def check_node_id(node: NodeId) -> None:
    """Raises `SettingsError` if it could not travel."""
    _check_name("node id", node, NODE_ID_BYTES_MAX)


def check_spec(spec: QueueSpec) -> None:
    """Raises `SettingsError` if it could not travel. Any text is a queue name, as long as it is not too long."""
    _check_name("queue name", spec.name, QUEUE_NAME_BYTES_MAX)
    if spec.kind:
        _check_name("queue kind", spec.kind, QUEUE_KIND_BYTES_MAX)


def _check_name(what: str, name: str, bytes_max: int) -> None:
    try:
        size = len(name.encode())
    except UnicodeEncodeError:
        raise SettingsError(f"{what} {name[:64]!r} cannot be encoded as UTF-8") from None
    if not 1 <= size <= bytes_max:
        raise SettingsError(f"{what} has {size} bytes; 1 to {bytes_max} are allowed")
