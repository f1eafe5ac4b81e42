"""Configuration, commits and replacements: one operation of many parts, and queues that were deleted."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

ACTIONS = "qpidha/core/primary/actions.py"
ADMISSION = "qpidha/core/primary/admission.py"
BACKUP_SESSION = "qpidha/core/primary/session.py"
CHECKS = "qpidha/core/backup/operations.py"
CLIENTS = "qpidha/core/primary/clients.py"
COPIES = "qpidha/core/copies.py"
DRAFT = "qpidha/core/primary/draft.py"
FLIP = "qpidha/core/backup/flip.py"
FOLLOWER_SESSION = "qpidha/core/backup/session.py"
GUARD = "qpidha/core/primary/completion.py"
PRIMARY = "qpidha/core/primary/primary.py"
QUEUE_HANDLE = "qpidha/node/queue.py"

CONFIGURATION: tuple[Mutant, ...] = (
    Mutant(
        name="put-keeps-the-old",
        rules="Q1",
        why="a put leaves the old message of its key in the queue",
        file=DRAFT,
        old="        draft.keys[key] = ids.first\n"
        "        if before is not None:\n"
        "            self._remove(draft, SequenceSet.from_range(before, before))\n",
        new="        draft.keys[key] = ids.first\n",
        first="primary/test_draft",
    ),
    Mutant(
        name="declared-without-object",
        rules="Q2",
        why="a declaration makes the queue, and no object in the configuration",
        file=DRAFT,
        old="        self._put(objects, key, value.encode())\n",
        new="        value.encode()\n",
        first="primary/test_draft",
    ),
    Mutant(
        name="object-of-a-deleted-queue",
        rules="Q2",
        why="a deletion leaves the object of the queue in the configuration",
        file=DRAFT,
        old="            self._erase(self._keyed(self._configuration.queue), object_key(QUEUE, name))\n",
        new="            pass\n",
        first="primary/test_draft",
    ),
    Mutant(
        name="one-uuid-for-two-queues",
        rules="Q3",
        why="all queues that one commit declares have the birth of the first",
        file=DRAFT,
        old="        queue = born(self._generation, objects.next, step.level)\n",
        new="        queue = born(self._generation, objects.queue.next)\n",
        first="primary/test_draft",
    ),
    Mutant(
        name="uuid-of-a-deleted-queue",
        rules="Q3 I1",
        why="the number of queues makes the uuid: a queue that is declared after a deletion has that of an older one",
        file=DRAFT,
        old="        queue = born(self._generation, objects.next, step.level)\n",
        new="        queue = born(self._generation, len(self._queues))\n",
        first="primary/test_primary",
    ),
    Mutant(
        name="born-in-any-generation",
        rules="Q3",
        why="a backup takes a declaration whose uuid names another generation",
        file=CHECKS,
        old="    if birth is not None and birth[0] != generation:\n",
        new="    if birth is not None and birth[0] > generation + 1:\n",
        first="backup/test_operations",
    ),
    Mutant(
        name="deleted-queue-handed-over",
        rules="Q4 R-b",
        why="quarantines a queue that was deleted, as every queue that the plan does not have",
        file=FLIP,
        old="        if isinstance(queue, KeyedQueue) or deleted:\n",
        new="        if isinstance(queue, KeyedQueue):\n",
        first="backup/test_flip",
    ),
    Mutant(
        name="undeclared-queue-erased",
        rules="Q4 R-c",
        why="takes a queue whose declaration was rewound for a deleted one",
        file=FLIP,
        old="        if isinstance(queue, KeyedQueue) or deleted:\n",
        new="        if isinstance(queue, KeyedQueue) or deleted is not None:\n",
        first="backup/test_flip",
    ),
    Mutant(
        name="births-are-forgotten",
        rules="Q4 R-b",
        why="the lineage of the configuration is trimmed at the front, as that of other queues",
        file="qpidha/core/primary/activation.py",
        old="lowest = None if q is self._objects else q.held.first if q.held else q.next",
        new="lowest = q.held.first if q.held else q.next",
        first="primary/test_activation",
    ),
    Mutant(
        name="deleted-queue-stays-in-quarantine",
        rules="Q5 R-g",
        why="keeps what is in quarantine although its queue lived and was deleted",
        file="qpidha/core/quarantine.py",
        old="                alive = kept.left.copy() if histories.deleted(queue) else SequenceSet()\n",
        new="                alive = SequenceSet()\n",
        first="core/test_quarantine",
    ),
    Mutant(
        name="deletion-counts-as-accept",
        rules="Q6 S1",
        why="a deletion completes what is pending in its queue, as an accept of every message would",
        file=ACTIONS,
        old="                del queues[dropped.queue]\n",
        new="                guards.dequeued(dropped.queue, queues.pop(dropped.queue).held, position)\n",
        first="primary/test_actions",
    ),
    Mutant(
        name="declared-by-another-generation",
        rules="Q7 LC2",
        why="says that a queue is declared as soon as the handle is made",
        file=QUEUE_HANDLE,
        old="        self._declared_at = 0 if primary is None else primary.position\n",
        new="        self._declared_at = 0\n",
        first="node/test_queue",
    ),
    Mutant(
        name="flip-slice-by-slice",
        rules="Q8 C5",
        why="each slice of a flip is a transaction: the configuration may be durable without the queues",
        file=FOLLOWER_SESSION,
        old="        self._flip.advance(steps)\n",
        new="        self._flip.advance(steps)\n"
        "        self._out.persist(*self._flip.result.changes)\n"
        "        self._flip.result.changes.clear()\n",
        first="unit/core",
    ),
    Mutant(
        name="planned-and-deleted-stays",
        rules="Q9",
        why="does not take back the plan of a queue that was deleted since",
        file=BACKUP_SESSION,
        old="        if described is not None and described.told:\n",
        new="        if described is None:\n",
        first="primary/test_session",
    ),
    Mutant(
        name="withdrawn-plan-is-kept",
        rules="Q9",
        why="a backup keeps what was staged for a queue that the primary took back",
        file=FOLLOWER_SESSION,
        old="        if self._plan.pop(event.queue, None) is None:\n",
        new="        if self._plan.get(event.queue) is None:\n",
        first="backup/test_session",
    ),
    Mutant(
        name="steps-one-by-one",
        rules="TX1 TX9 X1",
        why="each step of a commit is an operation: one that fails leaves those before it",
        file=CLIENTS,
        old="        draft = Drafting(queues, self.configuration, self.generation, self._admission, local, known)\n",
        new="        if type(steps) is list and len(steps) > 1:\n"
        "            each = [self._commit([s], committed=committed) for s in steps]\n"
        "            return Committed(self.position, tuple(one.made[0] for one in each))\n"
        "        draft = Drafting(queues, self.configuration, self.generation, self._admission, local, known)\n",
        first="primary/test_actions",
    ),
    Mutant(
        name="large-commit-not-planned",
        rules="TX2",
        why="an operation that no frame holds is left out, and the backups that stream are not told to subscribe",
        file=BACKUP_SESSION,
        old="            self.state = SessionState.LAGGING\n            yield Resubscribe()\n\n    def acknowledged(",
        new="            self.sent += 1\n            yield from ()\n\n    def acknowledged(",
        first="primary/test_primary",
    ),
    Mutant(
        name="taken-twice-in-a-commit",
        rules="TX4 TX9",
        why="checks each step of a commit against the queues as they were before it",
        file=DRAFT,
        old="        held = ids & draft.left\n",
        new="        held = ids & draft.queue.held\n",
        first="primary/test_draft",
    ),
    Mutant(
        name="ids-of-a-refused-commit",
        rules="TX4",
        why="a commit that is refused has used up ids of the queue",
        file=DRAFT,
        old="        if self.nbytes > most and (self._use is None or self._use.count == 0):\n",
        new="        if self.nbytes > most:\n"
        "            for draft in self._drafts.values():\n"
        "                draft.queue.next = draft.next\n",
        first="primary/test_draft",
    ),
    Mutant(
        name="commit-answered-before-it",
        rules="TX5 S1",
        why="a commit is answered when the operation before it is complete",
        file=CLIENTS,
        old="        return Committed(position, made, local=not sent)\n",
        new="        return Committed(position - 1, made, local=not sent)\n",
        first="primary/test_actions",
    ),
    Mutant(
        name="commit-accepts-at-once",
        rules="TX6 F3",
        why="an accept in a commit is settled as the queue says, also immediately",
        file=GUARD,
        old="            if committed or self._settle is Settle.REPLICATED:\n",
        new="            if self._settle is Settle.REPLICATED:\n",
        first="primary/test_actions",
    ),
    Mutant(
        name="accept-completes-a-commit",
        rules="TX7 S1",
        why="an immediate accept of a message of a pending commit completes the commit's publish",
        file=GUARD,
        old="        return self.left == 0 and not self.committed\n",
        new="        return self.left == 0\n",
        first="primary/test_actions",
    ),
    Mutant(
        name="gone-part-left-out",
        rules="TX9 S3",
        why="a commit leaves out the messages that are gone, if any is left",
        file=DRAFT,
        old="        if held == ids:\n            return held\n        check",
        new="        if held or held == ids:\n            return held\n        check",
        first="primary/test_draft",
    ),
    Mutant(
        name="updated-and-still-there",
        rules="U1 X2",
        why="an update or a move copies, and does not remove what it replaces",
        file=DRAFT,
        old="        self._remove(source, ids, target)\n        return new\n",
        new="        return new\n",
        first="primary/test_draft",
    ),
    Mutant(
        name="update-goes-to-the-end",
        rules="U1 S4",
        why="an updated message loses its place in the order",
        file=COPIES,
        old="    order = [batch.order(i) or id for i, id in enumerate(ids)] if in_place else None\n",
        new="    order = None\n",
        first="core/test_copies",
    ),
    Mutant(
        name="second-update-keeps-the-place-of-the-first",
        rules="U1 S4",
        why="the place of a message that is updated again is that of its latest copy",
        file=COPIES,
        old="    order = [batch.order(i) or id for i, id in enumerate(ids)] if in_place else None\n",
        new="    order = list(ids) if in_place else None\n",
        first="core/test_copies",
    ),
    Mutant(
        name="update-counts-as-accept",
        rules="U3 O3 S1",
        why="an update completes the pending publish of its message, as an accept does",
        file=ACTIONS,
        old="    if action.target is not None:\n",
        new="    if action.target is not None and action.target is not action.draft:\n",
        first="primary/test_actions",
    ),
    Mutant(
        name="removed-before-it-is-copied",
        rules="U5",
        why="the part that removes the source comes before the copy",
        file=DRAFT,
        old="        self._add(Insertion(target, new, batch, part), part)\n        self._remove(source, ids, target)\n",
        new="        self._remove(source, ids, target)\n        self._add(Insertion(target, new, batch, part), part)\n",
        first="primary/test_draft",
    ),
    Mutant(
        name="copy-of-nothing",
        rules="U5",
        why="a backup does not look whether it has what it is to copy",
        file=CHECKS,
        old="                _check_source(part, _outcome(queues, outcomes, part.source))\n",
        new="",
        first="backup/test_operations",
    ),
    Mutant(
        name="copies-to-older-releases",
        rules="U5",
        why="sends copies without content to backups whose release does not know them",
        file=ADMISSION,
        old="        return all(session.version >= DELETION_SINCE for session in self._sessions.values())\n",
        new="        return True\n",
        first="primary/test_admission",
    ),
    Mutant(
        name="fan-out-keeps-the-origin",
        rules="U6",
        why="a copy whose source stays has the origin of its source",
        file=COPIES,
        old="            batch = batch.without_origins()\n",
        new="            pass\n",
        first="core/test_copies",
    ),
)
