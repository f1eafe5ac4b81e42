"""Queue types: what leaves a queue, in which order messages are delivered, and what an index must follow."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

CONSUMERS = "qpidha/queues/consumers.py"
DELIVERY = "qpidha/queues/delivery.py"
DISPATCH = "qpidha/queues/dispatch.py"
EXPIRING = "qpidha/queues/expiring.py"
GROUPS = "qpidha/queues/groups.py"
INDEX = "qpidha/queues/index.py"
INDEXED = "qpidha/core/indexed.py"
KEYS = "qpidha/queues/keys.py"
LANES = "qpidha/queues/lanes.py"
LIMITS = "qpidha/queues/limits.py"
MESSAGES = "qpidha/queues/messages.py"
SESSION = "qpidha/queues/session.py"

QUEUES: tuple[Mutant, ...] = (
    Mutant(
        name="eviction-before-the-publish",
        rules="OV1",
        why="what has to leave a full ring leaves in an operation of its own, before the publish",
        file=DELIVERY,
        old="        self._messages.leave(transaction, dropped, dead)\n",
        new="        first = self._messages.transaction()\n"
        "        self._messages.leave(first, dropped, dead)\n"
        "        first.commit()\n",
        first="test_a_ring_drops_its_oldest_message",
    ),
    Mutant(
        name="expiry-completes-a-publish",
        rules="OV2 F3",
        why="an expired message is accepted like any other: with settle immediate its pending publish is answered OK",
        file=MESSAGES,
        old="        transaction = self._node.transaction()\n"
        "        transaction.dequeue(self.queue, self.ids_at(places))\n"
        "        return transaction.commit()\n",
        new="        return self.queue.dequeue(self.ids_at(places))\n",
        first="test_an_expiry_completes_no_pending_publish",
    ),
    Mutant(
        name="newest-value-by-arrival",
        rules="S7",
        why="a value that a plan fills in below a newer one of its key counts as the newest",
        file=KEYS,
        old="            self.superseded.add(min(places.last, place))\n",
        new="            self.superseded.add(places.last)\n",
        first="test_keys",
    ),
    Mutant(
        name="superseded-for-ever",
        rules="S7",
        why="a value whose newer one was rewound stays superseded, and is dropped when its consumer gives it back",
        file=KEYS,
        old="        if places:\n            self.superseded.discard(places.last)\n        else:\n",
        new="        if not places:\n",
        first="test_keys",
    ),
    Mutant(
        name="index-keeps-the-old-level",
        rules="S4",
        why="an update that changes the priority leaves the message in its old level, too",
        file=INDEX,
        old="                places.discard(place)\n                self.moved.add(place)\n",
        new="                self.moved.add(place)\n",
        first="test_index",
    ),
    Mutant(
        name="replaced-message-empties-its-place",
        rules="U1",
        why="the index drops the place of an updated message when the old one goes",
        file=INDEXED,
        old="            empty -= self.places.taken\n",
        new="            pass\n",
        first="test_indexed",
    ),
    Mutant(
        name="the-owner-of-a-group-overtakes",
        rules="S4",
        why="the owner of a group gets a new message of it before those that wait",
        file=DISPATCH,
        old="            self._free(self._groups.take_waiting(one))\n",
        new="            pass\n",
        first="test_a_group_goes_to_one_consumer",
    ),
    Mutant(
        name="a-group-with-two-owners",
        rules="U2",
        why="a group has no owner any more when one of its messages is settled",
        file=GROUPS,
        old="            if not held:\n",
        new="            if True:\n",
        first="test_groups",
    ),
    Mutant(
        name="expired-while-a-consumer-has-it",
        rules="S3",
        why="a message expires although a consumer has it",
        file=EXPIRING,
        old="        return due - self._taken\n",
        new="        return due\n",
        first="test_what_a_consumer_has_expires",
    ),
    Mutant(
        name="accepts-what-another-consumer-has",
        rules="S5",
        why="an accept drops messages that another consumer has, or none",
        file=DISPATCH,
        old="            ids = self._without(ids, foreign)\n",
        new="            pass\n",
        first="test_an_accept_of_what_another_consumer_has",
    ),
    Mutant(
        name="due-once-only",
        rules="S7",
        why="a message that was due while a consumer had it never expires in a later term",
        file=EXPIRING,
        old="        expiry.restart()  # Consumers of an earlier term had what is marked.\n",
        new="",
        first="test_what_a_consumer_had_when_it_was_due",
    ),
    Mutant(
        name="given-back-behind-the-cursor",
        rules="S5",
        why="a message that was given back is not delivered again",
        file=LANES,
        old="            self._back |= places.slice(0, self._cursor - 1) & self.places\n",
        new="            self._back |= places.slice(self._cursor, self._cursor) & self.places\n",
        first="test_lanes",
    ),
    Mutant(
        name="a-session-gets-what-is-not-safe",
        rules="O5",
        why="the client of a session gets a message that a failover may take back",
        file=SESSION,
        old="        if place > self._safe or number in unanswered:\n",
        new="        if number in unanswered:\n",
        first="queues/test_session",
    ),
    Mutant(
        name="a-session-numbers-ids",
        rules="U1",
        why="the number of a delivery is made of the id of the message, which an update changes, not of its place",
        file=SESSION,
        old="        number = place % self._numbers + 1\n",
        new="        number = ids.first % self._numbers + 1\n",
        first="queues/test_session",
    ),
)
