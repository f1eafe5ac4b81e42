"""What a commit has drafted so far: the queues as its steps leave them, and its actions. The base of `Drafting`."""

from __future__ import annotations

from collections.abc import Collection

from qpidha.checks import shown
from qpidha.core.births import OWN_OBJECTS
from qpidha.core.configuration import is_object_key
from qpidha.core.keyed import ConfigurationQueue, KeyedQueue
from qpidha.core.objects import OWN_SPEC, object_mismatch
from qpidha.core.primary.actions import Action, Creation, Draft, part_bytes
from qpidha.core.primary.admission import Admission
from qpidha.core.primary.localwork import LocalWork
from qpidha.core.primary.replacements import Replacements
from qpidha.core.queues import Queues
from qpidha.core.steps import QueueRef, UseSequence
from qpidha.errors import ArgumentError, UnknownQueue
from qpidha.types import Generation, Level, QueueId
from qpidha.wire.events import Copy, Declare, Dequeue, Drop, Enqueue


class Drafted:
    """The queues that the steps of one commit name, and what will be done with them."""

    def __init__(
        self,
        queues: Queues,
        configuration: ConfigurationQueue,
        generation: Generation,
        admission: Admission,
        local: LocalWork,
        replacements: Replacements,
    ) -> None:
        self._queues = queues
        self._configuration = configuration
        self._generation = generation
        self._admission = admission
        self._settings = admission.settings
        self._local = local
        self._replacements = replacements
        self._drafts: dict[QueueId, Draft] = {}
        self._declared: dict[int, QueueId] = {}
        self._use: UseSequence | None = None
        self._number = 0
        """The sequence of the next message, if each has one."""
        self._own: dict[str, QueueId | None] = {}
        """The queues of level none that the steps have declared, or deleted (None)."""
        self._owned = 0
        """How many they have declared."""
        self.actions: list[Action] = []
        self.nbytes = 0
        self.sent_bytes = 0
        """Those of ``sent``."""
        self.crosses = False
        """Messages are moved into or out of what is replicated: an accept and a publish with one outcome (LV3)."""

    @property
    def sent(self) -> list[Enqueue | Copy | Dequeue | Declare | Drop]:
        """The parts that backups get: those about what is replicated (LV2)."""
        return [action.part for action in self.actions if not action.draft.queue.local]

    @property
    def named(self) -> Collection[QueueId]:
        """The queues that the steps name, and the configuration if they change it."""
        return self._drafts.keys()

    @property
    def is_local(self) -> bool:
        """The steps name queues, and none of them is replicated."""
        return bool(self._drafts) and all(draft.queue.local for draft in self._drafts.values())

    def _add(self, action: Action, part: Enqueue | Copy | Dequeue | Declare | Drop) -> None:
        self.actions.append(action)
        nbytes = part_bytes(part)
        self.nbytes += nbytes
        if not action.draft.queue.local:
            self.sent_bytes += nbytes

    # --- queues ----------------------------------------------------------------------------------

    def _draft(self, ref: QueueRef) -> Draft:
        try:  # What is no uuid may have no hash.
            id = self._declared[ref] if isinstance(ref, int) else ref
            draft = self._drafts.get(id)
            if draft is None:
                queue = self._queues.get(id)
                draft = self._begin(id) if queue is None else Draft(queue, queue.next)
                self._drafts[id] = draft
        except (KeyError, TypeError, ValueError):
            raise UnknownQueue(f"no queue {shown(ref)}") from None
        if draft.dropped:
            raise UnknownQueue(f"queue {draft.queue.spec.name!r} is deleted by the same commit")
        return draft

    def _begin(self, id: QueueId) -> Draft:
        """A queue whose messages are this node's own; the one of its objects begins with the first of them."""
        queue = self._local.queues.get(id)
        if queue is not None:
            return Draft(queue, queue.next)
        if id != OWN_OBJECTS:
            raise KeyError(id)
        lineage = ((self._generation, 1),)
        part = Declare(queue=id, spec=OWN_SPEC, lineage=lineage, next=1)
        made = Draft(self._queues.make(id, OWN_SPEC, lineage, 1), 1)
        self._add(Creation(made, part), part)
        return made

    def _plain(self, ref: QueueRef) -> Draft:
        draft = self._draft(ref)
        if draft.is_keyed:
            raise ArgumentError(f"{draft.queue.spec.name!r} is a table: it has keys, no messages")
        return draft

    def _keyed(self, ref: QueueRef) -> Draft:
        draft = self._draft(ref)
        if not draft.is_keyed:
            raise ArgumentError(f"queue {draft.queue.spec.name!r} has no keys: it is no table")
        return draft

    def _entry(self, ref: QueueRef, key: bytes) -> Draft:
        """A keyed queue, in which a client may change this key: not the object of a queue (Q2)."""
        draft = self._keyed(ref)
        if draft.holds_objects and not is_object_key(key):
            raise ArgumentError("key must be `object_key` of a kind that is not 'queue'")
        return draft

    def _object_entry(self, ref: QueueRef, key: bytes) -> Draft:
        """The same for a put: no object of the other level has this key. Raises `ObjectMismatch`."""
        draft = self._entry(ref, key)
        if draft.holds_objects:
            own = draft.queue.local
            if not self._has(self._configuration.queue, key):
                if not own and self._has(OWN_OBJECTS, key):
                    raise object_mismatch(key, Level.NONE)
            elif own:
                raise object_mismatch(key, Level.MESSAGES)
        return draft

    def _has(self, queue: QueueId, key: bytes) -> bool:
        """The steps so far leave an object with this key there."""
        if (draft := self._drafts.get(queue)) is not None:
            return draft.id_of(key) is not None
        found = self._local.queues.get(queue) if queue == OWN_OBJECTS else self._configuration
        return isinstance(found, KeyedQueue) and found.id_of(key) is not None
