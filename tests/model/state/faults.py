"""Disks, crashes, restarts."""

from __future__ import annotations

from tests.model.state.backup import send_ack
from tests.model.state.completion import complete
from tests.model.state.nouns import (
    ACK_DUE,
    ACKED,
    BOOT,
    CAS,
    DISK,
    LINK,
    MEM,
    NO_CHANNEL,
    NODES,
    NONE,
    OWN,
    PARTS,
    PLANNED,
    QUARANTINED,
    ROLE,
    STAGED,
    UP,
    VIEW,
    C,
    Queue,
    Store,
    World,
    channel,
    put_at,
)
from tests.model.state.options import CFG, use
from tests.model.state.rules import R
from tests.model.state.sessions import end_sending, leave_session


def fsync(w: World, n: int) -> None:
    x = w.nodes[n]
    x[DISK] = x[MEM]
    if x[ROLE] == 1:
        w.view(n, pending=tuple([op._replace(cover=put_at(op.cover, n, ACKED)) for op in x[VIEW].pending]))
        complete(w, n)
    elif x[ACK_DUE]:
        if x[LINK] is not None:
            send_ack(w, n, x[ACK_DUE])
        x[ACK_DUE] = 0


def crash(w: World, n: int, persist: bool) -> None:
    """``persist``: what was not synced got to the disk by luck."""
    use(w, "crash")
    kill(w, n, persist)


def kill(w: World, n: int, persist: bool) -> None:
    x = w.nodes[n]
    if persist:
        x[DISK] = x[MEM]
    if x[ROLE] == 1:
        x[VIEW] = None
        end_sending(w, n)
    leave_session(w, n)
    x[UP] = x[ROLE] = x[ACK_DUE] = 0
    x[VIEW] = x[CAS] = None
    x[PARTS] = x[STAGED] = x[PLANNED] = ()
    x[MEM] = x[DISK]
    for b in range(NODES):  # Backups of a dead primary with nothing left to read.
        other = w.nodes[b]
        if w.chans[channel(n, b)] == NO_CHANNEL and other[LINK] is not None and other[LINK][0] == n:
            other[LINK] = None
            other[ACK_DUE] = 0
            other[STAGED] = other[PLANNED] = ()
            if R["tx_fresh"]:
                other[PARTS] = ()


def restart(w: World, n: int) -> None:
    w.nodes[n][UP] = 1
    w.nodes[n][BOOT] += 1


def wipe(w: World, n: int) -> None:
    """The disk is lost: the next store has another epoch, and nothing but an empty C (J3)."""
    use(w, "wipe")
    kill(w, n, False)
    queues: tuple = ((C, Queue((), (), 1, ())),)
    if CFG["levels"] & 2:
        queues = (*queues, (OWN, Queue((), (), 1, (), NONE)))
    w.nodes[n][MEM] = w.nodes[n][DISK] = Store(0, queues, w.nodes[n][DISK].epoch + 1)
    w.ghost[QUARANTINED] = frozenset([item for item in w.ghost[QUARANTINED] if item[0] != n])
