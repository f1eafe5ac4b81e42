"""Identities, and what becomes of discarded messages."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

FLIP = "qpidha/core/backup/flip.py"
FOLLOWER = "qpidha/core/backup/follower.py"
LINEAGE = "qpidha/core/lineage.py"
REPLICA = "qpidha/core/replica.py"
DIFFERENCE = "qpidha/core/resync.py"

DISCARDS: tuple[Mutant, ...] = (
    # --- discards
    Mutant(
        name="rewound-erased",
        rules="W1 R-b",
        why="a flip erases what the primary's history never had, instead of keeping it",
        file=FLIP,
        old="((Fate.REWOUND, verdict.rewound), (Fate.UNKNOWN, verdict.unknown))",
        new="((Fate.UNKNOWN, verdict.unknown),)",
        first="T01",
    ),
    Mutant(
        name="dequeued-handed-over",
        rules="W1 S3",
        why="a message that the primary dequeued is judged to be rewound, and is handed over again",
        file=DIFFERENCE,
        old="            dequeued = rest.slice(first, last)",
        new="            dequeued = rest.slice(first, first - 1) if first > last else SequenceSet()",
        first="T10",
    ),
    Mutant(
        name="queue-deleted-by-absence",
        rules="R-f T27",
        why="a queue that the primary does not have is deleted with its messages",
        file=FLIP,
        old="        if isinstance(queue, KeyedQueue) or deleted:\n",
        new="        if True:\n",
        first="T27",
    ),
    Mutant(
        name="discard-not-logged",
        rules="W1",
        why="what a rewind discards leaves no line in the audit record",
        file=FLIP,
        old='    result.changes.append(Audit("rewound", generation, queue.spec.name, line))\n    for part',
        new="    for part",
        first="backup/test_flip",
    ),
    Mutant(
        name="handed-over-at-once",
        rules="W2 A09",
        why="hands a discarded message over before its generation is established",
        file=FOLLOWER,
        old="        self._state.begin_generation(session.generation, session.cluster)\n",
        new=(
            "        self._state.begin_generation(session.generation, session.cluster)\n"
            "        self._discards.hand_over()\n"
        ),
        first="A09",
    ),
    Mutant(
        name="established-too-early",
        rules="W2 P4",
        why="says established before the members have acknowledged the plan",
        file="qpidha/core/primary/primary.py",
        old="if not self.established and lowest >= ACTIVATION:",
        new="if not self.established:",
        first="T48",
    ),
    Mutant(
        name="alive-stays-in-quarantine",
        rules="W2",
        why="a quarantined message that lives again in the new history is handed over all the same",
        file=FLIP,
        old="        for release in self._quarantined.release_alive(self._histories):\n",
        new="        for release in ():\n",
        first="backup/test_flip",
    ),
    Mutant(
        name="alive-stays-on-the-primary",
        rules="W2",
        why="a new primary hands over what its own history has",
        file="qpidha/core/discards.py",
        old="        self._releasing = self._state.quarantined.release_alive(self._state.histories)\n",
        new="        self._releasing = iter(())\n",
        first="A09",
    ),
    Mutant(
        name="offered-once-only",
        rules="W2",
        why="a discarded message that an embedder did not take is never offered again",
        file="qpidha/core/quarantine.py",
        old="            kept.offered = False\n",
        new="            kept.offered = True\n",
        first="unit/core/test_",
    ),
    Mutant(
        name="undone-whatever-became-of-it",
        rules="W2 A16",
        why="calls a rewound copy an undone move, although its publish was rewound as well",
        file="qpidha/core/quarantine.py",
        old="    return Fate.UNDONE_MOVE if known else Fate.REWOUND",
        new="    return Fate.UNDONE_MOVE",
        first="A16",
    ),
    Mutant(
        name="rewound-beyond-the-lineage",
        rules="W1 W2 G1",
        why="what an earlier flip rewound is handed over as rewound, though the history does not reach back to it",
        file="qpidha/core/quarantine.py",
        old="had(*own, change.generation, id) is None:",
        new="had(*own, change.generation, id):",
        first="unit/core/test_",
    ),
    Mutant(
        name="rewound-without-its-queue",
        rules="W2 A18",
        why="calls a copy rewound although the queue of its origin is no longer known",
        file="qpidha/core/quarantine.py",
        old="Fate.REWOUND if histories.deleted(origin.queue) is False else Fate.UNKNOWN",
        new="Fate.REWOUND",
        first="core/test_quarantine",
    ),
    Mutant(
        name="empty-queue-has-no-history",
        rules="W2 A16",
        why="takes a queue that holds nothing for one that is not there",
        file="qpidha/core/state.py",
        old="        return None if q is None else (q.lineage, q.next)",
        new="        return (q.lineage, q.next) if q else None",
        first="A16",
    ),
    Mutant(
        name="trimmed-means-never-there",
        rules="W1 W2 G1",
        why="an origin that is older than the lineage is judged never to have been there",
        file=DIFFERENCE,
        old="    if lineage and id < lineage[0][1]:\n        return None\n",
        new="",
        first="unit/core/test_",
    ),
    # --- lineage
    Mutant(
        name="first-id-is-older",
        rules="N1",
        why="takes the first id of a generation for one of the generation before",
        file=LINEAGE,
        old="    index = bisect_right(lineage, id, key=_first_id)",
        new="    index = bisect_right(lineage, id - 1, key=_first_id)",
        first="core/test_lineage",
    ),
    Mutant(
        name="last-entry-trimmed",
        rules="G1",
        why="drops the last entry of a lineage if it is empty",
        file=LINEAGE,
        old="if i == last or lineage[i + 1][1] > e[1]]",
        new="if i != last and lineage[i + 1][1] > e[1]]",
        first="core/test_lineage",
    ),
    Mutant(
        name="trimmed-above-the-held",
        rules="G1",
        why="drops entries of a lineage whose messages are still held",
        file=LINEAGE,
        old=" and kept[drop + 1][1] <= lowest_held:",
        new=":",
        first="core/test_lineage",
    ),
)
