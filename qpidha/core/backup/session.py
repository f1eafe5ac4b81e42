"""The backup's side of its one session: subscribe, stage the plan, flip, then follow operations.

    HELLO ──(Welcome)──► STAGING ──(PlanEnd)──► FLIPPING ──(one transaction)──► FOLLOWING
                          ▲ ▲                                                       │
                          │ └───────────────────(Resubscribe, C7)───────────────────┘
                          └──(GroupsDiffer)── COMPARING: comes before STAGING if there are many queues (C8)

Between Subscribe and PlanEnd nothing is applied (C1). What arrives is staged: invisible, volatile, gone
with the session. The flip makes this node equal to the primary at one position, in one transaction over
all queues, and only then acknowledges (C5).

Describing and flipping visit every queue, so both are done in slices (`Settings.queues_per_slice`).
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from uuid import UUID

from qpidha.core.backup.applying import Applier, Flow
from qpidha.core.backup.describing import Digests, description_count, descriptions
from qpidha.core.backup.flip import Flip
from qpidha.core.backup.kept import Kept
from qpidha.core.backup.operations import check_lineage
from qpidha.core.backup.planned import Planned
from qpidha.core.backup.staging import Staging
from qpidha.core.births import configuration_id
from qpidha.core.configuration import check_objects
from qpidha.core.keyed import KeyedQueue
from qpidha.core.legality import FollowerState
from qpidha.core.local import LocalQueues
from qpidha.core.outbox import Outbox
from qpidha.core.policy import check_policy, planned_policy, policy_in
from qpidha.core.quarantine import Quarantined
from qpidha.core.queue import ReplicatedQueue
from qpidha.core.queues import Queues
from qpidha.errors import RemoteProtocolError
from qpidha.journal import PutStatus
from qpidha.settings import Settings
from qpidha.types import Generation, NodeId, Position, QueueId
from qpidha.wire.events import (
    Acknowledged,
    Event,
    Frame,
    Operations,
    PlanDrop,
    PlanEnd,
    PlanMessages,
    PlanQueue,
    PlanWithdraw,
    Progress,
    Subscribe,
)
from qpidha.wire.groups import GroupsDiffer, SubscribeRest
from qpidha.wire.version import DIGESTS_SINCE, PROTOCOL_MAX

DIGESTED_PER_STEP = 8
"""To make the digest of a queue costs about this much less than to describe it."""


class FollowerSession:
    """One session with one primary, over one link."""

    def __init__(
        self,
        *,
        link: int,
        node: NodeId,
        primary: NodeId,
        generation: Generation,
        cluster: UUID,
        queues: Queues,
        local: LocalQueues,
        quarantined: Quarantined,
        outbox: Outbox,
        settings: Settings,
        flow: Flow,
        version: int = PROTOCOL_MAX,
    ) -> None:
        self.link = link
        self._node = node
        self.primary = primary
        self.generation = generation
        self.sid = 0
        self.state = FollowerState.HELLO
        self.position: Position = 0
        self.established = False
        """The primary has sent Established: every member has the history that this session follows (W2)."""
        self.flow = flow
        self.cluster = cluster
        self._objects = configuration_id(cluster)
        self._queues = queues
        self._local = local
        self._quarantined = quarantined
        self._out = outbox
        self._settings = settings
        self._applier = Applier(queues, local, self._objects, outbox, flow, generation)
        self._plan: dict[QueueId, Planned] = {}
        self._staging = Staging(queues.bodies, outbox)
        self._version = version
        self._chunks = 0
        self._subscribed_as = (UUID(int=0), 0)
        """Epoch and stored generation that go with the digests."""
        self._digests: Digests | None = None
        """Those of this session, until the primary has said which groups differ."""
        self._kept: Kept | None = None
        """The queues of the groups that do not; None: all queues are described."""
        self._undescribed = 0
        """How many events are still to be sent."""
        self._descriptions: Iterator[Event] | None = None
        """The descriptions of this node's queues that are still to be sent; None: all were sent."""
        self._flip: Flip | None = None

    # --- slices ----------------------------------------------------------------------------------

    @property
    def unfinished(self) -> bool:
        """Work is left that can go on with the next slice, without any input."""
        digesting = self._digests is not None and not self._digests.done
        return digesting or self._descriptions is not None or self._flip is not None

    @property
    def flipping(self) -> bool:
        """The plan is being applied, in slices: a queue may have its next id, and not yet all its messages."""
        return self._flip is not None

    @property
    def staged(self) -> int:
        """Queues in the plan so far, plus the changes that its flip has made so far; 0 after the flip."""
        return len(self._plan) + (len(self._flip.result.changes) if self._flip else 0)

    def advance(self) -> None:
        """One slice of the work. Raises `RemoteProtocolError` if the plan contradicts itself."""
        if self._digests is not None and not self._digests.done:
            self._digest_more(self._settings.queues_per_slice)
        if self._descriptions is not None:
            self._describe_more(self._settings.queues_per_slice)
        if self._flip is not None:
            self._flip_more(self._settings.queues_per_slice)

    def finish(self) -> None:
        """Complete the flip that has begun: the session is about to end. Raises what `advance` raises."""
        assert self._flip is not None
        self._flip.finish()
        self._flipped()

    def end(self) -> None:
        """What is staged is forgotten (C5)."""
        self._out.persist(*self._staging.end(self._plan))
        self._plan = {}

    # --- subscribing -----------------------------------------------------------------------------

    def subscribe(self, sid: int, epoch: UUID, stored: Generation, key: bytes) -> None:
        """Tell the primary everything it needs to plan: lineages, next ids, held ids (C1, C4).

        Of more queues than one digest is for, that is a digest of each group first (C8). ``key``: of the digests.
        """
        self.sid = sid
        self.established = False
        self.end()
        self._kept, self._flip = None, None
        self._chunks = 0
        self._digests, self._descriptions = None, None
        per_digest = self._settings.queues_per_digest
        if self._version >= DIGESTS_SINCE and len(self._queues) > per_digest:
            self.state = FollowerState.COMPARING
            self._subscribed_as = (epoch, stored)
            self._digests = Digests(self._queues, per_digest, key)
            self._digest_more(self._settings.queues_per_slice)
            return
        count = description_count(self._queues.values(), self._settings.ids_runs_per_chunk_max)
        self._send(Subscribe(epoch=epoch, stored_generation=stored, queues=count))
        self._describe(self._queues.values(), count)

    def _digest_more(self, queues: int) -> None:
        assert self._digests is not None
        self._digests.advance(DIGESTED_PER_STEP * queues)
        if self._digests.done:
            self._send(self._digests.event(*self._subscribed_as))

    def groups_differ(self, event: GroupsDiffer) -> None:
        """Describe the queues of these groups, and keep all others (C8)."""
        if self._digests is None or not self._digests.done:
            raise RemoteProtocolError("GroupsDiffer before SubscribeGroups")
        self._kept = Kept(self._queues, self._digests.groups, event.groups)
        self._digests = None
        described = self._kept.described
        count = description_count(described, self._settings.ids_runs_per_chunk_max)
        self._send(SubscribeRest(queues=count))
        self._describe(described, count)

    def _describe(self, queues: Iterable[ReplicatedQueue], count: int) -> None:
        self.state, self._undescribed = FollowerState.STAGING, count
        self._descriptions = descriptions(queues, self._settings.ids_runs_per_chunk_max)
        self._describe_more(self._settings.queues_per_slice)

    def _describe_more(self, events: int) -> None:
        assert self._descriptions is not None
        for event in itertools.islice(self._descriptions, events):
            self._send(event)
            self._undescribed -= 1
        if not self._undescribed:  # The answer to the last one may come before the next slice.
            self._descriptions = None

    def _send(self, event: Event) -> None:
        self._out.send(self.link, Frame(self.generation, self.sid, event))

    # --- receiving -------------------------------------------------------------------------------

    # Each method handles one legal event of this session and generation, and raises `RemoteProtocolError` if the event
    # contradicts earlier ones.

    def plan_queue(self, event: PlanQueue) -> None:
        """Take the plan of one queue; a later one of the same queue replaces it."""
        check_lineage(event, self.generation)
        self._planned(event.queue).meta = event

    def plan_drop(self, event: PlanDrop) -> None:
        """Add to the held, or the staged, messages that the flip drops."""
        planned = self._planned(event.queue)
        gone = planned.staged_drop if event.staged else planned.drop
        gone |= event.ids

    def plan_withdraw(self, event: PlanWithdraw) -> None:
        """Forget what the plan said of a queue: it was deleted since (Q9)."""
        if (planned := self._plan.pop(event.queue, None)) is not None:
            self._staging.withdraw(event.queue, planned)
        kept = self._kept is not None and self._kept.withdraw(event.queue)
        if planned is None and not kept:
            raise RemoteProtocolError(
                f"queue {event.queue} is withdrawn from the plan, which does not name it"
            )

    def _planned(self, queue: QueueId) -> Planned:
        planned = self._plan.get(queue)
        if planned is None:
            if len(self._plan) > self._settings.queues_max:  # And the configuration.
                raise RemoteProtocolError(f"more than {self._settings.queues_max} queues")
            planned = self._plan[queue] = Planned()
        return planned

    def plan_messages(self, event: PlanMessages) -> None:
        """Stage messages: they become visible with the flip (C5). Answered with `Progress`."""
        if event.queue == self._objects:
            check_objects(event.batch)
            if (policy := policy_in([event.batch])) is not None:  # It is checked before the rest is sent.
                check_policy(policy, self.primary, self._settings.replicate, self._node)
        planned = self._planned(event.queue)
        if not event.ids.isdisjoint(planned.staged_ids):
            raise RemoteProtocolError("a message was staged twice")
        kept = event.queue == self._objects
        self._staging.add(event.queue, planned, event.generation_of, event.ids, event.batch, kept=kept)
        self._chunks += 1
        self.flow.resync_messages += len(event.batch)
        self.flow.resync_bytes += event.batch.nbytes
        self._send(Progress(chunks=self._chunks))

    def _check_policy(self, planned: Planned) -> None:
        """Raise `HandshakeError` if this node gives names other levels than the primary does."""
        known = self._queues.get(self._objects)
        objects = known if isinstance(known, KeyedQueue) else None
        policy = planned_policy(objects, planned.drop, [piece.body for piece in planned.staged])
        check_policy(policy, self.primary, self._settings.replicate, self._node)

    def plan_end(self, end: PlanEnd) -> None:
        """Become equal to the primary, in one transaction, then acknowledge (C5)."""
        if self._descriptions is not None:
            raise RemoteProtocolError(f"PlanEnd while {self.state.name}")  # It cannot know all queues yet.
        self._check_policy(self._plan.get(self._objects, Planned()))
        self._flip = Flip(
            self._queues,
            self._local,
            self._plan,
            end.queues,
            self._quarantined,
            self._objects,
            self.generation,
            self._kept,
            self._staging,
        )
        self.state = FollowerState.FLIPPING
        self.position = end.position
        self._flip_more(self._settings.queues_per_slice)

    def _flip_more(self, steps: int) -> None:
        assert self._flip is not None
        self._flip.advance(steps)
        if self._flip.done:
            self._flipped()

    def _flipped(self) -> None:
        assert self._flip is not None
        result, self._flip, self._plan, self._kept = self._flip.result, None, {}, None
        self._out.persist(*result.changes, PutStatus(self.cluster, self.generation, primary=False))
        for notice in result.notices:
            self._out.notify(notice)
        self._out.notify(result.resynchronised)
        self.state = FollowerState.FOLLOWING
        self.flow.resyncs += 1
        self._acknowledge()

    def _acknowledge(self) -> None:
        frame = Frame(self.generation, self.sid, Acknowledged(position=self.position))
        self._out.acknowledge(self.link, frame)

    # --- following -------------------------------------------------------------------------------

    def apply(self, event: Operations) -> None:
        """Apply operations in order; the acknowledgement follows their transaction (C6)."""
        if event.first != self.position + 1:
            raise RemoteProtocolError(f"operation {event.first} after {self.position}")
        for operation in event.operations:
            self._applier.apply(operation)
            self.position += 1
        self._acknowledge()
