"""Every limit and time-out, in one place, with units in the names; types, ranges and relations are checked.

All times are seconds on the monotonic clock. Times decide *when* something is tried, never whether
it is safe (F7). Every wait has a time-out (L1), and the memory of each session has a limit (L5).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Literal

from qpidha.checks import (
    NODE_ID,
    QUEUE_KIND,
    QUEUE_NAME,
    SECONDS,
    SECONDS_OR_ZERO,
    Rule,
    instance_of,
    integer,
    one_of,
    optional,
)
from qpidha.errors import SettingsError
from qpidha.types import QUEUE_KIND_BYTES_MAX, QUEUE_NAME_BYTES_MAX, Level, NodeId, QueueSpec, Settle

KIB = 1024
MIB = 1024 * KIB


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Immutable; build a new one with ``dataclasses.replace``."""

    # --- links
    handshake_timeout_s: float = 5.0
    """A link on which the handshake is not complete after this time is closed."""
    heartbeat_interval_s: float = 0.25
    """A node that has sent nothing on a link for this long sends a heartbeat."""
    heartbeat_timeout_s: float = 1.5
    """A link that is silent for this long is closed."""
    reconnect_interval_s: float = 0.01
    """Delay after the first failed attempt to reach the primary; doubles with every further one (with jitter)."""
    reconnect_interval_max_s: float = 10.0
    """At most this long between two attempts. Another primary, address or certificate is tried at once."""
    links_unauthenticated_max: int = 64
    """Links before their handshake at one time. Further ones are closed at once."""
    link_buffer_bytes_max: int = 64 * MIB
    """The link to a peer that does not read is closed when this many bytes wait for it."""
    link_bytes_per_s_min: int = 512 * KIB
    """The slowest link that must work. Time-outs of acknowledgements grow by the time that the bytes under way need at
    this speed: at most by (window_bytes_max + frame_bytes_max) / link_bytes_per_s_min, 96 s by default."""

    # --- frames
    handshake_frame_bytes_max: int = 4 * KIB
    """The largest frame that is read before the handshake is complete."""
    frame_bytes_max: int = 16 * MIB
    """The largest frame that is read afterwards. A backup must allow at least as much as its primary."""
    message_bytes_max: int = 8 * MIB
    """Data and properties of one message. Less than ``frame_bytes_max``; the same on all nodes, or more on backups."""
    transaction_bytes_max: int = 256 * MIB
    """What one commit may carry. One that is larger than three quarters of ``frame_bytes_max`` makes backups catch up."""

    memory_bytes_max: int | None = None
    """How many bytes of messages a node keeps in memory. Beyond this, the bytes of the oldest ones that are durable are
    dropped, and read again from the store when they are needed; their ids and sizes stay. Tables, the configuration and
    what is not durable yet stay as well. The store must be able to do so (`qpidha.interfaces.ReadableStore`), as
    `SqliteStore` is; with another one all stays in memory. None: all messages stay in memory."""

    # --- replication
    window_bytes_max: int = 32 * MIB
    """Bytes streamed to one backup that it has not acknowledged. Beyond this the backup catches up again (C7)."""
    window_operations_max: int = 65_536
    """Frames of operations that a backup has not acknowledged. Beyond this the backup catches up again (C7)."""
    operations_bytes: int = 128 * KIB
    """A frame of operations is sent when it reaches this size. The default fits the reused receive buffer."""
    plan_chunk_bytes: int = 1 * MIB
    """Approximate payload of one chunk of a catch-up."""
    plan_chunks_in_flight_max: int = 256
    """Chunks of a catch-up under way to one backup. Their bytes are limited as well, to ``window_bytes_max / 4``."""
    ids_runs_per_chunk_max: int = 65_536
    """Runs of ids in one frame. Longer sets of ids are sent in several frames."""
    replaced_ids_max: int = 65_536
    """Ids of updated messages that the primary goes on understanding, for each queue, besides one for each message that
    it holds (U2); and runs of ids of messages that were moved away. An accept of an older one raises `MessagesGone`."""
    queues_max: int = 100_000
    """Queues of one node. A primary declares no more than each of its backups allows."""
    producers_max: int = 100_000
    """Producers that may be registered. Each costs about 1 KiB of memory on every node, until it is forgotten."""
    replicate: dict[str, str] = field(default_factory=dict, hash=False)
    """How much of a queue or table the other nodes have, if its declaration does not say: patterns of names (`fnmatch`),
    each with "none", "configuration" or "messages". The first that matches counts; if none does, "messages". A pattern
    with a slash says it of objects, too: "exchange/temp.*" of those of this kind with such a name. The same on all nodes:
    a backup with other patterns than its primary's is refused. Do not change the dict."""
    queues_per_slice: int = 500
    """Work on all queues (a resynchronisation, a promotion) is done in slices of this many queues, one in each turn of
    the event loop: more queues take longer, but never block the loop for longer."""

    queues_per_digest: int = 32
    """A backup that has more queues than this describes them to its primary by digests, one for each group of about so
    many: only the queues of groups that differ are described one by one (C8). There are at most 4,000 groups."""

    gc_policy: Literal["leave", "freeze"] = "leave"
    """What to do about Python's garbage collector. "freeze": call `gc.freeze` when the store was loaded, and whenever
    the number of queues has grown by a 64th, at least by 1,000; and do not collect while the store is loaded; then
    return free memory to the system. A full collection does not look at the queues then, which would stall the event
    loop. It concerns the whole process: objects of the broker that are alive at such a moment and refer to each other
    in a cycle are never freed."""

    # --- membership
    ack_timeout_s: float = 5.0
    """A member that leaves an operation unacknowledged for this long is removed by compare-and-set (J1).
    It begins when the operation has left this node; for large messages see ``link_bytes_per_s_min``."""
    rejoin_timeout_s: float = 10.0
    """The same for members that have acknowledged nothing since a promotion (LM5): never dropped silently."""
    readmission_delay_s: float = 0.5
    """A removed member waits this long before it may be added again; doubles on every removal (T44)."""
    readmission_delay_max_s: float = 60.0
    """The longest delay before a node that was removed may become a member again: the delay doubles up to here."""

    min_in_sync: int = 1
    """So many nodes, the primary among them, must be members for it to take operations of clients, and to complete any
    (J4); the same on all nodes. n: each confirmed operation was on n nodes at that instant. The price: with fewer,
    operations are refused (`NotEnoughMembers`) and pending ones wait until enough backups have caught up again.
    1: the last member goes on alone."""
    catch_up_time_max_s: float | None = 1.0
    """While a backup catches up and would need longer than this, operations complete later than they could, so that
    publishers slow down: as much as that needs, and never to less than a quarter of the rate at which the backup takes
    copies. Nothing is refused. None: never, and a backup that publishers outrun may catch up for ever."""
    op_timeout_s: float | None = None
    """An op that is awaited for this long raises `OpTimeout`, which is an `InDoubt`; its callbacks are given it. The op
    stays pending. None: no limit. `Op.within` sets one for a single op. Time in which this process stood still does not
    count."""

    # --- cluster manager
    session_ttl_s: float = 2.0
    """The cluster manager ends the session of a node that has been silent for this long."""
    record_timeout_s: float = 2.0
    """How long a request to the cluster manager may take before its outcome counts as unknown (M2)."""
    record_retry_s: float = 0.1
    """Delay after a failed watch or session; doubles with every further failure (with jitter)."""
    record_retry_max_s: float = 2.0
    """At most this long between two attempts to watch the record, or to open a session."""

    # --- what hangs
    commit_timeout_s: float = 10.0
    """A node whose disk needs longer than this for one transaction gives up its place: its session ends, and as primary
    of several members it hands over. It takes part again when the disk has answered."""

    # --- the broker
    promote_timeout_s: float = 15.0
    """From becoming primary until ``on_promote`` has returned. Then it is cancelled, and the place is given to another
    live member; if there is none, ``on_promote`` is called again, after ``on_demote`` and a delay."""
    demote_timeout_s: float = 10.0
    """``on_demote`` is cancelled after this time. Nothing else waits for it: another node may already be primary."""
    discard_timeout_s: float = 10.0
    """``on_discarded`` is cancelled after this time, and what it was given is offered again."""
    stop_timeout_s: float = 15.0
    """`Node.stop` returns within this time, whatever hangs. Keep it below the stop time-out of your service manager."""
    hand_over_timeout_s: float = 5.0
    """A primary that was asked to hand over leaves the place to the other live members for this long."""
    unfit_delay_s: float = 60.0
    """A node whose broker did not become primary leaves the place to the other live members for this long."""

    # --- log
    log_reminder_s: float = 600.0
    """A trouble that lasts is logged again after 5 s, and then at intervals that double, up to this one."""

    # --- store
    dirty_start: Literal["verify", "refuse"] = "verify"
    """What to do with a store that was not closed cleanly: verify it, or refuse as the base design did."""
    discard_policy: Literal["hand-over", "drop"] = "hand-over"
    """``hand-over``: give discarded messages to the broker. ``drop``: erase them; the audit record names them."""
    discard_retry_s: float = 1.0
    """Discarded messages that the broker did not take are offered to it again after this time."""

    def level(self, name: str) -> Level:
        """The level of a queue or table of this name, if its declaration names none: see ``replicate``. O(patterns)."""
        for pattern, level in self.replicate.items():
            if fnmatchcase(name, pattern):
                return LEVELS[level]
        return Level.MESSAGES

    def object_level(self, kind: str, name: str) -> Level:
        """The level of an object that is new, if its put names none: see ``replicate``. O(patterns).

        Only patterns with a slash are about objects: what is before the first slash is the pattern of the kind.
        """
        for pattern, level in self.replicate.items():
            kinds, slash, names = pattern.partition("/")
            if slash and fnmatchcase(kind, kinds) and fnmatchcase(name, names):
                return LEVELS[level]
        return Level.MESSAGES

    def __post_init__(self) -> None:
        """Check every field, then what holds between them.

        Raises:
            SettingsError: It names the setting, its value and what is allowed.
        """
        for name, rule in RULES.items():
            rule(name, getattr(self, name), SettingsError)
        for low, factor, high in ORDER:
            lower, upper = getattr(self, low), getattr(self, high)
            if lower * factor > upper:
                times = f" times {factor}" if factor > 1 else ""
                raise SettingsError(f"{low} ({lower}){times} must not exceed {high} ({upper})")


FRAME_BYTES_MIN = 64 * KIB
"""Room for a declaration with the longest names."""
FRAME_BYTES_MAX = 1024 * MIB
"""Three quarters of a frame may be one batch, which must fit a value of SQLite (10⁹ bytes)."""
COUNT_MAX = 2**31 - 1

LEVELS: dict[str, Level] = {level.name.lower(): level for level in Level}
"""Levels of replication by the names that settings may use."""


REPLICATE = Rule(
    f"a dict of patterns to {', '.join(map(repr, LEVELS))}",
    lambda value: (
        type(value) is dict
        and all(type(pattern) is type(level) is str and level in LEVELS for pattern, level in value.items())
    ),
)

RULES: dict[str, Rule] = {
    "handshake_timeout_s": SECONDS,
    "heartbeat_interval_s": SECONDS,
    "heartbeat_timeout_s": SECONDS,
    "reconnect_interval_s": SECONDS,
    "reconnect_interval_max_s": SECONDS,
    "ack_timeout_s": SECONDS,
    "rejoin_timeout_s": SECONDS,
    "readmission_delay_s": SECONDS_OR_ZERO,
    "readmission_delay_max_s": SECONDS_OR_ZERO,
    "min_in_sync": integer(1, 65_536),
    "catch_up_time_max_s": optional(SECONDS),
    "op_timeout_s": optional(SECONDS),
    "session_ttl_s": SECONDS,
    "record_timeout_s": SECONDS,
    "record_retry_s": SECONDS_OR_ZERO,
    "record_retry_max_s": SECONDS,
    "commit_timeout_s": SECONDS,
    "promote_timeout_s": SECONDS,
    "demote_timeout_s": SECONDS,
    "discard_timeout_s": SECONDS,
    "stop_timeout_s": SECONDS,
    "hand_over_timeout_s": SECONDS,
    "unfit_delay_s": SECONDS,
    "log_reminder_s": SECONDS,
    "discard_retry_s": SECONDS,
    "links_unauthenticated_max": integer(1, 65_536),
    "link_buffer_bytes_max": integer(FRAME_BYTES_MIN, 2**40),
    "link_bytes_per_s_min": integer(1, 2**40),
    "handshake_frame_bytes_max": integer(2 * KIB, FRAME_BYTES_MAX),
    "frame_bytes_max": integer(FRAME_BYTES_MIN, FRAME_BYTES_MAX),
    "message_bytes_max": integer(1, FRAME_BYTES_MAX),
    "transaction_bytes_max": integer(1, 2**40),
    "memory_bytes_max": optional(integer(1, 2**50)),
    "window_bytes_max": integer(1, 2**40),
    "window_operations_max": integer(1, COUNT_MAX),
    "operations_bytes": integer(1, FRAME_BYTES_MAX),
    "plan_chunk_bytes": integer(1, FRAME_BYTES_MAX),
    "plan_chunks_in_flight_max": integer(1, 65_536),
    "ids_runs_per_chunk_max": integer(1, 65_536),
    "replaced_ids_max": integer(1, COUNT_MAX),
    "queues_max": integer(1, COUNT_MAX),
    "producers_max": integer(1, COUNT_MAX),
    "queues_per_slice": integer(1, COUNT_MAX),
    "queues_per_digest": integer(1, COUNT_MAX),
    "replicate": REPLICATE,
    "gc_policy": one_of("leave", "freeze"),
    "dirty_start": one_of("verify", "refuse"),
    "discard_policy": one_of("hand-over", "drop"),
}
"""The rule of each field. Sizes are limited by frames (32-bit lengths) and by the largest value of SQLite."""

ORDER: tuple[tuple[str, int, str], ...] = (
    ("heartbeat_interval_s", 2, "heartbeat_timeout_s"),
    ("reconnect_interval_s", 1, "reconnect_interval_max_s"),
    ("record_retry_s", 1, "record_retry_max_s"),
    ("readmission_delay_s", 1, "readmission_delay_max_s"),
    ("message_bytes_max", 2, "frame_bytes_max"),
    ("plan_chunk_bytes", 2, "frame_bytes_max"),
    ("handshake_frame_bytes_max", 1, "frame_bytes_max"),
    # A move fills three quarters of a frame; an eighth is left for operations before it, a sixteenth for ids.
    ("operations_bytes", 8, "frame_bytes_max"),
    ("ids_runs_per_chunk_max", 256, "frame_bytes_max"),
    # A link is closed when more than this waits to be sent: one frame must not be enough.
    ("frame_bytes_max", 1, "link_buffer_bytes_max"),
)
"""(a, factor, b): a times factor must not exceed b."""


def check_node_id(node: NodeId) -> None:
    """Raises `SettingsError` if the wire cannot carry this node id."""
    NODE_ID("node id", node, SettingsError)


def check_spec(spec: QueueSpec) -> None:
    """Raises `ArgumentError` if the wire or a store cannot hold it. A queue name is any text that is not too long."""
    if is_ordinary_spec(spec):
        return
    SPEC("spec", spec)
    QUEUE_NAME("queue name", spec.name)
    SETTLE("settle", spec.settle)
    QUEUE_KIND("kind", spec.kind)


def is_ordinary_spec(spec: QueueSpec) -> bool:
    """Whether the spec of nearly every queue, in ASCII, is allowed: it is checked at each of its steps to a store."""
    if type(spec) is not QueueSpec:
        return False
    name, kind = spec.name, spec.kind
    texts = type(name) is str and type(kind) is str and name.isascii() and kind.isascii()
    lengths = texts and 0 < len(name) <= QUEUE_NAME_BYTES_MAX and len(kind) <= QUEUE_KIND_BYTES_MAX
    return lengths and type(spec.settle) is Settle


def check_level(replicate: object) -> None:
    """Raises `ArgumentError` if it is no level of replication."""
    LEVEL("replicate", replicate)


SPEC = instance_of(QueueSpec)
LEVEL = instance_of(Level, what="Level.NONE, Level.CONFIGURATION or Level.MESSAGES")
SETTLE = instance_of(Settle, what="Settle.IMMEDIATE or Settle.REPLICATED")
