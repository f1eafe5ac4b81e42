"""What a state is made of: tuples of tuples, so that states are compared exactly; and the initial state."""

from __future__ import annotations

from typing import Any, NamedTuple

from tests.model.state.options import BUDGETS, CFG

NODES = 3
NO_NODE = -1
ACKED = -1
"""As a covering seq: this node has acknowledged the operation."""
NOT_COVERED = 0
BEFORE_SNAPSHOT = 1 << 30
"""As the seq of a plan: the session is catching up, nothing that it acknowledges reaches this."""

C = 0
"""The keyed queue of objects. A value there is ("q", name, uuid[, level]) or ("p", publisher, epoch, sequence)."""
A, B, NEW = 1, 2, "c"
LOCAL, OWN = 4, 5
"""Queue l, which exists on every node, its messages do not; a queue of one node alone."""
REPLICATED, CONFIGURATION, NONE = range(3)
"""Levels of replication of a queue: its messages, its existence alone, nothing."""


class Message(NamedTuple):
    key: int
    """Order key: the id, or that of the message it replaces."""
    id: int
    generation: int
    value: Any
    rev: int
    root: tuple
    """Origin: (queue, generation, id) of the first message of a chain of replacements, or ()."""


class Queue(NamedTuple):
    birth: tuple
    """(generation, id) in C of the declaration."""
    lineage: tuple
    next: int
    held: tuple
    level: int = REPLICATED


class Store(NamedTuple):
    """What a node holds: MEM now, DISK after a crash."""

    generation: int
    queues: tuple
    """(uuid, Queue), sorted."""
    epoch: int = 0


class Record(NamedTuple):
    version: int
    generation: int
    primary: int
    boot: int
    members: tuple
    """(node, store epoch)."""


class Request(NamedTuple):
    """A compare-and-set on its way to the manager."""

    node: int
    boot: int
    kind: str
    expected: int
    new: Record


class Cas(NamedTuple):
    """The one compare-and-set of a node. Status: sent, ok, fail, doubt."""

    kind: str
    expected: int
    new: Record
    status: str


class Session(NamedTuple):
    """What a primary knows of the session of one backup."""

    sid: int
    plan_seq: int
    sent: int
    acked: int
    epoch: int = 0
    described: tuple | None = None
    """chunks: the queues of the backup as it described them, until the snapshot."""
    staged: tuple = ()
    """chunks: (queue, message) sent to be staged."""
    planned: tuple = ()
    """chunks: plans of queues that were sent before the snapshot."""


class Joining(NamedTuple):
    node: int
    sid: int
    target: int
    epoch: int = 0


class Pending(NamedTuple):
    """Facts that clients are told when it is complete: see `completion.tell`."""

    facts: tuple
    cover: tuple
    """For each node: ACKED, NOT_COVERED, or the seq in its current session that covers it."""
    commit: int = 0
    order: tuple = ()
    """water: the queues in which it publishes; there it waits for the publishes before it."""


IN_TRANSACTION, LEFT = 1, 2


class Hold(NamedTuple):
    """A message that a consumer holds."""

    queue: int
    generation: int
    id: int
    root: tuple
    value: Any
    in_transaction: int = 0
    """IN_TRANSACTION: an open transaction took it. LEFT: a mutation of U2, released by the consumer, kept by the node."""


class View(NamedTuple):
    """What a primary believes (volatile)."""

    generation: int
    version: int
    members: tuple
    sessions: tuple
    joining: Joining | None
    pending: tuple
    acquired: tuple = ()
    """Holds."""
    open: tuple = ()
    """Mutations of TX1 and TX4: a commit that is half done."""


class Channel(NamedTuple):
    """Between a primary and a backup: frames down, acknowledgements (sid, seq) up."""

    sid: int
    alive: int
    to_backup: tuple
    to_primary: tuple


class Frame(NamedTuple):
    """Kinds: O operation, T a part of one that is not the last, P plan, S staged message, I plan of one queue ahead."""

    kind: str
    generation: int
    seq: int
    body: tuple


class PlanItem(NamedTuple):
    """What a plan says about one queue."""

    uuid: int
    birth: tuple
    level: int
    lineage: tuple
    next: int
    adds: tuple
    drops: tuple
    unstage: tuple


class Sent(NamedTuple):
    """What a publisher sent under a sequence: a publish (shape 0) or a commit, with the value that stands for it."""

    value: int
    publisher: int
    epoch: tuple
    sequence: int
    shape: int = 0
    taken: Hold | None = None


# A node, as a tuple in a state and as a list while an event changes it.
UP, BOOT, MEM, DISK, ROLE, VIEW, LINK, CAS, ACK_DUE, PARTS, STAGED, PLANNED = range(12)
# LINK: (primary, sid) of a backup's session. PARTS: of an operation whose last frame was not read yet. STAGED: messages,
# PLANNED: plans of queues, that the flip will need.

# What an observer of the whole cluster knows: the ghost state of the checks.
(
    GIVEN,
    TOLD,
    ACCEPTED,
    REFUSED,
    ACTIVATED,
    QUARANTINED,
    HANDED_OVER,
    TAKEN,
    DROPPED,
    OPS,
    PUBLISHED,
    TAG,
    SENT,
    CLIENTS,
) = range(14)
# TOLD: facts. TAKEN: identities that a primary dequeued. DROPPED: (uuid, value) and (uuid, None) of dropped queues.
# CLIENTS: for each publisher (epoch, last sequence it used), a tuple. All others are sets.
NO_CHANNEL = Channel(0, 0, (), ())


def channel(primary: int, backup: int) -> int:
    return primary * NODES + backup


def put_at(items: tuple, index: int, item: Any) -> tuple:
    changed = list(items)
    changed[index] = item
    return tuple(changed)


class Violation(Exception):
    """The protocol broke a promise. The first word names it."""


class World:
    """A state taken apart, so that an event can change it."""

    __slots__ = ("chans", "ghost", "inbox", "nodes", "record", "spent")

    def __init__(self, state: tuple) -> None:
        self.record: Record = state[0]
        self.inbox: tuple = state[1]
        self.nodes = [list(x) for x in state[2]]
        self.chans = list(state[3])
        self.ghost = list(state[4])
        self.spent = list(state[5])

    def freeze(self) -> tuple:
        return (self.record, self.inbox, tuple([tuple(x) for x in self.nodes]), tuple(self.chans),
                tuple(self.ghost), tuple(self.spent))  # fmt: skip

    def view(self, n: int, **changes: Any) -> View:
        """Change what primary n believes."""
        self.nodes[n][VIEW] = view = self.nodes[n][VIEW]._replace(**changes)
        return view

    def queues(self, n: int) -> dict:
        return dict(self.nodes[n][MEM].queues)

    def know(self, ghost: int, *facts: Any) -> None:
        self.ghost[ghost] |= frozenset(facts)


def initial() -> tuple:
    """Node 0 is primary of generation 1, all are members and in session; queues and publishers of the options exist."""
    store, given = initial_store()
    members = tuple((n, 0) for n in range(NODES))
    sessions = (None, *[Session(n, 0, 0, 0) for n in range(1, NODES)])
    chans = [NO_CHANNEL] * (NODES * NODES)
    nodes = []
    for n in range(NODES):
        if n:
            chans[channel(0, n)] = Channel(n, 1, (), ())
        view = None if n else View(1, 1, members, sessions, None, ())
        nodes.append((1, 0, store, store, 0 if n else 1, view, (0, n) if n else None, None, 0, (), (), ()))
    ghost: list[Any] = [frozenset()] * 14
    ghost[GIVEN] = frozenset(given)
    ghost[ACTIVATED] = frozenset([(1, 0, 0)])
    entries = {m.value[1]: m.value[2] for _, m in given if m.value[0] == "p"}
    ghost[CLIENTS] = tuple([(entries.get(p, ()), 0) for p in (1, 2)]) if CFG["dedup"] else ()
    return (Record(1, 1, 0, 0, members), (), tuple(nodes), tuple(chans), tuple(ghost), (0,) * len(BUDGETS))


def initial_store() -> tuple[Store, list]:
    """The store of every node at the start, and the identities that were given out."""
    held: list[Message] = []
    queues = []
    objects: list[tuple] = [("q", "ab"[i], i + 1) for i in range(CFG["queues"])]
    objects += [("q", "l", LOCAL, CONFIGURATION)] if CFG["levels"] & 1 else []
    for i, value in enumerate(objects, 1):
        held.append(Message(i, i, 1, value, 0, ()))
        queues.append((value[2], Queue((1, i), ((1, 1),), 1, (), value[3] if len(value) > 3 else REPLICATED)))
    if CFG["levels"] & 2:
        queues.append((OWN, Queue((), ((1, 1),), 1, (), NONE)))
    for publisher in range(1, CFG["publishers"] + 1) if CFG["dedup"] else ():
        i = len(held) + 1
        held.append(Message(i, i, 1, ("p", publisher, (1, i), 0), 0, ()))
    keyed = Queue((), ((1, 1),), len(held) + 1, tuple(held))
    return Store(1, ((C, keyed), *queues)), [(C, m) for m in held]
