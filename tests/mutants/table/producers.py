"""Producers: publishes and commits that are made once, however often they are repeated (EO1–EO9)."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

DRAFT = "qpidha/core/primary/draft.py"
ENTRIES = "qpidha/core/producers.py"
KEYED = "qpidha/core/keyed.py"
PUTS = "qpidha/core/primary/entries.py"
PRODUCERS = "qpidha/core/primary/producers.py"
QUARANTINE = "qpidha/core/quarantine.py"

PRODUCING: tuple[Mutant, ...] = (
    Mutant(
        name="entry-in-another-operation",
        rules="EO1",
        why="a publish is one operation, and the entry of its producer the next one",
        file=PRODUCERS,
        old="        made = self._primary.make(steps, committed=True)\n",
        new="        made = self._primary.make(steps[:-1], committed=True)\n"
        "        self._primary.make(steps[-1:])\n        made = replace(made, made=(*made.made, made.made[0]))\n",
        first="primary/test_producers",
    ),
    Mutant(
        name="rewound-entry-kept",
        rules="EO2",
        why="a flip that takes the entry of a producer away leaves what was read of it",
        file=KEYED,
        old="        self.producers.erase(key)\n",
        new="        del key\n",
        first="backup/test_flip",
    ),
    Mutant(
        name="entries-go-with-a-queue",
        rules="EO3 S3",
        why="the deletion of a queue forgets what producers have sent",
        file=DRAFT,
        old="        draft.dropped = True\n",
        new="        objects = self._keyed(self._configuration.queue)\n"
        "        for name, _ in self._configuration.producers:\n"
        "            self._erase(objects, object_key('$producer', name))\n"
        "        draft.dropped = True\n",
        first="primary/test_producers",
    ),
    Mutant(
        name="repetition-answered-at-once",
        rules="EO4 S1",
        why="a repetition of what this primary has not made itself is answered without waiting for anything",
        file=PRODUCERS,
        old="            return Published(self._primary.position, None, SequenceSet(), count)\n",
        new="            return Published(self._safe, None, SequenceSet(), count)\n",
        first="primary/test_producers",
    ),
    Mutant(
        name="repetition-overtakes-the-first",
        rules="EO4 F3",
        why="a repetition of a publish that is pending waits for the present position, not for the publish",
        file=PRODUCERS,
        old="        of_producer = self._pending.get(epoch)\n",
        new="        of_producer = self._pending.get(epoch) if number < 0 else None\n",
        first="primary/test_producers",
    ),
    Mutant(
        name="gap-is-stored",
        rules="EO5 S1",
        why="any sequence above the last one is taken for the next one",
        file=ENTRIES,
        old="        if number > entry.last + 1:\n",
        new="        if number > entry.last + 1 << 60:\n",
        first="core/test_producers",
    ),
    Mutant(
        name="known-part-stored-again",
        rules="EO5",
        why="a batch of which the first messages are known is stored whole",
        file=PRODUCERS,
        old="            given = (Batch.join(given).cut(known, count),)\n",
        new="            given = (Batch.join(given),)\n",
        first="primary/test_producers",
    ),
    Mutant(
        name="name-without-epoch",
        rules="EO6 S1",
        why="a producer is known by its name alone",
        file=ENTRIES,
        old="        if entry is None or entry.epoch != epoch:\n",
        new="        if entry is None:\n",
        first="core/test_producers",
    ),
    Mutant(
        name="epoch-comes-again",
        rules="EO6 S1",
        why="the epoch is the number of the producer: one that registers again has the epoch that it had",
        file=PUTS,
        old="    return key, ProducerEntry((generation, objects.next), 0).encode()\n",
        new="    return key, ProducerEntry((generation, len(known) + 1), 0).encode()\n",
        first="primary/test_producers",
    ),
    Mutant(
        name="forgotten-begins-anew",
        rules="EO6 X1",
        why="what an unknown producer sends is taken for its first publish",
        file=ENTRIES,
        old="            current = None if entry is None else entry.epoch\n",
        new="            current = None if entry is None else entry.epoch\n"
        "            if entry is None:\n                return 0\n",
        first="core/test_producers",
    ),
    Mutant(
        name="message-without-sequence",
        rules="EO7",
        why="a message that was published with a sequence does not carry it",
        file=DRAFT,
        old="            self._number += len(batch) if use.count else 0\n",
        new="            batch = batch.without_origins()\n",
        first="primary/test_producers",
    ),
    Mutant(
        name="used-sequence-is-rewound",
        rules="EO7 X2",
        why="a discarded message whose sequence the history has used is handed over as lost",
        file=QUARANTINE,
        old="        Fate.SEQUENCE_USED if number <= entry.last else Fate.REWOUND,\n",
        new="        Fate.SEQUENCE_USED if number < entry.last else Fate.REWOUND,\n",
        first="core/test_quarantine",
    ),
    Mutant(
        name="given-up-again-is-given-up",
        rules="EO8 S2",
        why="giving up a sequence that was used does not say that it was",
        file=PRODUCERS,
        old="        if first is None or first.queue is not None:\n"
        "            return Committed(self._primary.position, (), repeated=True)\n",
        new="        if first is None or first.queue is not None:\n"
        "            return Committed(self._primary.position, ())\n",
        first="primary/test_producers",
    ),
    Mutant(
        name="repetition-checked-first",
        rules="EO9",
        why="the steps of a repeated commit are checked before its sequence is looked up",
        file=PRODUCERS,
        old="        known = self.answer(sequence)\n        if known is not None:\n",
        new="        known = self.answer(sequence)\n        if known is not None and not steps:\n",
        first="primary/test_producers",
    ),
)
