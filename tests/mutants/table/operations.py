"""Publishes, accepts and moves: what is sent, and when it is complete."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

DRIVER = "qpidha/driver.py"
GUARD = "qpidha/core/primary/completion.py"
PRIMARY = "qpidha/core/primary/primary.py"
QUEUE = "qpidha/core/queue.py"
CLIENTS = "qpidha/core/primary/clients.py"
COPIES = "qpidha/core/copies.py"

OPERATIONS: tuple[Mutant, ...] = (
    Mutant(
        name="calm-at-a-tick",
        rules="L4 J1",
        why="a tick does not end the calm: a member that is late stays in the record, and publishers wait for it",
        file="qpidha/core/replica.py",
        old="        self._calm = False\n        self._passed(now)\n        if self.primary:\n",
        new="        self._passed(now)\n        if self.primary:\n",
        first="core/test_calm",
    ),
    Mutant(
        name="calm-with-a-backup-that-lags",
        rules="C7",
        why="the short way through `ready` does not see that a backup has fallen behind meanwhile",
        file=PRIMARY,
        old="        return not self.lags\n",
        new="        return True\n",
        first="core/test_calm",
    ),
    Mutant(
        name="stale-lowest",
        rules="O4",
        why="what all members have acknowledged is not counted anew when the members change",
        file=PRIMARY,
        old="        if self._found is None or self._found[0] is not required:",
        new="        if self._found is None:",
        first="primary/test_",
    ),
    Mutant(
        name="members-only-are-sent-to",
        rules="O1",
        why="operations are not sent to those who are still joining",
        file=PRIMARY,
        old="            self._send(session, session.stream(event, self._unsealed_bytes))",
        new="            if session.member in self.membership.members:\n"
        "                self._send(session, session.stream(event, self._unsealed_bytes))",
    ),
    Mutant(
        name="gap-not-sent",
        rules="O2",
        why="ids that were skipped are not told to the backups",
        file=CLIENTS,
        old="return self.operate(SkipIds(queue=queue, first=first, last=held.next - 1))",
        new="return self.position",
    ),
    Mutant(
        name="accept-joins-what-was-sent",
        rules="O2 O3",
        why="an accept joins the newest operation after that was sent: no backup is told of it",
        file=PRIMARY,
        old="        self._unsealed, self._unsealed_bytes, self._accepting = [], 0, None\n",
        new="        self._unsealed, self._unsealed_bytes = [], 0\n",
        first="primary/test_primary",
    ),
    Mutant(
        name="unknown-id-not-counted",
        rules="O2 N2 I4",
        why="a dequeue of an id that this node never had does not raise its next id",
        file=QUEUE,
        old="        if ids and ids.last >= self.next:\n            self.next = ids.last + 1\n",
        new="",
    ),
    Mutant(
        name="move-in-two-steps",
        rules="O3 X2",
        why="a move is two operations, the dequeue first",
        file=CLIENTS,
        old="            position = self.operate(*sent, nbytes=draft.sent_bytes)\n",
        new="            for part in reversed(sent):\n"
        "                position = self.operate(part, nbytes=draft.sent_bytes)\n                self.seal()\n",
    ),
    Mutant(
        name="move-forgets-its-origin",
        rules="O3 W2 U4 A11",
        why="a moved message does not say where it came from",
        file=COPIES,
        old="        return batch.with_origins(origins)\n",
        new="        return batch\n",
        first="A11",
    ),
    Mutant(
        name="second-move-names-the-first-copy",
        rules="O3 W2 U4 A17",
        why="the origin of a message that is moved again is the place it has now",
        file=COPIES,
        old="[batch.origin(i) or (queue, generation_of(lineage, id), id) for",
        new="[(queue, generation_of(lineage, id), id) for",
        first="A17",
    ),
    Mutant(
        name="publish-keeps-an-origin",
        rules="O3 W2",
        why="a batch that is published again keeps the origin that its messages had where it comes from",
        file=CLIENTS,
        old="        batch = published(batch)\n",
        new="",
        first="unit/core",
    ),
    Mutant(
        name="move-counts-as-accept",
        rules="O3 O6 A12",
        why="a pending publish is complete as soon as its message moves",
        file=GUARD,
        old="            entry.moved.append(made)",
        new="            entry.moved.append(made)\n            entry.left = 0",
        first="A12",
    ),
    Mutant(
        name="moved-copy-forgotten",
        rules="O3 O6 A13",
        why="a publish whose message moved completes without the publish that the move made",
        file=GUARD,
        old="        if self.moved is None:\n            return 0\n",
        new="        return 0\n",
        first="A13",
    ),
    Mutant(
        name="one-acknowledgement-is-enough",
        rules="O4 S1 F3",
        why="a publish is complete when the fastest member has it",
        file=PRIMARY,
        old="            self._found = required, min([acked.get(m, 0) for m in required])",
        new="            self._found = required, max([acked.get(m, 0) for m in required])",
        first="T03",
    ),
    Mutant(
        name="answered-before-own-disk",
        rules="O4 D6",
        why="clients are answered before this node's transaction is durable",
        file=DRIVER,
        old="                if ready.persist:\n",
        new="                self._perform(Ready(complete=ready.complete))\n"
        "                ready.complete = []\n                if ready.persist:\n",
        first="T35",
    ),
    Mutant(
        name="disconnect-completes",
        rules="O5 J1",
        why="a member whose link breaks is not waited for any more",
        file=PRIMARY,
        old="        if session:\n            self.membership.session_over(session.node, session.sid)\n",
        new="        if session:\n            self.membership.members -= {session.member}\n"
        "            self.membership.session_over(session.node, session.sid)\n",
        first="T03",
    ),
    Mutant(
        name="accept-completes-a-replicated-publish",
        rules="O6 S3",
        why="with settle replicated, a publish that is accepted is answered at once",
        file=GUARD,
        old="and not (immediate and entry.is_consumed):",
        new="and not entry.is_consumed:",
        first="primary/test_completion",
    ),
    Mutant(
        name="accept-does-not-delay",
        rules="O6 S3",
        why="with settle replicated, an accepted publish completes where it would have without the accept",
        file=GUARD,
        old="            if committed or self._settle is Settle.REPLICATED:\n",
        new="            if committed:\n",
        first="primary/test_completion",
    ),
    Mutant(
        name="immediate-accept-delays",
        rules="O6",
        why="with settle immediate, an accept does not complete the publish",
        file=GUARD,
        old="immediate = self._settle is Settle.IMMEDIATE",
        new="immediate = False",
        first="primary/test_completion",
    ),
    # --- the driver: nothing is said of what is not durable
    Mutant(
        name="acknowledged-before-it-is-durable",
        rules="C6 O4 R-e D6",
        why="frames, including acknowledgements, are sent before the data that they confirm are durable",
        file=DRIVER,
        old="                if ready.persist:\n",
        new="                self._perform(Ready(send=ready.send))\n                ready.send = []\n"
        "                if ready.persist:\n",
        first="T15",
    ),
    Mutant(
        name="failed-fsync-forgotten",
        rules="D6 T35",
        why="operations of a failed transaction are answered as if it had succeeded",
        file=DRIVER,
        old="                self.fail(error, ready)",
        new="                self._perform(ready)",
        first="T35",
    ),
    Mutant(
        name="last-words-of-a-dead-store",
        rules="D6 K1",
        why="a node whose store failed still performs everything that was waiting for it",
        file=DRIVER,
        old="        self._perform(without_disk(lost))\n",
        new="        self._perform(lost)\n",
        first="T35",
    ),
)
