"""Updates of messages: places in the order, and ids that were replaced."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

COPIES = "qpidha/core/copies.py"
DRAFT = "qpidha/core/primary/draft.py"
FIFO = "qpidha/queues/fifo.py"
CLIENTS = "qpidha/core/primary/clients.py"
QUEUE = "qpidha/core/queue.py"
REPLACEMENTS = "qpidha/core/primary/replacements.py"
UPDATE_STEP = "qpidha/node/consuming.py"

UPDATES: tuple[Mutant, ...] = (
    Mutant(
        name="accept-of-a-replaced-id-ignored",
        rules="U2 S3",
        why="an accept that names an id which an update has replaced is confirmed, and accepts nothing",
        file=CLIENTS,
        old="        gone = held.remove(self.replaced.accepted(held, ids))\n",
        new="        gone = held.remove(ids)\n",
        first="primary/test_replacements",
    ),
    Mutant(
        name="moved-away-and-settled",
        rules="U2 S3",
        why="an accept of a message that was moved to another queue is confirmed",
        file=REPLACEMENTS,
        old="        if gone := self._gone(queue, missing):\n",
        new="        if (gone := self._gone(queue, missing)) and not missing:\n",
        first="primary/test_replacements",
    ),
    Mutant(
        name="ids-in-between-unknown",
        rules="U2 S3",
        why="of a message that was updated twice, the id between the two updates means nothing",
        file=REPLACEMENTS,
        old="        for id in ids & places.ids:\n            known.places",
        new="        for id in ids - places.ids:\n            known.places",
        first="primary/test_replacements",
    ),
    Mutant(
        name="forgotten-and-settled",
        rules="U2 S3",
        why="ids of held messages that are forgotten, because there are too many, are taken for consumed",
        file=REPLACEMENTS,
        old="        known.away |= SequenceSet(oldest)\n",
        new="",
        first="primary/test_replacements",
    ),
    Mutant(
        name="commit-without-the-successor",
        rules="U2 TX9 S3",
        why="a commit that takes an updated message by an old id is done, and leaves the message in the queue",
        file=DRAFT,
        old="        return held | SequenceSet(follow.values())\n",
        new="        return held\n",
        first="primary/test_replacements",
    ),
    Mutant(
        name="release-of-a-replaced-id-lost",
        rules="U2",
        why="a message that was updated while a consumer had it stays held for ever when it is released",
        file=FIFO,
        old="        back = self.queue.places(ids) & self._acquired\n",
        new="        back = ids & self._acquired\n",
        first="conformance/test_queue",
    ),
    Mutant(
        name="successor-for-another-consumer",
        rules="U2 U1 S4",
        why="messages are read in the order of their ids: an updated one comes again, to another consumer",
        file=QUEUE,
        old="        plain = self.places is None\n",
        new="        plain = self.places is None or place > 0\n",
        first="core/test_places",
    ),
    Mutant(
        name="reading-on-from-an-id",
        rules="U2 S4",
        why="after an updated message, a consumer goes on at its new id: those in between are never delivered",
        file=FIFO,
        old="            self._cursor = places.last + 1\n",
        new="            self._cursor = taken[0].last + 1\n",
        first="conformance/test_queue",
    ),
    Mutant(
        name="moved-in-the-order-of-ids",
        rules="U1 S4",
        why="a move of updated messages puts them in the order of their ids, not of their places",
        file=DRAFT,
        old="        for part in in_order(source.queue.places, ids):\n",
        new="        for part in in_order(None, ids):\n",
        first="primary/test_replacements",
    ),
    Mutant(
        name="props-of-another-message",
        rules="U2",
        why="an update that names replaced ids gives the messages each other's props",
        file=DRAFT,
        old="        return ascending(successors.get(id, id) for id in ids)\n",
        new="        return ascending(iter(sorted(successors.get(id, id) for id in ids)))\n",
        first="primary/test_replacements",
    ),
    Mutant(
        name="publisher-chooses-a-place",
        rules="U1 U2",
        why="the order key of a published batch is its place, where another message stands",
        file=COPIES,
        old="    if not batch.columns & ORDER:\n        return batch.without_origins()\n",
        new="    if not batch.columns & ORDER or batch.columns:\n        return batch.without_origins()\n",
        first="core/test_copies",
    ),
    Mutant(
        name="props-in-the-order-of-ids",
        rules="U2",
        why="an update of a list of ids gives the props to the ids in ascending order",
        file=UPDATE_STEP,
        old="            each = [each[n] for n in sorted(range(len(ids)), key=ids.__getitem__)]\n",
        new="            each = list(each)\n",
        first="node/test_consuming",
    ),
)
