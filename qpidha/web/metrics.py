"""A node's status as metrics of Prometheus. The node keeps plain integers; they are read at each scrape."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from qpidha.checks import integer
from qpidha.durations import BOUNDS_S, DurationCounts
from qpidha.errors import SettingsError, WrongThread
from qpidha.node import NodeStatus
from qpidha.node.health import liveness, readiness
from qpidha.types import Role

try:
    from prometheus_client.core import (
        CounterMetricFamily,
        GaugeMetricFamily,
        HistogramMetricFamily,
        InfoMetricFamily,
        Metric,
        StateSetMetricFamily,
    )
    from prometheus_client.registry import Collector
except ImportError as error:  # pragma: no cover - the tests have it.
    raise SettingsError(
        f"metrics need prometheus-client: pip install 'qpidha[prometheus]' ({error})"
    ) from error

if TYPE_CHECKING:
    from qpidha.node import Node

QUEUES_MAX = 100
"""Prometheus keeps one series for each queue and metric: by default no more queues than this have their own."""
ROLES = tuple(role.value for role in Role)
BROKER_PHASES = ("standby", "promoting", "serving", "failed", "demoting", "discarding")
HOLDS = ("disk", "backup", "catch-up", "members", "manager", "broker")


class NodeCollector(Collector):
    """A collector for a registry of ``prometheus_client``.

    Registered in a registry of yours, it may be scraped from any thread: from others than the event loop's, the call
    waits for the loop. Cost: about 20 µs a queue that is listed.
    """

    def __init__(self, node: Node, *, queues_max: int = QUEUES_MAX) -> None:
        """Nothing is read before the first scrape.

        Args:
            node: Before its start and after its stop it has metrics as well.
            queues_max: So many queues have metrics of their own, in the order of their declaration.

        Raises:
            ArgumentError: A wrong number.
        """
        integer(0, 1_000_000)("queues_max", queues_max)
        self._node = node
        self._queues_max = queues_max

    def describe(self) -> list[Metric]:
        """Nothing: a registry that it is added to does not scrape it."""
        return []

    def collect(self) -> Iterator[Metric]:
        """See ``prometheus_client.registry.Collector``."""
        status = self._status()
        yield from _node(status)
        yield from _cluster(status)
        yield from _backups(status)
        yield from _queues(status)
        yield from _waiting(status)
        yield _durations(
            "qpidha_store_commit_seconds",
            "Commits of the store, the wait for its thread included",
            status.store_commits,
        )
        yield _durations(
            "qpidha_manager_answer_seconds", "Compare-and-sets at the cluster manager", status.manager_answers
        )

    def _status(self) -> NodeStatus:
        try:
            return self._node.status(queues_max=self._queues_max)
        except WrongThread:
            return self._node.sync.status(queues_max=self._queues_max)


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(name, text, value=value)


def _node(status: NodeStatus) -> Iterator[Metric]:
    yield InfoMetricFamily(
        "qpidha_node",
        "Which node this is, in which cluster",
        value={"node": status.node, "cluster": status.cluster or "", "epoch": status.epoch},
    )
    role = "stopped" if status.stopped is not None else status.role
    yield StateSetMetricFamily("qpidha_role", "The role of the node", {name: name == role for name in ROLES})
    yield StateSetMetricFamily(
        "qpidha_broker",
        "What the broker is doing",
        {name: name == status.broker for name in BROKER_PHASES},
    )
    yield _gauge("qpidha_live", "1 unless the node has stopped or its store has failed", liveness(status).ok)
    yield _gauge(
        "qpidha_ready", "1 if the node serves, or can take over without a loss", readiness(status).ok
    )
    yield _gauge("qpidha_troubles", "Failures whose action is tried again", len(status.troubles))
    yield _gauge("qpidha_loop_stall_recent_seconds", "Longest stall of the event loop in the last minute",
                 status.loop_stall_recent_s)  # fmt: skip
    if status.certificate_days_left is not None:
        yield _gauge("qpidha_certificate_left_seconds", "Until the node's certificate expires",
                     status.certificate_days_left * 86_400)  # fmt: skip


def _cluster(status: NodeStatus) -> Iterator[Metric]:
    yield _gauge("qpidha_generation", "The newest generation that this node knows: it grows with each promotion",
                 status.generation)  # fmt: skip
    yield _gauge("qpidha_in_sync", "1 for a member of the record: it may be promoted", status.in_sync)
    yield _gauge(
        "qpidha_members", "Nodes that have every confirmed message, by the record", len(status.members)
    )
    yield _gauge("qpidha_live_nodes", "Nodes with a session at the cluster manager", len(status.live))
    yield _gauge(
        "qpidha_min_in_sync", "Members that operations need (Settings.min_in_sync)", status.min_in_sync
    )
    yield _gauge(
        "qpidha_below_min_in_sync", "1: too few members, operations are refused", status.below_min_in_sync
    )
    yield CounterMetricFamily("qpidha_operations", "Operations that this node has stored or staged in this term",
                              value=status.position)  # fmt: skip
    yield CounterMetricFamily("qpidha_operations_safe", "Operations that every member has", value=status.safe)
    yield CounterMetricFamily("qpidha_resyncs", "How often this node caught up", value=status.resyncs)
    yield CounterMetricFamily(
        "qpidha_resync_messages", "Messages received to catch up", value=status.resync_messages
    )
    yield CounterMetricFamily("qpidha_resync_bytes", "Bytes received to catch up", value=status.resync_bytes)
    yield _gauge("qpidha_quarantined_messages", "Messages in quarantine", status.quarantined)


def _backups(status: NodeStatus) -> Iterator[Metric]:
    """One series for each backup, on the primary."""
    behind = GaugeMetricFamily(
        "qpidha_backup_behind_operations", "Operations that a backup has not acknowledged", labels=["backup"]
    )
    window = GaugeMetricFamily("qpidha_backup_window_bytes", "Bytes under way to a backup", labels=["backup"])
    member = GaugeMetricFamily("qpidha_backup_in_sync", "1 for a member of the record", labels=["backup"])
    for session in status.sessions:
        behind.add_metric([session.node], session.behind)
        window.add_metric([session.node], session.window_bytes)
        member.add_metric([session.node], session.member)
    copied = GaugeMetricFamily(
        "qpidha_backup_resync_copied_bytes",
        "Of the catch-up that is under way; 0 if the backup follows",
        labels=["backup"],
    )
    left = GaugeMetricFamily(
        "qpidha_backup_resync_left_bytes", "About what that catch-up has yet to copy", labels=["backup"]
    )
    for session in status.sessions:
        copied.add_metric([session.node], session.catch_up.copied_bytes if session.catch_up else 0)
        left.add_metric([session.node], session.catch_up.left_bytes if session.catch_up else 0)
    slowed = GaugeMetricFamily(
        "qpidha_publishers_slowed_bytes_per_second",
        "To this rate, while the backup catches up",
        labels=["backup"],
    )
    for one in status.slowed:
        slowed.add_metric([one.backup], one.bytes_per_s)
    yield from (behind, window, member, copied, left, slowed)


def _queues(status: NodeStatus) -> Iterator[Metric]:
    yield _gauge("qpidha_queues", "How many queues there are", status.queue_count)
    yield _gauge("qpidha_queues_listed", "How many of them have metrics of their own", len(status.queues))
    depth = GaugeMetricFamily("qpidha_queue_messages", "Messages in a queue", labels=["queue"])
    size = GaugeMetricFamily(
        "qpidha_queue_bytes",
        "Bytes that the messages of a queue take on this node, in memory or not",
        labels=["queue"],
    )
    on_disk = GaugeMetricFamily(
        "qpidha_queue_on_disk_bytes", "Bytes of these that are only on the disk", labels=["queue"]
    )
    pending = GaugeMetricFamily(
        "qpidha_queue_pending_messages", "Publishes that are not confirmed yet", labels=["queue"]
    )
    added = CounterMetricFamily("qpidha_queue_ids", "Ids that were given out, modulo 2^32", labels=["queue"])
    for queue in status.queues:
        depth.add_metric([queue.name], queue.depth)
        size.add_metric([queue.name], queue.bytes)
        on_disk.add_metric([queue.name], queue.on_disk_bytes)
        pending.add_metric([queue.name], queue.pending)
        added.add_metric([queue.name], queue.next_id)
    yield from (depth, size, on_disk, pending, added)


def _waiting(status: NodeStatus) -> Iterator[Metric]:
    """For what the node waits: 0 where it does not."""
    held = GaugeMetricFamily(
        "qpidha_held_seconds", "For how long something has been waited for, by its kind", labels=["kind"]
    )
    longest = dict.fromkeys(HOLDS, 0.0)
    for hold in status.held_by:
        longest[hold.kind] = max(longest[hold.kind], hold.since_s)
    for kind, seconds in longest.items():
        held.add_metric([kind], seconds)
    yield held


def _durations(name: str, text: str, counts: DurationCounts) -> Metric:
    below, buckets = 0, []
    for bound, number in zip([*map(str, BOUNDS_S), "+Inf"], counts.buckets, strict=True):
        below += number
        buckets.append((bound, below))
    return HistogramMetricFamily(name, text, buckets=buckets, sum_value=counts.sum_s)
