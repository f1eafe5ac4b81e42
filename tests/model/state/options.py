"""Variants and budgets of a search: what differs from one configuration of the model to another."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from tests.model.state.rules import RULES, R

if TYPE_CHECKING:
    from tests.model.state.nouns import World

VARIANTS: dict[str, tuple[Any, str]] = {
    "settle": ("rep", "imm or rep: settle immediate or replicated (O6); a commit is always replicated"),
    "sync": (0, "1: fsync is an event of its own"),
    "drop_old": (1, "1: a promotion removes the old primary from the members"),
    "trim": (0, "1: lineages are trimmed at the front"),
    "entry": (0, "1: a generation enters itself in a lineage with its first id there, not at its activation (P3)"),
    "chunks": (0, "1: catch-up in chunks: messages are staged between SUB and the snapshot"),
    "water": (0, "1: the publishes of a queue complete in their order"),
    "queues": (2, "queues that exist at the start: 0, 1 (a) or 2 (a, b)"),
    "levels": (0, "sum of 1: queue l, whose messages are not replicated; 2: a queue of each node alone"),
    "dedup": (0, "1: publishes carry (publisher, epoch, sequence) and are repeated"),
    "publishers": (1, "with dedup: publishers that are registered at the start, 0 to 2; 0: one that is not"),
    "own": (1, "0: a commit waits for a later accept of its message, as a publish does (TX6)"),
    "seqtx": (0, "1: commits carry (publisher, epoch, sequence), too"),
    "ring": (0, "capacity of queue a; 0: none"),
    "min": (0, "least number of members"),
    "shapes": (7, "commits, a sum of 1: to a and b; 2: take from a, to b; 4: declare c, and to it; 8: to a and l"),
    "echo_est": (0, "1: a variant of Q7 and EO4 that is wrong: wait only until the generation is established"),
    "alt": (0, "1: a deletion of a moves its messages to b, in the same operation"),
    "struct": (1, "0: only what clients can see is checked, not the structure of the stores"),
    "maxacc": (2, "accepts and updates reach this far into a queue"),
    "heal": (1, "1: heal and check liveness"),
}  # fmt: skip
COUNTED = {
    "pub": "publishes to queue a (or the last queue declared)",
    "acc": "accepts",
    "decl": "declarations of queue a",
    "del": "deletions",
    "put": "updates of the properties of a queue",
    "txn": "commits",
    "upd": "updates of a message",
    "move": "moves of the first message of a to b",
    "dlv": "deliveries whose accept comes later",
    "rel": "releases of what was delivered",
    "txo": "messages that are taken into an open transaction",
    "look": "deletions that find no queue a",
    "re": "repeated publishes",
    "exp": "publishers forgotten",
    "reg": "registrations of a publisher, again or for the first time",
    "gup": "sequences given up",
    "repub": "discarded messages published again by the embedder",
    "lpub": "publishes to queues whose messages are not replicated",
    "lmove": "moves between a and l",
    "ahead": "chunks: plans of queues that are sent before the snapshot",
    "crash": "crashes",
    "wipe": "lost disks",
    "reconn": "subscriptions",
    "prom": "promotion attempts",
    "demote": "hand-overs",
    "rem": "removals of members",
    "add": "additions of members",
    "casto": "time-outs of a compare-and-set",
}
"""How often each event may happen, 0 unless a search says more."""

OPTIONS: dict[str, tuple[Any, str]] = {**VARIANTS, **{name: (0, text) for name, text in COUNTED.items()}}
BUDGETS = list(COUNTED)
BUDGET = {name: index for index, name in enumerate(BUDGETS)}
CFG: dict[str, Any] = {name: default for name, (default, _) in OPTIONS.items()}


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


def use(w: World, name: str) -> int:
    """Spend one of this budget; how many of it were spent by now."""
    w.spent[BUDGET[name]] += 1
    return w.spent[BUDGET[name]]


def can(state: tuple, name: str) -> bool:
    return bool(state[5][BUDGET[name]] < CFG[name])
