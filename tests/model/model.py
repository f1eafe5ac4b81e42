#!/usr/bin/env python3
"""An executable model of the replication protocol: small, exact, searched. See docs/protocol.md.

The model is the specification. Change it first, search it again, then change the library. It has three
nodes, one cluster manager, one to three queues, and no clock: every message may be late, every node may be
slow, paused, killed or wiped. A *state* is a tuple of tuples; `successors` lists every event that may come
next; `check` says what must hold in every state; `heal` says what must hold once the faults end.

    python tests/model/model.py bfs  [OPTION=N ...] [-RULE ...]   every state within the budgets
    python tests/model/model.py walk [OPTION=N ...] [-RULE ...]   random walks, with larger budgets

`-RULE` removes one rule of the protocol (a *mutation*): the search must then find a violation, or the rule
is not needed. A violation is printed with its trace, shrunk to the shortest the search could find.

    python tests/model/model.py walk -add_pending settle=rep
    python tests/model/model.py walk fuzzy=1 pub=4 acc=3 crash=3 reconn=9 prom=4 rem=2 add=2 casto=2
    python tests/model/model.py bfs pub=1 rem=1 add=1 prom=2 reconn=2 acc=0 crash=0

Plain Python without dependencies; PyPy is several times faster. tests/model/README.md explains the rest.
"""

from __future__ import annotations

import random
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

# --- the rules: all of them hold in the protocol; a mutation removes one --------------------------------

RULES: dict[str, tuple[str, str]] = {
    # name: (rule in docs/protocol.md, what holds while it is on)
    "ident": ("C4 N1", "keep, drop and send compare (generation, id), not the id alone"),
    "gen_check": ("C2", "a backup refuses a primary of a generation lower than its stored one"),
    "gen_durable": ("C5", "a generation becomes durable with its first effect, or before"),
    "shrink_cas": ("J1", "a member is removed by compare-and-set before anything completes without it"),
    "shrink_fail": ("M4", "a refused removal means: step down"),
    "shrink_doubt": ("M3", "a removal in doubt counts as not done"),
    "promote_insync": ("P1", "only a member is promoted"),
    "cas_version": ("M1", "a compare-and-set compares the record's version, not only the generation"),
    "add_pending": ("J2a", "completions wait for the joiner from before the compare-and-set is sent"),
    "add_target": ("J2b", "the compare-and-set is sent only once the joiner acknowledged all sent up to t0"),
    "add_doubt": ("M2", "an addition in doubt counts as done, until a higher version resolves it"),
    "adding_cas_keep": ("J2c", "a joiner that disconnects while its addition is in flight is waited for"),
    "ack_sync": ("C6", "a backup acknowledges after its fsync"),
    "own_sync": ("O4", "the primary counts itself after its fsync"),
    "atomic_resync": ("C5", "all queues flip in one step"),
    "group": ("O3", "a move is one atomic operation"),
    "sess_ack": ("C3", "an acknowledgement counts in its own session only"),
    "new_gen": ("P2", "a restart never resumes a generation (boot id in the record)"),
    "epoch": ("J3 P1", "the record lists store epochs, not only node names"),
    "cons": ("O6", "replicated: consumed before it was replicated completes only with the dequeue"),
    "settle_wait": ("O6", "replicated: an accept is confirmed after all members acknowledged the dequeue"),
    "next_durable": ("N2", "the next id is durable, also of an empty queue"),
    "wait_all": ("P4", "after a promotion every listed member is waited for, not only the attached ones"),
    "indoubt": ("K1", "a primary that steps down answers 'in doubt', never 'refused'"),
    "plan_complete": ("C5", "the acknowledgement of the plan covers everything the plan sends"),
    "lin_atomic": ("C5 N1", "lineage and content change in one transaction"),
    "fill": ("C4", "the primary sends what the backup lacks, also below the backup's next id"),
    "order": ("C6", "filled messages stand at their place in the order"),
    "one_session": ("C1", "a backup acts on frames of its newest session only"),
    "act_gen": ("P2", "a node activates only a generation above its stored one"),
    "adopt_end": ("C4", "the plan sets the primary's lineage and next id on the backup"),
    "plan_covers": ("C3", "operations pending at the subscription are covered by the plan's acknowledgement"),
    "handover": ("W2", "what was discarded is handed over only once a generation without it is established"),
    "root_keep": (
        "O3 W2",
        "a moved message carries the identity that its first move left, through every move",
    ),
    "root_judge": ("W2", "a rewound copy is an undone move only if the history followed has its origin"),
    "root_follow": ("W2", "the origin is judged by the established history that the node follows itself"),
    "trim_unknown": ("W1 G1", "ids below the trimmed lineage are 'unknown', not 'rewound'"),
    "enter": (
        "P3",
        "a generation enters itself in a queue's lineage with the first id that it gives out there (entry=1)",
    ),
    "enter_backup": (
        "P3",
        "a backup enters the generation with the first operation that gives out an id (entry=1)",
    ),
    "lin_match": ("G2", "common point: the highest id of the same generation in both lineages"),
    "move_keep": ("O3 O6", "a move is no accept: it completes no publish that is still pending"),
    "cover": ("O2", "every id given out is covered by a frame, also if its ENQ was never sent"),
    "min_pend": ("J4", "with fewer than min members nothing is completed"),
    "min_doubt": ("J5", "a removal in flight counts as done for min"),
    # Catch-up in chunks (fuzzy=1).
    "stage_drop": ("C4", "what was staged and then dequeued is dropped by the plan"),
    "stage_fresh": ("C5", "what was staged ends with its session"),
    "stage_hidden": ("C5", "what is staged is invisible and volatile until the flip"),
    "stage_ack": ("C6", "staging is not acknowledging"),
    "stage_which": ("C4", "a drop says whether it means the held or the staged message of an id"),
    "snap_send": ("C4", "the plan sends everything that was neither held nor staged"),
    "snap_covers": ("C3", "operations made before the snapshot are covered by the plan's acknowledgement"),
}
R = dict.fromkeys(RULES, True)

OPTIONS: dict[str, tuple[Any, str]] = {
    # Variants of the protocol.
    "NQ": (1, "queues, 1 to 3; a move goes from one to the next"),
    "settle": ("imm", "imm or rep: settle immediate or replicated (O6)"),
    "sync": (0, "1: fsync is a separate event, a crash loses or keeps what is not synced"),
    "drop_old": (1, "1: a promotion removes the old primary from the members; 0: it stays"),
    "trim": (0, "1: lineages are trimmed at the front; 2: inner empty entries too (G1)"),
    "entry": (
        0,
        "1: a generation enters itself in a lineage with its first id there, not at its activation (P3)",
    ),
    "fuzzy": (0, "1: catch-up in chunks: messages are staged between SUB and the snapshot (C4, C5)"),
    "water": (0, "1: publishes complete in id order, and an accept moves a pending one to its DEQ (O6)"),
    "min": (0, "least number of members: with fewer, publishes are refused and nothing completes (J4)"),
    "lib": (0, "1: sessions end, joiners are given up, members leave together, as in the library (J1, J2c)"),
    "adds_first": (0, "1: a variant that is wrong: the plan adds in one step, drops in another"),
    "learn": (0, "1: the primary learns dequeues from a backup (safe, not needed)"),
    # Checks.
    "strict3": (0, "1: with settle=imm, report every delivery after an accept"),
    "strict3z": (0, "1: with settle=rep, report deliveries by stale primaries too"),
    "lincheck": (1, "1: compare the plan by lineages (G2) with the plan by identities"),
    "heal": (1, "1: heal and check liveness from (sampled) states"),
    # Budgets: how often each event may happen.
    "pub": (2, "publishes"),
    "acc": (1, "accepts (delivery and dequeue in one step)"),
    "crash": (1, "crashes"),
    "reconn": (2, "subscriptions"),
    "prom": (2, "promotion attempts"),
    "rem": (1, "removals of members"),
    "add": (1, "additions of members"),
    "casto": (0, "time-outs of a compare-and-set"),
    "wipe": (0, "lost disks"),
    "move": (0, "moves of the first message of a queue to the next queue (NQ=2, or 3 for chains of moves)"),
    "demote": (0, "hand-overs: the primary removes itself as primary from the record"),
    "over": (0, "lib: sessions that the primary finds closed, and joiners that it gives up"),
    "maxacc": (2, "accepts reach this far into the queue, out of order"),
}
CFG: dict[str, Any] = {name: default for name, (default, _) in OPTIONS.items()}

BUDGETS = ["pub", "acc", "crash", "reconn", "prom", "rem", "add", "casto", "wipe", "move", "demote", "over"]
BUDGET = {name: index for index, name in enumerate(BUDGETS)}


def configure(off: Iterable[str] = (), **options: Any) -> None:
    """Start from the defaults; remove these rules, set these options."""
    for rule in R:
        R[rule] = True
    for name, (default, _) in OPTIONS.items():
        CFG[name] = default
    for rule in off:
        assert rule in RULES, f"no rule {rule!r}"
        R[rule] = False
    for name, value in options.items():
        assert name in OPTIONS, f"no option {name!r}"
        CFG[name] = value


# --- the state: tuples of tuples ------------------------------------------------------------------------

NODES = 3
NO_NODE = -1
ACKED = -1
"""As a covering seq: this node has acknowledged the operation."""
NOT_COVERED = 0
BEFORE_SNAPSHOT = 1 << 30
"""As a plan seq: the session is catching up, and no seq that it acknowledges reaches this one."""


class Message(NamedTuple):
    generation: int
    id: int
    value: int
    """What the publisher sent: the n-th publish has value n."""
    origin: tuple = ()
    """Of a moved message: (queue, generation, id) of the message that its publish made."""


class Queue(NamedTuple):
    lineage: tuple
    """(generation, first id), ascending."""
    next: int
    held: tuple
    """Messages, sorted."""


class Store(NamedTuple):
    """What a node holds: MEM now, DISK after a crash."""

    epoch: int
    generation: int
    queues: tuple


class Record(NamedTuple):
    """What the cluster manager keeps."""

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
    """The one compare-and-set of a node (M1). Status: sent, ok, fail, doubt."""

    kind: str
    expected: int
    new: Record
    status: str


class Session(NamedTuple):
    """What a primary knows of one backup's session."""

    sid: int
    plan_seq: int
    sent: int
    acked: int
    epoch: int
    described: tuple | None
    """fuzzy: (queue as the backup described it, common point) for each queue, until the snapshot."""
    staged: tuple
    """fuzzy: (queue index, message) sent to be staged in this session."""


class Joining(NamedTuple):
    node: int
    epoch: int
    sid: int
    target: int


class Pending(NamedTuple):
    """An operation that is not complete. Kind: E publish, D accept, DA both (O6), EC consumed publish."""

    kind: str
    queue: int
    value: int
    cover: tuple
    """For each node: ACKED, NOT_COVERED, or the seq in its current session that covers it."""
    lives: tuple = ()
    """lib: (node, store epoch) that acknowledged it before the node began another life."""


class View(NamedTuple):
    """What a primary believes, from its own compare-and-sets (volatile)."""

    generation: int
    version: int
    members: tuple
    sessions: tuple
    joining: Joining | None
    pending: tuple
    flipped: tuple = ()
    """lib: (node, store epoch) that acknowledged a plan of this generation, in any session."""
    established: int = 0
    """lib: 1 once every required node acknowledged a plan of this generation (W2)."""


class Channel(NamedTuple):
    """Between a primary and a backup: frames down, acknowledgements (sid, seq) up."""

    sid: int
    alive: int
    to_backup: tuple
    to_primary: tuple


class Frame(NamedTuple):
    """Kinds: E ENQ, D DEQ, G group, P plan (flip), S stage; A X L only in mutations."""

    kind: str
    generation: int
    seq: int
    body: tuple


class PlanItem(NamedTuple):
    """What a plan says about one queue."""

    queue: int
    lineage: tuple
    next: int
    adds: tuple
    drops: tuple
    unstage: tuple
    """fuzzy: staged messages that are not in the primary's queue any more."""


# A node, as a tuple in a state and as a list while an event changes it.
UP, BOOT, MEM, DISK, ROLE, VIEW, LINK, CAS, ACK_DUE, STAGED = range(10)
# LINK: (primary, sid) of a backup's session. ACK_DUE: seq to acknowledge after the next fsync (sync=1).

# What an observer of the whole cluster knows: the ghost state of the checks.
GIVEN, TOLD, ACCEPTED, SETTLED, REFUSED, ACTIVATED, QUARANTINED, HANDED_OVER, UNDONE = range(9)
# QUARANTINED: (node, queue, message). Only moved messages are distinguished by node (NO_NODE: any node): any node may
# judge the others, which is stricter than what nodes do, and takes fewer states.
# HANDED_OVER: (queue, message), as rewound. UNDONE, lib only: (queue, message), as a move that was undone.

NO_CHANNEL = Channel(0, 0, (), ())


def channel(primary: int, backup: int) -> int:
    return primary * NODES + backup


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
        return (
            self.record,
            self.inbox,
            tuple([tuple(x) for x in self.nodes]),
            tuple(self.chans),
            tuple(self.ghost),
            tuple(self.spent),
        )

    def view(self, n: int, **changes: Any) -> View:
        """Change what primary n believes."""
        self.nodes[n][VIEW] = view = self.nodes[n][VIEW]._replace(**changes)
        return view

    def know(self, ghost: int, *facts: Any) -> None:
        self.ghost[ghost] |= frozenset(facts)


def initial() -> tuple:
    """Node 0 is primary of generation 1, all are members and in session, the queues are empty."""
    store = Store(0, 1, tuple([Queue(((1, 1),), 1, ())] * CFG["NQ"]))
    members = tuple((n, 0) for n in range(NODES))
    sessions = [None] + [Session(n, 0, 0, 0, 0, None, ()) for n in range(1, NODES)]
    chans = [NO_CHANNEL] * (NODES * NODES)
    nodes = []
    for n in range(NODES):
        if n:
            chans[channel(0, n)] = Channel(n, 1, (), ())
        view = (
            None if n else View(1, 1, members, tuple(sessions), None, (), members[1:] if CFG["lib"] else ())
        )
        nodes.append((1, 0, store, store, 0 if n else 1, view, (0, n) if n else None, None, 0, ()))
    none: frozenset = frozenset()
    ghost = (none, none, none, none, none, frozenset([(1, 0, 0)]), none, none, none)
    return (Record(1, 1, 0, 0, members), (), tuple(nodes), tuple(chans), ghost, (0,) * len(BUDGETS))


def use(w: World, name: str) -> None:
    w.spent[BUDGET[name]] += 1


def can(state: tuple, name: str) -> bool:
    return state[5][BUDGET[name]] < CFG[name]


# --- queues and histories -------------------------------------------------------------------------------


def generation_of(lineage: tuple, id: int) -> int:
    """Which generation gave this id out; 0 if that is older than the lineage."""
    found = 0
    for generation, first in lineage:
        if first <= id:
            found = generation
    return found


def in_history(queue: Queue, m: tuple) -> bool | None:
    """Whether this history gave out this identity. None: older than the trimmed lineage (W1)."""
    generation, id = m[0], m[1]
    if queue.lineage and id < queue.lineage[0][1] and CFG["trim"] and R["trim_unknown"]:
        return None
    return id < queue.next and generation_of(queue.lineage, id) == generation


def trimmed(queue: Queue) -> Queue:
    """G1: front entries below the lowest held id, inner empty entries; never the last one."""
    lineage, next, held = queue
    if len(lineage) < 2:
        return queue
    low = min([h[1] for h in held]) if held else next
    if CFG["trim"] == 2:
        last = len(lineage) - 1
        lineage = tuple([e for i, e in enumerate(lineage) if i == last or lineage[i + 1][1] > e[1]])
    while len(lineage) > 1 and lineage[1][1] <= low:
        lineage = lineage[1:]
    return Queue(lineage, next, held)


def trim_all(store: Store) -> Store:
    if not CFG["trim"]:
        return store
    return Store(store.epoch, store.generation, tuple([trimmed(q) for q in store.queues]))


def common_point(ours: Queue, theirs: Queue) -> int:
    """The lowest id above the last one that has the same generation in both histories; 0 if none (G2)."""
    if not R["lin_match"]:  # KIP-101 style: ask for the end of the backup's last generation only.
        last = theirs.lineage[-1][0] if theirs.lineage else 0
        for i, (generation, _) in enumerate(ours.lineage):
            if generation == last:
                end = ours.lineage[i + 1][1] if i + 1 < len(ours.lineage) else ours.next
                return min(end, theirs.next)
        return theirs.next if theirs.lineage else 0
    for id in range(min(ours.next, theirs.next) - 1, 0, -1):
        a, b = generation_of(ours.lineage, id), generation_of(theirs.lineage, id)
        if a and a == b:
            return id + 1
    return 0


def added(queue: Queue, m: Message) -> Queue:
    lineage, next, held = queue
    if any(h[0] == m[0] and h[1] == m[1] for h in held):
        return queue
    held = (*held, m)
    if R["order"]:
        held = tuple(sorted(held))
    return Queue(lineage, max(next, m[1] + 1), held)


def removed(queue: Queue, m: Message) -> Queue:
    lineage, next, held = queue
    left = tuple([h for h in held if (h[0], h[1]) != (m[0], m[1])])
    return Queue(lineage, max(next, m[1] + 1), left)


def entered(queue: Queue, generation: int) -> Queue:
    """P3 with entry=1: the queue as this generation gives out the next id, in the same transaction."""
    if not CFG["entry"] or (queue.lineage and queue.lineage[-1][0] >= generation):
        return queue
    return Queue((*queue.lineage, (generation, queue.next)), queue.next, queue.held)


def with_queue(store: Store, index: int, queue: Queue) -> Store:
    queues = list(store.queues)
    queues[index] = queue
    return Store(store.epoch, store.generation, tuple(queues))


def values(store: Store) -> list[int]:
    return [h[2] for q in store.queues for h in q[2]]


# --- stores ---------------------------------------------------------------------------------------------


def synced(mem: Store, disk: Store) -> Store:
    """What a completed fsync leaves on the disk."""
    if not R["gen_durable"]:
        return Store(mem.epoch, disk.generation, mem.queues)
    return mem


def reloaded(disk: Store) -> Store:
    """What a restart finds."""
    if R["next_durable"]:
        return disk
    queues = [Queue(q.lineage, max(h.id for h in q.held) + 1 if q.held else 1, q.held) for q in disk.queues]
    return Store(disk.epoch, disk.generation, tuple(queues))


def changed(w: World, n: int, store: Store) -> None:
    """Primary n changed its own content; durable at once unless sync=1."""
    store = trim_all(store)
    w.nodes[n][MEM] = store
    if not CFG["sync"]:
        w.nodes[n][DISK] = synced(store, w.nodes[n][DISK])


def own_mark() -> int:
    """The covering seq of the primary itself (O4)."""
    return NOT_COVERED if (CFG["sync"] and R["own_sync"]) else ACKED


# --- completion -----------------------------------------------------------------------------------------


def required(n: int, view: View) -> list[int]:
    """The nodes other than the primary that a completion waits for (O4)."""
    nodes = [m for (m, _) in view.members if m != n]
    if view.joining is not None and R["add_pending"] and view.joining.node not in nodes:
        nodes.append(view.joining.node)
    if not R["wait_all"]:
        nodes = [m for m in nodes if view.sessions[m] is not None]
    return nodes


def required_lives(n: int, view: View) -> set[tuple[int, int]]:
    """lib: the same as (node, store epoch): another life of a store is another node (C3, O4)."""
    nodes = required(n, view)
    joining = view.joining
    lives = {(m, e) for m, e in view.members if m in nodes}
    if joining is not None and R["add_pending"]:
        lives.add((joining.node, joining.epoch))
    return lives


def acknowledged_lives(view: View, op: Pending) -> set[tuple[int, int]]:
    sessions = [(b, s) for b, s in enumerate(view.sessions) if s is not None]
    return {(b, s.epoch) for b, s in sessions if op.cover[b] == ACKED} | set(op.lives)


def sure_members(w: World, n: int) -> set[tuple[int, int]]:
    """J5: the members that a request in flight does not remove; a joiner whose addition is in flight does not count."""
    view, cas = w.nodes[n][VIEW], w.nodes[n][CAS]
    members = set(view.members)
    if cas is not None and cas.kind != "prom" and R["min_doubt"]:
        members &= set(cas.new.members)
    return members


def complete(w: World, n: int) -> None:
    """Tell clients what every required node has acknowledged (O4, O5, O6)."""
    view = w.nodes[n][VIEW]
    if view is None:
        return
    if R["min_pend"] and len(sure_members(w, n)) < CFG["min"]:
        return
    wait_for = required(n, view)
    keep = []
    held_back = False  # water=1: a publish waits for the publishes before it.
    told, answered = [], []
    for op in view.pending:
        kind, value, cover = op.kind, op.value, op.cover
        done = cover[n] == ACKED and all(cover[m] == ACKED for m in wait_for)
        if CFG["lib"]:
            done = cover[n] == ACKED and required_lives(n, view) <= acknowledged_lives(view, op)
        if CFG["water"] and kind in ("E", "EC"):
            if (done or kind == "EC") and not held_back:
                w.know(TOLD, value)
                answered.append(value)
                if kind == "E":
                    told.append(value)
            else:
                held_back = True
                keep.append(op)
        elif done:
            if kind in ("E", "DA"):
                w.know(TOLD, value)
                answered.append(value)
            if kind in ("D", "DA"):
                w.know(SETTLED, value)
        else:
            keep.append(op)
    w.view(n, pending=tuple(keep))
    if CFG["settle"] == "rep" and view.generation >= w.record.generation:
        for value in told:  # (A later primary may have delivered it already, to one of its consumers.)
            check_held_by_members(w, value)
    if view.generation == w.record.generation:
        for value in answered:
            check_held_by_enough(w, value)


def check_held_by_enough(w: World, value: int) -> None:
    """S8: a publish that is answered OK is on at least min members at that instant, unless it was accepted."""
    if value in w.ghost[ACCEPTED]:
        return
    disks = [(epoch, w.nodes[node][DISK]) for node, epoch in w.record.members]
    holding = [disk for epoch, disk in disks if disk.epoch != epoch or value in values(disk)]
    if len(holding) < CFG["min"]:
        raise Violation(f"S8 v{value} acked on {len(holding)} members, fewer than {CFG['min']}")


def check_held_by_members(w: World, value: int) -> None:
    """F3: a publish that is answered OK is on every member, or its accept is confirmed."""
    for node, epoch in w.record.members:
        disk = w.nodes[node][DISK]
        if disk.epoch == epoch and value not in values(disk) and value not in w.ghost[SETTLED]:
            raise Violation(f"F3 v{value} acked on an unconfirmed consumption; member {node} never had it")


# --- sessions -------------------------------------------------------------------------------------------


def send(w: World, n: int, kind: str, *body: Any) -> list[int]:
    """One operation on every open session of primary n (O1); the seqs that cover it, by node."""
    view = w.nodes[n][VIEW]
    sessions = list(view.sessions)
    cover = [NOT_COVERED] * NODES
    for b in range(NODES):
        s = sessions[b]
        if s is None or s.described is not None:  # fuzzy: nothing is sent before the snapshot.
            continue
        seq = cover[b] = s.sent + 1
        at = channel(n, b)
        c = w.chans[at]
        if c.sid == s.sid and c.alive:
            frame = Frame(kind, view.generation, seq, body)
            w.chans[at] = Channel(c.sid, c.alive, (*c.to_backup, frame), c.to_primary)
        sessions[b] = s._replace(sent=seq)
    w.view(n, sessions=tuple(sessions))
    return cover


def end_sending(w: World, n: int) -> None:
    """Primary n is gone: acknowledgements to it are lost, what it sent may still arrive."""
    for b in range(NODES):
        at = channel(n, b)
        c = w.chans[at]
        if c != NO_CHANNEL:
            w.chans[at] = Channel(c.sid, c.alive, c.to_backup, ()) if c.to_backup else NO_CHANNEL


def step_down(w: World, n: int) -> None:
    """K1: complete nothing more; what is pending is in doubt."""
    view = w.nodes[n][VIEW]
    if view is not None and not R["indoubt"]:
        w.know(REFUSED, *[op.value for op in view.pending if op.kind == "E"])
    w.nodes[n][ROLE] = 0
    w.nodes[n][VIEW] = None
    w.nodes[n][CAS] = None
    end_sending(w, n)


def leave_session(w: World, b: int) -> None:
    """Backup b leaves its session (C1); acknowledgements already sent stay deliverable."""
    x = w.nodes[b]
    x[LINK] = None
    x[ACK_DUE] = 0
    if R["stage_fresh"]:
        x[STAGED] = ()
    for p in range(NODES):
        at = channel(p, b)
        c = w.chans[at]
        if c != NO_CHANNEL:
            late = c.to_primary and w.nodes[p][VIEW] is not None
            w.chans[at] = Channel(c.sid, 0, (), c.to_primary) if late else NO_CHANNEL


# --- events: clients ------------------------------------------------------------------------------------


def give_out(w: World, queue: int, m: Message) -> None:
    """I1: an identity has one content, for ever."""
    for c in w.ghost[GIVEN]:
        if c[0] == queue and (c[1], c[2]) == (m.generation, m.id):
            where = "I1 identity" if queue == 0 else f"I1 identity (q{queue})"
            raise Violation(f"{where} {m.id}@{m.generation} given twice (v{c[3]} and v{m.value})")
    w.know(GIVEN, (queue, *m))


def publish(w: World, n: int) -> None:
    """Give out the next id, store the message, send it on every open session (O1)."""
    use(w, "pub")
    store = w.nodes[n][MEM]
    queue = store.queues[0]
    if R["enter"]:
        queue = entered(queue, w.nodes[n][VIEW].generation)
    value = w.spent[BUDGET["pub"]]
    m = Message(w.nodes[n][VIEW].generation, queue.next, value)
    give_out(w, 0, m)
    changed(w, n, with_queue(store, 0, added(queue, m)))
    cover = send(w, n, "E", 0, m)
    cover[n] = own_mark()
    w.view(n, pending=(*w.nodes[n][VIEW].pending, Pending("E", 0, value, tuple(cover))))
    complete(w, n)


def check_delivery(w: World, n: int, queue: int, m: Message) -> None:
    """S2, S3 and the hand-over rule, at the moment a consumer gets m from primary n."""
    value, generation = m.value, w.nodes[n][VIEW].generation
    current = generation >= w.record.generation
    ghost = w.ghost
    if current and any(first_identity(qi, Message(*x)) == first_identity(queue, m)
                       for qi, *x in ghost[HANDED_OVER]):  # fmt: skip
        raise Violation(f"R-g v{value} was handed over as rewound and is delivered again from another copy")
    if value in ghost[REFUSED]:
        raise Violation(f"S2 refused message v{value} delivered")
    if CFG["strict3"] and value in ghost[ACCEPTED]:
        raise Violation(f"S3x v{value} settled (immediate) and delivered again")
    if CFG["settle"] == "rep" and value in ghost[SETTLED]:
        if CFG["strict3z"]:
            raise Violation(f"S3z settled v{value} delivered again by a stale primary")
        if current:
            raise Violation(f"S3 settled v{value} delivered again by the current primary")


def accept(w: World, n: int, qi: int, k: int) -> None:
    """A consumer gets the k-th message of a queue and accepts it; when that is confirmed depends on ``settle`` (O6)."""
    use(w, "acc")
    store = w.nodes[n][MEM]
    m = store.queues[qi].held[k]
    check_delivery(w, n, qi, m)
    w.know(ACCEPTED, m.value)
    changed(w, n, with_queue(store, qi, removed(store.queues[qi], m)))
    unsent = [] if R["cover"] else unsend(w, n, qi, m)
    kind = consumed_while_pending(w, n, m.value)
    cover = send(w, n, "D", qi, m)
    for b in unsent:
        at = channel(n, b)
        c = w.chans[at]
        w.chans[at] = c._replace(to_backup=c.to_backup[:-1])
    cover[n] = own_mark()
    if CFG["water"] and CFG["settle"] == "rep" and R["cons"]:
        move_completion(w, n, m.value, tuple(cover))
    if CFG["settle"] == "rep":
        if not R["settle_wait"]:
            w.know(SETTLED, m.value)
        else:
            w.view(n, pending=(*w.nodes[n][VIEW].pending, Pending(kind, qi, m.value, tuple(cover))))
            complete(w, n)
    elif CFG["water"]:
        complete(w, n)


def unsend(w: World, n: int, qi: int, m: Message) -> list[int]:
    """The mutation of O2: a message that is consumed before it was replicated is never sent."""
    unsent = []
    for b in range(NODES):
        at = channel(n, b)
        c = w.chans[at]
        left = tuple([f for f in c.to_backup
                      if not (f.kind == "E" and f.body[1][:2] == m[:2] and f.body[0] == qi)])  # fmt: skip
        if left != c.to_backup:
            w.chans[at] = c._replace(to_backup=left)
            unsent.append(b)
    return unsent


def consumed_while_pending(w: World, n: int, value: int) -> str:
    """O6: what becomes of a publish that is still pending when its message is accepted."""
    pending = list(w.nodes[n][VIEW].pending)
    kind = "D"
    for i, op in enumerate(pending):
        if op.kind != "E" or op.value != value:
            continue
        if CFG["water"]:
            if CFG["settle"] == "imm":
                pending[i] = op._replace(kind="EC")
            break
        del pending[i]
        if CFG["settle"] == "rep" and R["cons"]:
            kind = "DA"
        else:
            if CFG["settle"] == "rep":
                check_held_by_members(w, value)
            w.know(TOLD, value)
        break
    w.view(n, pending=tuple(pending))
    return kind


def move_completion(w: World, n: int, value: int, cover: tuple) -> None:
    """A publish that is still pending completes where its DEQ does (water=1, O6 replicated), or where its move
    does (lib=1, O3).
    """
    pending = [op._replace(cover=cover, lives=()) if op.kind == "E" and op.value == value else op
               for op in w.nodes[n][VIEW].pending]  # fmt: skip
    w.view(n, pending=tuple(pending))


def first_identity(queue: int, m: Message) -> tuple:
    """What the publish of this message was given: its own identity, or the one that its first move left."""
    return m.origin or (queue, m.generation, m.id)


def move(w: World, n: int, source: int, dequeue_first: int) -> None:
    """The first message of a queue goes to the next queue (O3)."""
    use(w, "move")
    target = source + 1
    store = w.nodes[n][MEM]
    m, queue = store.queues[source].held[0], store.queues[target]
    if R["enter"]:
        queue = entered(queue, w.nodes[n][VIEW].generation)
    origin = first_identity(source, m) if R["root_keep"] else (source, m.generation, m.id)
    m2 = Message(w.nodes[n][VIEW].generation, queue.next, m.value, origin)
    give_out(w, target, m2)
    store = with_queue(store, target, added(queue, m2))
    store = with_queue(store, source, removed(store.queues[source], m))
    changed(w, n, store)
    if not R["move_keep"] and CFG["settle"] == "imm":
        consumed_while_pending(w, n, m.value)
    if R["group"]:
        cover = send(w, n, "G", (("E", target, m2), ("D", source, m)))
        if CFG["lib"] and R["move_keep"]:
            cover[n] = own_mark()
            move_completion(w, n, m.value, tuple(cover))
    elif dequeue_first:
        send(w, n, "D", source, m)
        send(w, n, "E", target, m2)
    else:
        send(w, n, "E", target, m2)
        send(w, n, "D", source, m)


# --- events: disks --------------------------------------------------------------------------------------


def fsync(w: World, n: int) -> None:
    x = w.nodes[n]
    x[DISK] = synced(x[MEM], x[DISK])
    if x[ROLE] == 1:
        pending = [op._replace(cover=acknowledged_by(n, op.cover)) for op in x[VIEW].pending]
        w.view(n, pending=tuple(pending))
        complete(w, n)
    elif x[ACK_DUE]:
        if x[LINK] is not None:
            send_ack(w, n, x[ACK_DUE])
        x[ACK_DUE] = 0


def acknowledged_by(n: int, cover: tuple) -> tuple:
    return tuple([ACKED if i == n else seq for i, seq in enumerate(cover)])


def send_ack(w: World, b: int, seq: int) -> None:
    p, sid = w.nodes[b][LINK]
    at = channel(p, b)
    c = w.chans[at]
    if c.sid == sid and w.nodes[p][VIEW] is not None:
        acks = c.to_primary
        if acks and acks[-1][0] == sid and not CFG["lib"]:  # Cumulative: the newest is enough.
            acks = acks[:-1]
        w.chans[at] = c._replace(to_primary=(*acks, (sid, seq)))


# --- events: resync -------------------------------------------------------------------------------------


def plan(ours: tuple, described: tuple, staged: tuple) -> tuple:
    """C4: what makes the backup equal to the primary. ``described``: (queue, common point) of the backup."""
    items = []
    for qi in range(CFG["NQ"]):
        lineage, next, held = ours[qi]
        theirs, common = described[qi]
        key: Callable[[tuple], Any] = (lambda h: (h[0], h[1])) if R["ident"] else (lambda h: h[1])
        own = {key(h) for h in held}
        have = {key(h) for h in theirs.held}
        drops = tuple([h for h in theirs.held if key(h) not in own])
        mine = [m for (q, m) in staged if q == qi]
        if R["stage_fresh"]:
            unstage = tuple([m for m in mine if key(m) not in own])
            has_staged = {key(m) for m in mine}
        else:  # Mutation: what an earlier session staged, by id only.
            ids = {h[1] for h in held}
            unstage = tuple([m for m in mine if m[1] not in ids])
            cached = {m[1] for m in mine}
            has_staged = {key(h) for h in held if h[1] in cached}
        if CFG["lincheck"] and R["ident"] and R["lin_atomic"]:
            check_lineage_plan(ours[qi], theirs, common, own, have, drops)
        adds = tuple([h for h in held if key(h) not in have and key(h) not in has_staged])
        if not R["fill"]:  # Mutation: absence below the backup's watermark says "dequeued".
            adds = tuple([h for h in adds if h[1] >= theirs.next])
        if not R["snap_send"] and CFG["fuzzy"]:
            adds = ()
        if not R["stage_drop"]:
            unstage = ()
        items.append(PlanItem(qi, lineage, next, adds, drops, unstage))
    return tuple(items)


def check_lineage_plan(ours: Queue, theirs: Queue, common: int, own: set, have: set, drops: tuple) -> None:
    """G2: the plan that the library computes from lineages and ids equals the plan by identities."""
    ids = {h[1] for h in ours.held}
    keep = {h[1] for h in theirs.held if h[1] < common and h[1] in ids}
    adds = [h for h in ours.held if (h[0], h[1]) not in have]
    if [h for h in ours.held if h[1] not in keep] != adds or tuple(
        [h for h in theirs.held if h[1] not in keep]
    ) != drops:
        raise Violation(f"G2 lineage plan differs from identity plan: P={plain(ours)!r} B={plain(theirs)!r}")


def plain(queue: Queue) -> tuple:
    """A queue without the names of its fields, for an error message."""
    return (queue.lineage, queue.next, tuple([tuple(m) for m in queue.held]))


def plan_frames(generation: int, items: tuple) -> list[Frame]:
    """The plan as frames; the last one that carries what the plan promises has the plan seq."""
    if not R["plan_complete"]:
        return [Frame("X", generation, 1, items), Frame("A", generation, 2, items)]
    if not R["lin_atomic"]:
        return [Frame("L", generation, 1, items), Frame("P", generation, 2, items)]
    if CFG["adds_first"]:
        return [Frame("A", generation, 1, items), Frame("X", generation, 2, items)]
    if not R["atomic_resync"]:
        return [Frame("P", generation, i + 1, (item,)) for i, item in enumerate(items)]
    return [Frame("P", generation, 1, items)]


def describe(ours: tuple, theirs: tuple) -> tuple:
    """The content of a subscription: each queue of the backup, with the common point that the primary finds (G2)."""
    check = CFG["lincheck"] and R["ident"] and R["lin_atomic"]
    return tuple([(q, common_point(ours[i], q) if check else 0) for i, q in enumerate(theirs)])


def subscribe(w: World, b: int, p: int, keep_acks: bool) -> None:
    """SUB (C1, C3). Without fuzzy, the plan follows in the same step."""
    use(w, "reconn")
    x = w.nodes[b]
    if R["one_session"]:
        leave_session(w, b)
    at = channel(p, b)
    late_acks = w.chans[at].to_primary if keep_acks else ()
    sid = 10 + w.spent[BUDGET["reconn"]]
    if CFG["learn"]:
        learn(w, b, p)
    view = w.nodes[p][VIEW]
    old = view.sessions[b]
    described = describe(w.nodes[p][MEM].queues, x[MEM].queues)
    frames: list[Frame] = []
    if CFG["fuzzy"]:
        session = Session(sid, BEFORE_SNAPSHOT, 0, 0, x[MEM].epoch, described, x[STAGED])
        covered = NOT_COVERED
    else:
        frames = plan_frames(view.generation, plan(w.nodes[p][MEM].queues, described, ()))
        plan_seq = 1 if not R["plan_complete"] else len(frames)
        session = Session(sid, plan_seq, len(frames), 0, x[MEM].epoch, None, ())
        covered = plan_seq if R["plan_covers"] else NOT_COVERED
    w.chans[at] = Channel(sid, 1, tuple(frames), late_acks)
    x[LINK] = (p, sid)
    x[ACK_DUE] = 0
    other_epoch = old is not None and old.epoch != x[MEM].epoch
    joining = view.joining
    if joining is not None and joining.node == b and (w.nodes[p][CAS] is None or not R["adding_cas_keep"]):
        joining = None  # J2c: its compare-and-set was not sent yet.
    w.view(
        p,
        sessions=replaced(view.sessions, b, session),
        pending=tuple(
            [cover_again(op, b, covered, old.epoch if other_epoch else None) for op in view.pending]
        ),
        joining=joining,
    )
    if not R["adding_cas_keep"]:
        complete(w, p)


def cover_again(op: Pending, b: int, seq: int, former: int | None) -> Pending:
    """C3: what node b has not acknowledged yet is covered by this seq of its new session. ``former``: the store
    epoch of its former session, if this is another one, which has acknowledged nothing.
    """
    if op.cover[b] == ACKED and former is None:
        return op
    lives = op.lives
    if op.cover[b] == ACKED and CFG["lib"]:
        lives = (*lives, (b, former))
    return op._replace(cover=replaced(op.cover, b, seq), lives=lives)


def replaced(items: tuple, index: int, item: Any) -> tuple:
    changed_items = list(items)
    changed_items[index] = item
    return tuple(changed_items)


def learn(w: World, b: int, p: int) -> None:
    """learn=1: what the backup's history had and the backup does not hold was dequeued."""
    for qi in range(CFG["NQ"]):
        for m in w.nodes[p][MEM].queues[qi].held:
            theirs = w.nodes[b][MEM].queues[qi]
            if in_history(theirs, m) and m not in theirs.held:
                store = w.nodes[p][MEM]
                changed(w, p, with_queue(store, qi, removed(store.queues[qi], m)))
                send(w, p, "D", qi, m)


def catching_up(w_chans: Any, p: int, b: int, session: Session | None) -> bool:
    """fuzzy: a session between SUB and its snapshot whose link is up. (Over a dead link neither staging
    nor the snapshot can have any effect: the next SUB forgets the session.)
    """
    if session is None or session.described is None:
        return False
    c = w_chans[channel(p, b)]
    return bool(c.sid == session.sid and c.alive)


def stageable(ours: tuple, session: Session) -> Iterator[tuple[int, Message]]:
    """What may be sent ahead of the plan: held now, and neither described nor staged."""
    assert session.described is not None
    for qi in range(CFG["NQ"]):
        theirs = session.described[qi][0]
        for m in ours[qi].held:
            if R["stage_fresh"]:
                known = (qi, m) in session.staged
            else:
                known = any(q == qi and s.id == m.id for q, s in session.staged)
            if m not in theirs.held and not known:
                yield qi, m


def stage(w: World, b: int, p: int, qi: int, m: Message) -> None:
    """fuzzy, C4: send one message of the current content ahead of the plan."""
    view = w.nodes[p][VIEW]
    session = view.sessions[b]
    at = channel(p, b)
    c = w.chans[at]
    frame = Frame("S", view.generation, 0, (qi, m))
    w.chans[at] = c._replace(to_backup=(*c.to_backup, frame))
    staged = tuple(sorted((*session.staged, (qi, m))))
    w.view(p, sessions=replaced(view.sessions, b, session._replace(staged=staged)))


def snapshot(w: World, b: int, p: int) -> None:
    """fuzzy, C4: the exact plan against (held at SUB) and (staged since), at this instant."""
    view = w.nodes[p][VIEW]
    session = view.sessions[b]
    items = plan(w.nodes[p][MEM].queues, session.described, session.staged)
    frames = plan_frames(view.generation, items)
    plan_seq = 1 if not R["plan_complete"] else len(frames)
    at = channel(p, b)
    c = w.chans[at]
    w.chans[at] = c._replace(to_backup=(*c.to_backup, *frames))
    session = Session(session.sid, plan_seq, len(frames), 0, session.epoch, None, ())
    covered = plan_seq if R["snap_covers"] and R["plan_covers"] else NOT_COVERED
    w.view(
        p,
        sessions=replaced(view.sessions, b, session),
        pending=tuple([cover_again(op, b, covered, None) for op in view.pending]),
    )


# --- events: a backup reads a frame ---------------------------------------------------------------------


def receive(w: World, b: int, p: int) -> None:
    x = w.nodes[b]
    at = channel(p, b)
    c = w.chans[at]
    frame = c.to_backup[0]
    w.chans[at] = c._replace(to_backup=c.to_backup[1:])
    store = x[MEM]
    if R["gen_check"] and frame.generation < store.generation:
        leave_session(w, b)
        return
    if frame.kind == "S":
        receive_staged(w, b, p, frame)
        return
    generation = max(frame.generation, store.generation) if R["gen_check"] else frame.generation
    store = Store(store.epoch, generation, store.queues)
    store = trim_all(applied(w, b, store, frame))
    x[MEM] = store
    if not CFG["sync"]:
        x[DISK] = synced(store, x[DISK])
        if x[LINK] is not None and x[LINK][0] == p:
            send_ack(w, b, frame.seq)
    elif R["ack_sync"]:
        x[ACK_DUE] = frame.seq
    else:
        send_ack(w, b, frame.seq)


def receive_staged(w: World, b: int, p: int, frame: Frame) -> None:
    """fuzzy, C5: staged, invisible, volatile; not an operation, so not acknowledged."""
    x = w.nodes[b]
    qi, m = frame.body
    if not R["stage_hidden"]:
        store = x[MEM]
        x[MEM] = with_queue(store, qi, added(store.queues[qi], m))
        if not CFG["sync"]:
            x[DISK] = synced(x[MEM], x[DISK])
        return
    x[STAGED] = tuple(sorted({*x[STAGED], (qi, m)}))
    if not R["stage_ack"] and w.nodes[p][VIEW] is not None:
        pending = [op._replace(cover=acknowledged_by(b, op.cover)) if op.value == m.value else op
                   for op in w.nodes[p][VIEW].pending]  # fmt: skip
        w.view(p, pending=tuple(pending))
        complete(w, p)


def applied(w: World, b: int, store: Store, frame: Frame) -> Store:
    """What this frame makes of the backup's content (C5, C6)."""
    kind, body = frame.kind, frame.body
    if kind in "PAX":
        for item in body:
            store = flipped(w, b, store, item, kind, frame.generation)
        if kind != "X":
            w.nodes[b][STAGED] = ()
    elif kind == "L":  # Mutation: the lineage first, so that held ids change their generation.
        for item in body:
            q = store.queues[item.queue]
            held = tuple(sorted(m._replace(generation=generation_of(item.lineage, m.id)) for m in q.held))
            store = with_queue(store, item.queue, Queue(item.lineage, q.next, held))
    else:
        parts = body[0] if kind == "G" else ((kind, *body),)
        for part, qi, m in parts:
            queue = store.queues[qi]
            if m.id >= queue.next and R["enter"] and R["enter_backup"]:  # Also a DEQ of an unknown id (O2).
                queue = entered(queue, frame.generation)
            queue = (added if part == "E" else removed)(queue, m)
            store = with_queue(store, qi, queue)
    return store


def flipped(w: World, b: int, store: Store, item: PlanItem, kind: str, generation: int) -> Store:
    """C5 for one queue. Kind P: all of the plan; A: only what it adds; X: only what it drops."""
    queue = store.queues[item.queue]
    if kind in "PA":
        for m in item.adds:
            queue = added(queue, m)
        for m in unstaged(w, b, item):
            queue = added(queue, m)
    if kind in "PX":
        history = Queue(item.lineage, item.next, ())
        for m in item.drops:
            if in_history(history, m) is False:
                rewind(w, b, item.queue, m, generation)
            queue = removed(queue, m)
        if R["adopt_end"]:
            highest = max([item.next] + [h.id + 1 for h in queue.held])
            queue = Queue(item.lineage, highest, queue.held)
    return with_queue(store, item.queue, queue)


def unstaged(w: World, b: int, item: PlanItem) -> Iterator[Message]:
    """fuzzy: the staged messages of one queue that the flip makes visible."""
    dropped_ids = {m.id for m in item.drops}
    unstage_ids = {m.id for m in item.unstage}
    for qi, m in w.nodes[b][STAGED]:
        if qi != item.queue or m in item.unstage:
            continue
        if not R["stage_which"] and m.id in dropped_ids:
            continue
        if not R["stage_fresh"]:  # By id only: the lineage says which generation it is taken for.
            if m.id not in unstage_ids:
                yield m._replace(generation=generation_of(item.lineage, m.id))
            continue
        yield m


def rewind(w: World, b: int, qi: int, m: Message, generation: int) -> None:
    """W1: the primary's history never had it, so it goes to quarantine. R-b: it was never acked."""
    if (qi, *m) not in w.ghost[HANDED_OVER]:
        w.know(QUARANTINED, (b if m.origin else NO_NODE, qi, *m))
    known_safe = m.value in w.ghost[TOLD] or m.value in w.ghost[SETTLED]
    strict = qi == 0 and CFG["settle"] == "rep" and R["cons"]
    if strict and known_safe and generation == w.record.generation:
        raise Violation(f"R-b acked v{m.value} ({m.id}@{m.generation}) classified as rewound on {b}")


def acknowledge(w: World, p: int, b: int) -> None:
    """The primary reads an acknowledgement (O4, C3)."""
    at = channel(p, b)
    c = w.chans[at]
    (sid, seq), rest = c.to_primary[0], c.to_primary[1:]
    w.chans[at] = c._replace(to_primary=rest) if c.alive or rest else NO_CHANNEL
    view = w.nodes[p][VIEW]
    if view is None or view.sessions[b] is None:
        return
    session = view.sessions[b]
    if session.sid != sid and R["sess_ack"]:
        return
    acked = max(session.acked, min(seq, session.sent))
    pending = [op._replace(cover=acknowledged_by(b, op.cover)) if 0 < op.cover[b] <= seq else op
               for op in view.pending]  # fmt: skip
    session = session._replace(acked=acked)
    flipped = view.flipped
    if CFG["lib"] and acked >= session.plan_seq:
        flipped = tuple(sorted({*flipped, (b, session.epoch)}))
    w.view(p, sessions=replaced(view.sessions, b, session), pending=tuple(pending), flipped=flipped)
    complete(w, p)


def session_over(w: World, b: int, p: int) -> None:
    """lib: the primary finds the link of a session closed. A joiner whose addition was not sent is no
    joiner any more (J2c); what the backup acknowledged still counts (C3).
    """
    use(w, "over")
    view = w.nodes[p][VIEW]
    old = view.sessions[b]
    closed = Session(0, BEFORE_SNAPSHOT, 0, 0, old.epoch, None, ())
    w.view(p, sessions=replaced(view.sessions, b, closed))
    if view.joining is not None and (view.joining.node, view.joining.sid) == (b, old.sid):
        give_up_joiner(w, p)


def give_up(w: World, p: int) -> None:
    """lib: the joiner takes too long (J1). Clients get their answers with the next `tell`."""
    use(w, "over")
    if w.nodes[p][CAS] is None or w.nodes[p][CAS].kind != "add":
        w.view(p, joining=None)


def tell(w: World, p: int) -> None:
    """lib: the primary tells clients what is complete by now."""
    complete(w, p)


def give_up_joiner(w: World, p: int) -> None:
    """lib: a joiner ends before its addition is sent, and is not waited for any more (J2c)."""
    cas = w.nodes[p][CAS]
    if (cas is None or cas.kind != "add") or not R["adding_cas_keep"]:
        w.view(p, joining=None)
        complete(w, p)


# --- events: the cluster manager ------------------------------------------------------------------------


def issue(w: World, n: int, kind: str, new: Record, expected: int) -> None:
    request = Request(n, w.nodes[n][BOOT], kind, expected, new)
    if request not in w.inbox:
        w.inbox = tuple(sorted((*w.inbox, request)))
    w.nodes[n][CAS] = Cas(kind, expected, new, "sent")


def manager_applies(w: World, request: Request) -> None:
    """M1: the request arrives, now or much later."""
    w.inbox = tuple([x for x in w.inbox if x != request])
    n, boot, kind, expected, new = request
    if R["cas_version"]:
        ok = w.record.version == expected
    else:
        before = new.generation - 1 if kind == "prom" else new.generation
        ok = w.record.generation == before and w.record.version >= expected
        if ok:
            new = new._replace(version=w.record.version + 1)
    if ok:
        w.record = new
    x = w.nodes[n]
    cas = x[CAS]
    waiting = x[UP] and x[BOOT] == boot and cas is not None and cas.status == "sent"
    if waiting and cas[:2] == (kind, expected) and cas.new[1:] == new[1:]:
        x[CAS] = Cas(kind, expected, new, "ok" if ok else "fail")


def cas_times_out(w: World, n: int) -> None:
    use(w, "casto")
    w.nodes[n][CAS] = w.nodes[n][CAS]._replace(status="doubt")


def cas_resolved(w: World, n: int) -> None:
    """The node reads the answer, or, in doubt, the record; then its request is resolved, or not yet (M2–M4)."""
    x = w.nodes[n]
    kind, expected, new, status = x[CAS]
    record = w.record
    if kind == "prom":
        if status == "ok":
            activate(w, n, new)
        elif record[1:4] == new[1:4]:
            activate(w, n, record)
        else:
            x[CAS] = None  # Given up; it may still be applied later: see `adopt`.
        return
    if status == "ok":
        cas_applied(w, n, kind, new)
        return
    if kind == "rem" and (
        (status == "doubt" and not R["shrink_doubt"]) or (status == "fail" and not R["shrink_fail"])
    ):
        cas_applied(w, n, kind, new)
        return
    same_boot = record.boot == x[BOOT] or not R["new_gen"]
    if not (record.generation == x[VIEW].generation and record.primary == n and same_boot):
        step_down(w, n)  # Refused: another primary, or other members (M4).
    elif record.version > expected:
        cas_applied(w, n, kind, record)
    elif kind == "add" and not R["add_doubt"]:
        x[CAS] = None  # Mutation: "read back, not there, so not applied".
        w.view(n, joining=None)
        complete(w, n)
    else:
        issue(w, n, kind, new, expected)  # M2: a read at the old version resolves nothing.


def cas_applied(w: World, n: int, kind: str, record: Record) -> None:
    w.nodes[n][CAS] = None
    if record.primary == NO_NODE:
        step_down(w, n)
        return
    view = w.view(n, members=record.members, version=record.version)
    if kind == "add" and view.joining is not None:
        w.view(n, joining=None)
    complete(w, n)


def promote(w: World, n: int) -> None:
    """A member that is not primary asks for the next generation (P1)."""
    use(w, "prom")
    old = w.record
    epoch = w.nodes[n][MEM].epoch
    members = old.members
    if (n, epoch) not in members:
        members = tuple(sorted([x for x in members if x[0] != n] + [(n, epoch)]))
    if CFG["drop_old"] and old.primary != n:
        members = tuple([x for x in members if x[0] != old.primary])
    new = Record(old.version + 1, old.generation + 1, n, w.nodes[n][BOOT], members)
    issue(w, n, "prom", new, old.version)


def activate(w: World, n: int, record: Record) -> None:
    """A promotion was won: begin the generation above the stored one (P2, P3); no member has acknowledged it yet (P4)."""
    x = w.nodes[n]
    generation = record.generation
    x[CAS] = None
    if (x[MEM].generation >= generation and R["act_gen"]) or x[ROLE] == 1:
        return
    for a in w.ghost[ACTIVATED]:
        if a[0] == generation and a != (generation, n, x[BOOT]):
            raise Violation(f"F1 generation {generation} activated twice")
    w.know(ACTIVATED, (generation, n, x[BOOT]))
    leave_session(w, n)
    x[STAGED] = ()
    store = x[MEM]
    queues = list(store.queues)
    if not CFG["entry"]:
        queues = [Queue((*q.lineage, (generation, q.next)), q.next, q.held) for q in queues]
    x[ROLE] = 1
    x[VIEW] = View(generation, record.version, record.members, (None,) * NODES, None, ())
    changed(w, n, Store(store.epoch, generation, tuple(queues)))


def adopt(w: World, n: int) -> None:
    """P2: a promotion that was given up turns out to have been applied."""
    x = w.nodes[n]
    record = w.record
    if not R["new_gen"] and x[MEM].generation == record.generation:
        # Mutation: it resumes the generation in which it finds itself listed.
        leave_session(w, n)
        x[ROLE] = 1
        x[VIEW] = View(record.generation, record.version, record.members, (None,) * NODES, None, ())
        return
    activate(w, n, record)


def remove_member(w: World, n: int, *gone: int) -> None:
    """Ask for the removal of member m; until it succeeds m is waited for (J1)."""
    use(w, "rem")
    view = w.nodes[n][VIEW]
    members = tuple([x for x in view.members if x[0] not in gone])
    if not R["shrink_cas"]:
        w.view(n, members=members)
        complete(w, n)
        return
    new = Record(view.version + 1, view.generation, n, w.nodes[n][BOOT], members)
    issue(w, n, "rem", new, view.version)


def add_member(w: World, n: int, b: int) -> None:
    """J2a: from now on, completions wait for the joiner."""
    use(w, "add")
    session = w.nodes[n][VIEW].sessions[b]
    target = session.sent if R["add_target"] else 0
    w.view(n, joining=Joining(b, session.epoch, session.sid, target))


def send_addition(w: World, n: int) -> None:
    """The joiner reached its target: ask for its addition (J2b)."""
    view = w.nodes[n][VIEW]
    b, epoch = view.joining.node, view.joining.epoch
    members = tuple(sorted([x for x in view.members if x[0] != b] + [(b, epoch)]))
    new = Record(view.version + 1, view.generation, n, w.nodes[n][BOOT], members)
    issue(w, n, "add", new, view.version)


def demote(w: World, n: int) -> None:
    """A hand-over: the record keeps its generation and members and names no primary."""
    use(w, "demote")
    view = w.nodes[n][VIEW]
    issue(w, n, "demote", Record(view.version + 1, view.generation, NO_NODE, 0, view.members), view.version)


# --- events: faults -------------------------------------------------------------------------------------


def crash(w: World, n: int, persist: bool) -> None:
    use(w, "crash")
    kill(w, n, persist)


def kill(w: World, n: int, persist: bool) -> None:
    """``persist``: what was not synced got to the disk by luck (sync=1)."""
    x = w.nodes[n]
    if persist:
        x[DISK] = synced(x[MEM], x[DISK])
    if x[ROLE] == 1:
        x[VIEW] = None
        end_sending(w, n)
    leave_session(w, n)
    x[UP] = 0
    x[ROLE] = 0
    x[VIEW] = None
    x[CAS] = None
    x[ACK_DUE] = 0
    x[STAGED] = ()
    x[MEM] = x[DISK] = reloaded(x[DISK])
    for b in range(NODES):  # Backups of a dead primary with nothing left to read.
        other = w.nodes[b]
        if w.chans[channel(n, b)] == NO_CHANNEL and other[LINK] is not None and other[LINK][0] == n:
            other[LINK] = None
            other[ACK_DUE] = 0
            if R["stage_fresh"]:
                other[STAGED] = ()


def restart(w: World, n: int) -> None:
    w.nodes[n][UP] = 1
    w.nodes[n][BOOT] += 1


def wipe(w: World, n: int) -> None:
    """The disk is lost: the next store has another epoch (J3)."""
    use(w, "wipe")
    kill(w, n, False)
    epoch = w.nodes[n][DISK].epoch + (1 if R["epoch"] else 0)
    store = Store(epoch, 0, tuple([Queue((), 1, ())] * CFG["NQ"]))
    w.nodes[n][MEM] = w.nodes[n][DISK] = store


# --- what may happen next -------------------------------------------------------------------------------

Action = tuple[tuple, Callable[..., None], tuple]
"""(label, event, arguments)."""


def successors(state: tuple) -> Iterator[tuple[tuple, tuple, str | None]]:
    """(label, state, violation or None) of every event that may come next."""
    for label, event, args in actions(state):
        w = World(state)
        try:
            event(w, *args)
            hand_over(w)
            after = w.freeze()
            check(after)
            yield label, after, None
        except Violation as violation:
            yield label, w.freeze(), str(violation)


def actions(state: tuple) -> list[Action]:
    nodes, chans = state[2], state[3]
    acts: list[Action] = []
    for n in range(NODES):
        x = nodes[n]
        if not x[UP]:
            acts.append((("restart", n), restart, (n,)))
            continue
        if x[ROLE] == 1:
            primary_actions(state, n, acts)
        else:
            backup_actions(state, n, acts)
        unsynced = x[MEM] != x[DISK]
        if (unsynced and synced(x[MEM], x[DISK]) != x[DISK]) or x[ACK_DUE]:
            acts.append((("sync", n), fsync, (n,)))
        elif x[ROLE] == 1 and any(op.cover[n] == NOT_COVERED for op in x[VIEW].pending):
            acts.append((("sync", n), fsync, (n,)))
        if x[CAS] is not None:
            if x[CAS].status != "sent":
                acts.append((("cas" + x[CAS].status, n), cas_resolved, (n,)))
            answered = x[CAS].status == "doubt" if CFG["lib"] else x[CAS].status != "sent"
            if not answered and can(state, "casto"):
                acts.append((("casto", n), cas_times_out, (n,)))
        if can(state, "crash"):
            acts.append((("crash", n), crash, (n, False)))
            if unsynced:
                acts.append((("crashp", n), crash, (n, True)))
        if can(state, "wipe"):
            acts.append((("wipe", n), wipe, (n,)))
    for p in range(NODES):
        for b in range(NODES):
            if chans[channel(p, b)].to_primary and nodes[p][UP]:
                acts.append((("ack", p, b), acknowledge, (p, b)))
    for request in state[1]:
        label = ("mgr", request.node, request.kind, request.expected)
        acts.append((label, manager_applies, (request,)))
    return acts


def primary_actions(state: tuple, n: int, acts: list[Action]) -> None:
    record, nodes = state[0], state[2]
    x = nodes[n]
    view: View = x[VIEW]
    queues = x[MEM].queues
    if can(state, "pub") and len(view.members) >= CFG["min"]:
        acts.append((("pub", n), publish, (n,)))
    if can(state, "acc"):
        for qi in range(CFG["NQ"]):
            for k in range(min(len(queues[qi].held), CFG["maxacc"])):
                acts.append((("acc", n, qi, k), accept, (n, qi, k)))
    for source in range(CFG["NQ"] - 1):
        if can(state, "move") and queues[source].held:
            acts.append((("move", n, source), move, (n, source, 0)))
            if not R["group"]:
                acts.append((("moveD", n, source), move, (n, source, 1)))
    if x[CAS] is None:
        if can(state, "rem"):
            for m, _ in view.members:
                if m != n:
                    acts.append((("rem", n, m), remove_member, (n, m)))
            others = [m for m, _ in view.members if m != n]
            if CFG["lib"] and len(others) > 1:
                acts.append((("rem", n, *others), remove_member, (n, *others)))
        for b in range(NODES):
            if may_add(n, view, b) and can(state, "add"):
                acts.append((("add", n, b), add_member, (n, b)))
        if joiner_is_level(view):
            acts.append((("addcas", n), send_addition, (n,)))
        if can(state, "demote"):
            acts.append((("demote", n), demote, (n,)))
    if CFG["fuzzy"]:
        for b in range(NODES):
            session = view.sessions[b]
            if catching_up(state[3], n, b, session):
                for qi, m in stageable(queues, session):
                    acts.append((("stage", b, n, qi, f"{m.id}@{m.generation}"), stage, (b, n, qi, m)))
                acts.append((("snap", b, n), snapshot, (b, n)))
    if CFG["lib"] and can(state, "over"):
        for b in range(NODES):
            session = view.sessions[b]
            if session is not None and session.sid:
                acts.append((("over", b, n), session_over, (b, n)))
        if view.joining is not None:
            acts.append((("giveup", n), give_up, (n,)))
        elif view.pending:
            acts.append((("tell", n), tell, (n,)))
    if record.generation > view.generation or record.primary == NO_NODE:
        acts.append((("watch", n), step_down, (n,)))


def may_add(n: int, view: View, b: int) -> bool:
    """J2: a backup that is not a member and has acknowledged the plan of its session."""
    session = view.sessions[b]
    return (
        view.joining is None
        and session is not None
        and session.acked >= session.plan_seq
        and b != n
        and all(m != b for (m, _) in view.members)
    )


def joiner_is_level(view: View) -> bool:
    """J2b: the joiner, in the session in which it began, acknowledged its target."""
    joining = view.joining
    if joining is None or view.sessions[joining.node] is None:
        return False
    session = view.sessions[joining.node]
    return bool(session.sid == joining.sid and session.acked >= joining.target)


def backup_actions(state: tuple, n: int, acts: list[Action]) -> None:
    record, nodes, chans = state[0], state[2], state[3]
    x = nodes[n]
    if x[LINK] is not None:
        p, sid = x[LINK]
        c = chans[channel(p, n)]
        if c.sid == sid and c.to_backup:
            acts.append((("recv", n, p), receive, (n, p)))
    if not R["one_session"]:
        for p in range(NODES):
            if p != n and chans[channel(p, n)].to_backup and (x[LINK] is None or x[LINK][0] != p):
                acts.append((("recvold", n, p), receive, (n, p)))
    generation = x[MEM].generation
    if can(state, "reconn") and (x[CAS] is None or x[CAS].kind == "prom"):
        for p in range(NODES):
            if p == n or not nodes[p][UP] or nodes[p][ROLE] != 1:
                continue
            if generation <= nodes[p][VIEW].generation or not R["gen_check"]:
                acts.append((("conn", n, p), subscribe, (n, p, False)))
                if chans[channel(p, n)].to_primary:
                    acts.append((("connk", n, p), subscribe, (n, p, True)))
            else:
                acts.append((("fence", n, p), step_down, (p,)))
    if x[CAS] is not None:
        return
    is_member = (n, x[MEM].epoch) in record.members
    if can(state, "prom") and (is_member or not R["promote_insync"]):
        acts.append((("prom", n), promote, (n,)))
    if record.primary == n and (record.boot == x[BOOT] or not R["new_gen"]):
        if generation < record.generation or (not R["new_gen"] and generation == record.generation):
            acts.append((("adopt", n), adopt, (n,)))


# --- what must hold in every state ----------------------------------------------------------------------


def hand_over(w: World) -> None:
    """W2: once a generation is established, quarantined identities outside its history are dead."""
    quarantined = w.ghost[QUARANTINED]
    if not quarantined and not CFG["lib"]:
        return
    if not R["handover"]:
        w.know(HANDED_OVER, *[item[1:] for item in quarantined])
        w.ghost[QUARANTINED] = frozenset()
        return
    for n in range(NODES):
        x = w.nodes[n]
        view = x[VIEW]
        if view is None or (CFG["sync"] and x[DISK] != x[MEM]):
            continue
        if established(w, n):
            queues = x[MEM].queues
            for item in w.ghost[QUARANTINED]:
                b, qi, *rest = item
                m = Message(*rest)
                if b != NO_NODE and R["root_follow"] and not follows(w, b, n):
                    continue
                if not in_history(queues[qi], m) and m not in queues[qi].held:
                    w.ghost[QUARANTINED] -= {item}
                    tell_fate(w, n, qi, m)


def tell_fate(w: World, n: int, qi: int, m: Message) -> None:
    """W2: a dead copy is a lost message only if the history of primary n never had its origin either."""
    queues, value = w.nodes[n][MEM].queues, m.value
    published = first_identity(qi, m)
    known = in_history(queues[published[0]], published[1:])
    if known is None:
        return  # Older than the lineage: unknown.
    if m.origin:
        lives = value in values(w.nodes[n][MEM])
        if known or not R["root_judge"]:
            if not lives and value not in w.ghost[ACCEPTED]:
                raise Violation(
                    f"R-g v{value} is reported as an undone move, but its publish was rewound as well"
                )
            if CFG["lib"]:
                w.know(UNDONE, (qi, *m))
            return
        acked = value in w.ghost[TOLD] and (CFG["settle"] == "rep" or value not in w.ghost[ACCEPTED])
        if lives or acked or value in w.ghost[SETTLED]:
            raise Violation(f"R-g v{value} is handed over as rewound, but only its move was")
    w.know(HANDED_OVER, (qi, *m))


def follows(w: World, b: int, n: int) -> bool:
    """Node b is primary n, or flipped to its history in the session that it is in."""
    session = w.nodes[n][VIEW].sessions[b]
    if b == n or session is None:
        return b == n
    return bool(w.nodes[b][LINK] == (n, session.sid) and session.acked >= session.plan_seq)


def established(w: World, n: int) -> bool:
    """W2: every required node follows the history of primary n."""
    view = w.nodes[n][VIEW]
    if not CFG["lib"]:
        sessions = [view.sessions[m] for m in required(n, view)]
        return all(s is not None and s.acked >= s.plan_seq for s in sessions)
    if not view.established and required_lives(n, view) <= set(view.flipped):
        view = w.view(n, established=1)
    return bool(view.established)


def check(state: tuple) -> None:
    """Raise `Violation` if an invariant does not hold in this state."""
    check_members(state)
    given = state[4][GIVEN]
    for n in range(NODES):
        x = state[2][n]
        check_content(n, x[MEM].queues, given)
        if x[ROLE] == 1:
            check_ready(state, n)


def check_members(state: tuple) -> None:
    """S1, S3: what clients were told is true on the disk of every member."""
    told, accepted, settled = state[4][TOLD], state[4][ACCEPTED], state[4][SETTLED]
    need = told - accepted
    if not need and not settled:
        return
    for n, epoch in state[0].members:
        disk = state[2][n][DISK]
        if disk.epoch != epoch or (not R["epoch"] and disk.generation == 0):
            continue
        on_disk = values(disk)
        for v in need:
            if v not in on_disk:
                raise Violation(f"S1 acked v{v} is not on in-sync member {n}")
        if CFG["settle"] == "rep":
            for v in settled:
                if v in on_disk:
                    raise Violation(f"S3 settled v{v} is still on in-sync member {n}")


def check_content(n: int, queues: tuple, given: frozenset) -> None:
    """On one node: one content for each identity (I1), no message twice (X2), in order (S4)."""
    seen = set()
    for qi, queue in enumerate(queues):
        last = 0
        for m in queue.held:
            value = m[2]
            if (qi, *m) not in given:
                raise Violation(f"I1 node {n} holds {m[1]}@{m[0]} with content v{value}")
            if value in seen:
                raise Violation(f"X2 v{value} twice on node {n}")
            seen.add(value)
            if qi == 0:
                if value < last:
                    raise Violation(f"S4 order on node {n}: v{value} after v{last}")
                last = value


def check_ready(state: tuple, p: int) -> None:
    """R-a: a backup that has acknowledged everything is equal to its primary."""
    nodes, chans = state[2], state[3]
    mine = nodes[p][MEM].queues
    for b in range(NODES):
        s = nodes[p][VIEW].sessions[b]
        if s is None or b == p or nodes[b][LINK] != (p, s.sid) or not nodes[b][UP]:
            continue
        c = chans[channel(p, b)]
        idle = c.sid == s.sid and c.alive and not c.to_backup and not c.to_primary
        if idle and s.plan_seq <= s.acked >= s.sent and not nodes[b][ACK_DUE]:
            theirs = nodes[b][MEM].queues
            if mine != theirs and (R["cover"] or [q.held for q in mine] != [q.held for q in theirs]):
                raise Violation(f"R-a ready backup {b} differs from primary {p} at quiescence")


# --- healing: no more faults; the cluster must become ready, equal and empty ----------------------------


def heal_check(state: tuple) -> str | None:
    try:
        result = heal(state)
    except Violation as violation:
        result = "after healing: " + str(violation)
    if result == "dead":  # No node may be promoted: legal only if disks were lost.
        return None if state[5][BUDGET["wipe"]] else "live: no promotable node"
    return result


def heal(state: tuple) -> str | None:
    """Run one fair schedule without faults. Returns what is wrong at its end; None if nothing is."""
    w = World(state)
    idle = 0
    primary = 0
    for _ in range(60):
        before = w.freeze()
        heal_nodes(w)
        primaries = [n for n in range(NODES) if is_recorded_primary(w, n)]
        if not primaries:
            if any(w.nodes[n][CAS] is not None for n in range(NODES)) or w.inbox:
                continue
            if not heal_promote(w):
                return "dead"
            continue
        primary = primaries[0]
        if refused := heal_backups(w, primary):
            return refused
        heal_membership(w, primary)
        if heal_drain(w, primary):
            break
        try:
            check(w.freeze())
        except Violation as violation:
            return "after healing: " + str(violation)
        if w.freeze()[:5] == before[:5]:
            idle += 1
            if idle > 2:
                pending = w.nodes[primary][VIEW].pending
                return f"live: no progress, pend={pending!r} insync={w.record.members!r}"
    else:
        return "live: not healed in 60 rounds"
    for n in range(NODES):
        if values(w.nodes[n][MEM]):
            return f"live: node {n} not drained"
        if w.nodes[n][MEM].queues != w.nodes[primary][MEM].queues and R["cover"]:
            return f"R-a after healing: node {n} differs"
    lost = w.ghost[TOLD] - w.ghost[ACCEPTED]
    return f"S1 acked {sorted(lost)!r} never delivered" if lost else None


def heal_nodes(w: World) -> None:
    """Restart every node, resolve every compare-and-set, sync every store."""
    for n in range(NODES):
        if not w.nodes[n][UP]:
            restart(w, n)
    for request in list(w.inbox):
        manager_applies(w, request)
    for n in range(NODES):
        x = w.nodes[n]
        if x[CAS] is not None:
            if x[CAS].status == "sent" and not any(r.node == n for r in w.inbox):
                x[CAS] = x[CAS]._replace(status="doubt")
            if x[CAS].status != "sent":
                cas_resolved(w, n)
        if x[ROLE] == 1 and (w.record.generation > x[VIEW].generation or w.record.primary == NO_NODE):
            step_down(w, n)
        if x[MEM] != x[DISK] or x[ACK_DUE] or x[ROLE] == 1:
            fsync(w, n)


def is_recorded_primary(w: World, n: int) -> bool:
    x = w.nodes[n]
    return bool(
        x[ROLE] == 1
        and x[VIEW].generation == w.record.generation
        and w.record.primary == n
        and (w.record.boot == x[BOOT] or not R["new_gen"])
    )


def heal_promote(w: World) -> bool:
    for n in range(NODES):
        x = w.nodes[n]
        if (n, x[MEM].epoch) in w.record.members and x[ROLE] == 0:
            won = w.record.primary == n and w.record.boot == x[BOOT]
            if won and x[MEM].generation < w.record.generation:
                adopt(w, n)
            else:
                promote(w, n)
            return True
    return False


def heal_backups(w: World, p: int) -> str | None:
    """Let every backup subscribe to the primary and read everything."""
    for b in range(NODES):
        x = w.nodes[b]
        if b == p or x[CAS] is not None:
            continue
        view = w.nodes[p][VIEW]
        session, c = view.sessions[b], w.chans[channel(p, b)]
        if session is None or x[LINK] != (p, session.sid) or c.sid != session.sid or not c.alive:
            if x[MEM].generation > view.generation:
                return f"live: backup {b} refuses the current primary"
            subscribe(w, b, p, False)
        if catching_up(w.chans, p, b, w.nodes[p][VIEW].sessions[b]):
            snapshot(w, b, p)
        while x[LINK] is not None and w.chans[channel(p, b)].to_backup:
            receive(w, b, p)
            if x[ACK_DUE]:
                fsync(w, b)
        while w.chans[channel(p, b)].to_primary:
            acknowledge(w, p, b)
    return None


def strangers(w: World, view: View) -> list[int]:
    """Members whose store began another life."""
    return [m for (m, e) in view.members if w.nodes[m][MEM].epoch != e]


def heal_membership(w: World, p: int) -> None:
    """Make every node a member."""
    if w.nodes[p][CAS] is not None:
        return
    view = w.nodes[p][VIEW]
    wrong = [m for m in strangers(w, view) if m != p]
    if wrong:
        remove_member(w, p, wrong[0])
        return
    for b in range(NODES):
        session = view.sessions[b]
        if b == p or view.joining is not None or session is None:
            continue
        if session.acked >= session.plan_seq and (b, session.epoch) not in view.members:
            add_member(w, p, b)
            view = w.nodes[p][VIEW]
    joining = view.joining
    if joining is None:
        return
    session = view.sessions[joining.node]
    if session is None or session.sid != joining.sid:
        w.view(p, joining=None)
    elif session.acked >= joining.target:
        send_addition(w, p)


def heal_drain(w: World, p: int) -> bool:
    """Once all are members, deliver everything. Returns True when everything is done and acknowledged."""
    view = w.nodes[p][VIEW]
    whole = len(view.members) == NODES and not strangers(w, view)
    if not whole or w.nodes[p][CAS] is not None or w.inbox:
        return False
    done = True
    for qi in range(CFG["NQ"]):
        while w.nodes[p][MEM].queues[qi].held:
            done = False
            accept(w, p, qi, 0)
    if CFG["sync"]:
        fsync(w, p)
    quiet = all(not c.to_backup and not c.to_primary for c in w.chans)
    return done and quiet and not w.nodes[p][VIEW].pending


# --- search ---------------------------------------------------------------------------------------------

Result = dict[str, Any]


class Interner:
    """Maps equal values to equal small integers, so that a state becomes one integer and is compared exactly."""

    def __init__(self, bits: int) -> None:
        self.bits = bits
        self.mask = (1 << bits) - 1
        self.numbers: dict[Any, int] = {}
        self.values: list[Any] = []

    def put(self, value: Any) -> int:
        number = self.numbers.get(value)
        if number is None:
            number = len(self.values)
            assert number <= self.mask, "more distinct parts than an Interner has bits for"
            self.numbers[value] = number
            self.values.append(value)
        return number


class Packer:
    def __init__(self) -> None:
        self.heads = Interner(30)
        self.nodes = Interner(20)
        self.chans = Interner(20 if CFG["fuzzy"] else 16)
        self.ghosts = Interner(20)
        self.spent = Interner(20)

    def pack(self, s: tuple) -> int:
        key = self.heads.put((s[0], s[1]))
        for n in range(NODES):
            key = (key << 20) | self.nodes.put(s[2][n])
        bits = self.chans.bits
        for c in s[3]:
            key = (key << bits) | self.chans.put(c)
        key = (key << 20) | self.ghosts.put(s[4])
        return (key << 20) | self.spent.put(s[5])

    def unpack(self, key: int) -> tuple:
        spent = self.spent.values[key & 0xFFFFF]
        key >>= 20
        ghost = self.ghosts.values[key & 0xFFFFF]
        key >>= 20
        chans = []
        for _ in range(NODES * NODES):
            chans.append(self.chans.values[key & self.chans.mask])
            key >>= self.chans.bits
        nodes = []
        for _ in range(NODES):
            nodes.append(self.nodes.values[key & 0xFFFFF])
            key >>= 20
        head = self.heads.values[key]
        return (head[0], head[1], tuple(nodes[::-1]), tuple(chans[::-1]), ghost, spent)


def bfs(limit: int = 20_000_000, tlimit: float = 600, verbose: bool = False, heal_every: int = 1,
        want: str | None = None) -> Result:  # fmt: skip
    """Every state within the budgets, breadth first, so that a trace found is a shortest one.

    ``heal_every``: heal from one state in so many. ``want``: only violations that contain this text.
    """
    packer = Packer()
    started = time.time()
    first = packer.pack(initial())
    parent: dict[int, int | None] = {first: None}
    frontier = [first]
    depth = transitions = healed = 0

    def result(error: str | None = None, **more: Any) -> Result:
        seconds = round(time.time() - started, 1)
        counts = {"states": len(parent), "depth": depth, "trans": transitions, "heal": healed, "t": seconds}
        return {"err": error, **more, **counts}

    def trace(key: int, label: tuple | None) -> list[tuple]:
        labels = [label] if label else []
        while (before := parent[key]) is not None:
            target = packer.unpack(key)
            for found, after, error in successors(packer.unpack(before)):
                if error is None and after == target:
                    labels.append(found)
                    break
            key = before
        return labels[::-1]

    while frontier:
        found = []
        for key in frontier:
            state = packer.unpack(key)
            if CFG["heal"] and heal_due(key, heal_every):
                healed += 1
                error = heal_check(state)
                if error and (want is None or want in error):
                    return result(error, trace=trace(key, None))
            for label, after, error in successors(state):
                transitions += 1
                if error:
                    if want is None or want in error:
                        depth += 1
                        return result(error, trace=trace(key, label))
                    continue
                after_key = packer.pack(after)
                if after_key not in parent:
                    parent[after_key] = key
                    found.append(after_key)
            if len(parent) > limit or time.time() - started > tlimit:
                return result(complete=False)
        depth += 1
        frontier = found
        if verbose:
            print(f"depth {depth} states {len(parent)} frontier {len(found)} {time.time() - started:.0f}s",
                  file=sys.stderr)  # fmt: skip
    return result(complete=True)


def heal_due(key: int, every: int) -> bool:
    return every == 1 or (every > 1 and (key * 2654435761 >> 7) % every == 0)


WEIGHT = {
    "crash": 0.12, "crashp": 0.08, "wipe": 0.04, "prom": 0.25, "rem": 0.15, "conn": 0.7, "connk": 0.5,
    "casto": 0.25, "watch": 0.2, "fence": 0.2, "recvold": 1.0, "demote": 0.1,
}  # fmt: skip
"""How likely a random walk is to take an event, relative to 1."""

PAUSED = ("recv", "sync", "casok", "casfail", "casdoubt", "watch", "ack")
"""What a paused node does not do."""


def walk(seeds: int, steps: int, tlimit: float, seed0: int = 0, want: str | None = None,
         pause: bool = True) -> Result:  # fmt: skip
    """Random walks, each from its own seed, each healed at its end. Now and then a node is paused."""
    started = time.time()
    total = 0
    cover: dict[str, int] = {}
    seed = seed0
    for seed in range(seed0, seed0 + seeds):
        rnd = random.Random(seed)
        state = initial()
        trace: list[tuple] = []
        paused, until = None, 0
        for i in range(steps):
            choices = []
            for label, after, error in successors(state):
                if error:
                    if want is None or want in error:
                        return dict(err=error, trace=[*trace, label], seed=seed, steps=total,
                                    t=time.time() - started, walks=seed - seed0)  # fmt: skip
                    continue
                asleep = pause and paused is not None and i < until
                if asleep and label[0] in PAUSED and label[1] == paused:
                    continue
                choices.append((label, after))
            if pause and i >= until:
                paused = None
                if rnd.random() < 0.05:
                    paused = rnd.randrange(NODES)
                    until = i + rnd.randrange(5, 40)
            if not choices:
                if paused is not None:
                    until, paused = 0, None
                    continue
                break
            weights = [WEIGHT.get(label[0], 1.0) for label, _ in choices]
            x = rnd.random() * sum(weights)
            j = 0
            while x > weights[j] and j < len(weights) - 1:
                x -= weights[j]
                j += 1
            label, state = choices[j]
            trace.append(label)
            total += 1
            cover[label[0]] = cover.get(label[0], 0) + 1
        if CFG["heal"]:
            error = heal_check(state)
            if error and (want is None or want in error):
                return dict(err=error, trace=trace, seed=seed, steps=total,
                            t=time.time() - started, walks=seed - seed0)  # fmt: skip
        if time.time() - started > tlimit:
            break
    return dict(err=None, walks=seed - seed0 + 1, steps=total, t=time.time() - started, cover=cover)


# --- traces ---------------------------------------------------------------------------------------------


def replay(labels: list[tuple]) -> tuple[list[tuple], str] | None:
    """The violation that these events lead to, with the events that were needed; None if there is none."""
    state = initial()
    for i, label in enumerate(labels):
        step = find_event(state, label)
        if step is None:
            return None
        state, error = step
        if error:
            return labels[: i + 1], error
    error = heal_check(state) if CFG["heal"] else None
    return (labels, error) if error else None


def find_event(state: tuple, label: tuple) -> tuple[tuple, str | None] | None:
    """What this event leads to. A request to the manager may have another expected version by now."""
    similar = None
    for found, after, error in successors(state):
        if found == label:
            return after, error
        if similar is None and found[0] == label[0] == "mgr" and found[1:3] == label[1:3]:
            similar = after, error
    return similar


def shrink(labels: list[tuple], key: str) -> tuple[list[tuple], str]:
    """Leave out events as long as a violation of the same kind remains."""
    current = list(labels)
    progress = True
    while progress:
        progress = False
        for size in (8, 4, 3, 2, 1):
            i = 0
            while i + size <= len(current):
                found = replay(current[:i] + current[i + size :])
                if found is not None and found[1].split()[0:1] == key.split()[0:1]:
                    current = list(found[0])
                    progress = True
                else:
                    i += 1
    found = replay(current)
    return (current, found[1]) if found else (labels, key)


def shortest(result: Result, steps: int, tries: int) -> Result:
    """Shrink a walk's trace; do it again from other walks; keep the shortest."""
    best: tuple[list[tuple], str] | None = None
    for _ in range(tries):
        labels, error = shrink(result["trace"], result["err"])
        if best is None or len(labels) < len(best[0]):
            best = (labels, error)
        other = walk(20_000, steps, 15, result["seed"] + 1, result["err"].split()[0])
        if not other["err"]:
            break
        result.update(seed=other["seed"], trace=other["trace"], err=other["err"])
    if best is not None:
        result["trace"], result["err"] = best
    return result


# --- command line ---------------------------------------------------------------------------------------


def usage() -> str:
    lines = [(__doc__ or "").rstrip(), "", "Options, with their defaults:"]
    lines += [f"  {name + '=' + str(default):14} {text}" for name, (default, text) in OPTIONS.items()]
    lines += [
        "",
        "bfs only:   limit=STATES tlimit=SECONDS he=N (heal from 1 state in N; 0: never) verbose=1 want=TEXT",
        "walk only:  walks=N steps=120 tlimit=120 seed0=0 shrink=1 tries=4 want=TEXT",
        "",
        "Rules that -RULE removes:",
    ]
    lines += [f"  {'-' + name:16} {letter:6} {text}" for name, (letter, text) in RULES.items()]
    return "\n".join(lines)


def show(result: Result) -> None:
    labels = result.pop("trace", None)
    print(result)
    if labels:
        print("  trace: " + " ; ".join(" ".join(str(a) for a in label) for label in labels))
    sys.stdout.flush()


def main(args: list[str]) -> int:
    if not args or args[0] in ("-h", "--help", "help"):
        print(usage())
        return 2
    mode, off, options, search = "bfs", [], {}, {}
    for arg in args:
        if arg.startswith("-"):
            off.append(arg[1:])
        elif "=" in arg:
            name, value = arg.split("=")
            if name in OPTIONS:
                options[name] = value if name == "settle" else int(value)
            else:
                search[name] = value if name == "want" else int(value)
        else:
            mode = arg
    configure(off, **options)
    print(f"== {mode} {CFG} off={off} {search}")
    if mode == "bfs":
        result = bfs(
            limit=search.get("limit", 20_000_000),
            tlimit=search.get("tlimit", 600),
            verbose=bool(search.get("verbose", 0)),
            heal_every=search.get("he", 1),
            want=search.get("want"),
        )
    else:
        steps = search.get("steps", 120)
        walks, tlimit = search.get("walks", 1_000_000), search.get("tlimit", 120)
        result = walk(walks, steps, tlimit, search.get("seed0", 0), search.get("want"))
        if result["err"] and search.get("shrink", 1):
            result = shortest(result, steps, search.get("tries", 4))
    error = result["err"]
    show(result)
    return 1 if error else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
