"""Comparing groups of queues by digests: what a digest covers, and what changes after it was compared."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

GROUPS = "qpidha/core/groups.py"
COMPARISON = "qpidha/core/primary/comparison.py"
BACKUP_SESSION = "qpidha/core/primary/session.py"
KEPT = "qpidha/core/backup/kept.py"

COMPARED: tuple[Mutant, ...] = (
    # --- what is covered
    Mutant(
        name="digest-without-lineage",
        rules="C8 N1 I1",
        why="a digest covers next and the held ids, and not which generation gave them out",
        file=GROUPS,
        old="known, lineage = queue.lineage, _lineage_bytes(queue.lineage)",
        new="known, lineage = queue.lineage, _lineage_bytes(())",
        first="core/test_groups",
    ),
    Mutant(
        name="digest-without-next",
        rules="C8 N2",
        why="a digest covers what is held, and not which ids were given out",
        file=GROUPS,
        old="pack(uuid, queue.next,",
        new="pack(uuid, 0,",
        first="core/test_groups",
    ),
    Mutant(
        name="digest-without-held",
        rules="C8 C4",
        why="a digest covers the history of a queue, and not which messages are left",
        file=GROUPS,
        old="spec, held = queue.spec, queue.held.encode()",
        new='spec, held = queue.spec, b""',
        first="core/test_groups",
    ),
    Mutant(
        name="digest-without-spec",
        rules="C8",
        why="a digest does not cover name and kind of a queue",
        file=GROUPS,
        old="named = _kind_bytes(spec.settle, spec.kind) + spec.name.encode()",
        new='named = b""',
        first="core/test_groups",
    ),
    Mutant(
        name="digest-without-key",
        rules="C8",
        why="digests are made without the key: who names queues can prepare two groups that have the same one",
        file=GROUPS,
        old="blake2b(text, digest_size=DIGEST_BYTES, key=key)",
        new="blake2b(text, digest_size=DIGEST_BYTES)",
        first="core/test_groups",
    ),
    Mutant(
        name="one-key-for-all-sessions",
        rules="C8",
        why="the key of the digests is the same in each session",
        file=GROUPS,
        old='boot.bytes + session.to_bytes(8, "little")',
        new="boot.bytes",
        first="core/test_groups",
    ),
    Mutant(
        name="stale-text",
        rules="C8",
        why="the ids in the text of a queue are kept from its first comparison on, whatever changed since",
        file=GROUPS,
        old="held = queue.spec, queue.held.encode()",
        new="held = queue.spec, joined.__dict__.setdefault(queue.queue, queue.held.encode())",
        first="primary/test_comparison",
    ),
    Mutant(
        name="lineage-of-the-first-queue",
        rules="C8",
        why="the digest of a group has the lineage of its first queue in place of that of each",
        file=GROUPS,
        old="        if queue.lineage is not known:",
        new="        if not known:",
        first="core/test_groups",
    ),
    Mutant(
        name="equal-without-a-history",
        rules="C8 G1",
        why="messages older than the lineage are taken for equal because their ids are",
        file=COMPARISON,
        old="            if begins != 1 and not knows_all(q.lineage, q.next, q.held):",
        new="            if False:",
        first="primary/test_comparison",
    ),
    # --- what changes afterwards
    Mutant(
        name="equal-though-changed-since",
        rules="C8 C4 R-a",
        why="what changes between the comparison of a group and the rest of the subscription is in no plan",
        file=BACKUP_SESSION,
        old="        if self._visits is not None:  # Else",
        new="        if self._visits is not None and self.state is SessionState.CATCHING_UP:  # Else",
        first="primary/test_session",
    ),
    Mutant(
        name="changed-and-unknown",
        rules="C8 C4",
        why="a queue of an equal group that changes is planned as if the backup had nothing of it",
        file=COMPARISON,
        old="        return None if text is None else history_in(text, queue)\n",
        new="        return None\n",
        first="primary/test_comparison",
    ),
    Mutant(
        name="equal-and-deleted-stays",
        rules="C8 Q9",
        why="a queue of an equal group that is deleted during the catch-up is not withdrawn",
        file=BACKUP_SESSION,
        old="        described = self._known(queue)\n        if described is not None and described.told:\n",
        new="        described = self._described.get(queue)\n        if described is not None and described.told:\n",
        first="test_many_queues",
    ),
    Mutant(
        name="withdrawn-and-kept",
        rules="C8 Q9",
        why="a backup keeps a queue of an equal group although the primary took it back",
        file=KEPT,
        old="        self._withdrawn[queue] = self._queues[queue]\n",
        new="",
        first="backup/test_kept",
    ),
    Mutant(
        name="equal-and-described",
        rules="C8 Z2",
        why="a backup may describe a queue whose group was found equal",
        file=BACKUP_SESSION,
        old="            self._comparison.check_described(event.queue)\n",
        new="            pass\n",
        first="primary/test_session",
    ),
)
