"""The searches of docs/state-protocol.md: configurations that must be clean, and each rule removed."""

from __future__ import annotations

from typing import Any, NamedTuple

FAULTS = dict(crash=3, reconn=9, prom=4, rem=2, add=2)
SYNC = dict(sync=1)
CONFIGURATION = {**FAULTS, "queues": 1, "pub": 4, "acc": 3, "decl": 3, "put": 2, "del": 3}
COMMITS = {**FAULTS, **dict(pub=3, acc=2, txn=3)}
UPDATES = {**FAULTS, **dict(pub=3, acc=3, upd=4)}
HOLDS = {**FAULTS, **dict(pub=3, acc=2, upd=3, dlv=3, rel=2, txo=3, move=1)}
PUBLISHERS = {**FAULTS, **dict(queues=1, dedup=1, pub=4, acc=3, re=6)}
SEQUENCED = {**FAULTS, **dict(dedup=1, seqtx=1, pub=2, txn=3, acc=3, re=6)}
RING = {**FAULTS, **dict(queues=1, ring=2, pub=6, acc=1)}
LEVELS = {
    **FAULTS,
    "levels": 3,
    "shapes": 8,
    "pub": 3,
    "acc": 3,
    "lpub": 4,
    "lmove": 3,
    "txn": 2,
    "upd": 1,
    "del": 1,
}
ALL = {**FAULTS, "pub": 5, "acc": 3, "decl": 2, "put": 2, "txn": 2, "upd": 3, "move": 2, "dlv": 2, "rel": 1, "txo": 2,
       "del": 2}  # fmt: skip
NEW = dict(chunks=1, ahead=3, water=1, demote=1, wipe=1)
"""Budgets of walks."""


class Removed(NamedTuple):
    rule: str
    violation: str
    """The first word of the violation that is expected; "" for any."""
    options: dict[str, Any]
    bfs: bool = False
    """Too rare for walks: search breadth first, with the options as all budgets."""


REMOVED = [
    Removed("key_group", "", CONFIGURATION),
    Removed("decl_group", "", CONFIGURATION),
    Removed("del_group", "", CONFIGURATION),
    Removed("uuid", "I1", CONFIGURATION),
    Removed(
        "birth_keep", "R-b", {"queues": 1, "pub": 1, "put": 1, "del": 1, "reconn": 1, "prom": 1}, bfs=True
    ),
    Removed("q_erase", "R-b", CONFIGURATION),
    Removed("q_rewound", "R-c", CONFIGURATION),
    Removed("c_trim", "Q-e", {**CONFIGURATION, "trim": 1}),
    Removed("q_quar", "R-g", CONFIGURATION),
    Removed("drop_keep", "S1", CONFIGURATION),
    Removed("echo_wait", "", CONFIGURATION),
    Removed("flip_one", "", CONFIGURATION),
    Removed("stage_gone", "", {"chunks": 1, "queues": 1, "pub": 1, "del": 1, "reconn": 1}, bfs=True),
    Removed("plan_gone", "", {"chunks": 1, "queues": 1, "ahead": 1, "del": 1, "reconn": 1}, bfs=True),
    Removed("tx_local", "", COMMITS),
    Removed("tx_hold", "", COMMITS),
    Removed("tx_ack", "S1", COMMITS),
    Removed("tx_fresh", "", COMMITS),
    Removed("tx_ids", "R-c", COMMITS),
    Removed("tx_all", "S1", COMMITS),
    Removed("tx_cons", "", COMMITS),
    Removed("tx_imm", "S1", {**COMMITS, "settle": "imm"}),
    Removed("tx_doubt", "S2", COMMITS),
    Removed("tx_refuse", "S3", HOLDS),
    Removed("upd_group", "", UPDATES),
    Removed("upd_key", "S4", UPDATES),
    Removed("upd_follow", "S3", {**UPDATES, "dlv": 2}),
    Removed("upd_hold", "U-a", HOLDS),
    Removed("upd_release", "live", HOLDS),
    Removed("upd_told", "S3", {**FAULTS, "queues": 1, "ring": 1, "pub": 4, "dlv": 3}),
    Removed("upd_moved", "S3", HOLDS),
    Removed("upd_tx", "S3", HOLDS),
    Removed("upd_pend", "S1", UPDATES),
    Removed("upd_origin", "F3", UPDATES),
    Removed("origin_first", "R-g", UPDATES),
    Removed("origin_judge", "R-g", UPDATES),
    Removed("origin_follow", "R-g", dict(queues=1, pub=1, upd=1, reconn=2, prom=2), bfs=True),
    Removed("copy_first", "U5", UPDATES),
    Removed("dd_atomic", "", PUBLISHERS),
    Removed("dd_flip", "", PUBLISHERS),
    Removed("dd_survive", "", PUBLISHERS),
    Removed("dd_global", "", {**PUBLISHERS, "decl": 2, "del": 2}),
    Removed("dd_wait", "S1", PUBLISHERS),
    Removed("dd_gap", "", PUBLISHERS),
    Removed("dd_reg", "", {**PUBLISHERS, "exp": 1}),
    Removed("dd_same", "S1", {**PUBLISHERS, "reg": 2}),
    Removed("dd_anew", "EO-a", {**PUBLISHERS, "reg": 2}),
    Removed("dd_expire", "", {**PUBLISHERS, "exp": 1}),
    Removed("dd_bind", "S1", PUBLISHERS),
    Removed("dd_tag", "", {**PUBLISHERS, "repub": 2}),
    Removed("dd_embedder", "S1", {**PUBLISHERS, "gup": 3, "repub": 2}),
    Removed("dd_used", "S1", {**PUBLISHERS, "gup": 4}),
    Removed("dd_first", "live", SEQUENCED),
    Removed("ring_group", "S1", RING),
    Removed("ring_keep", "S1", RING),
    Removed("min_pend", "S8", {**FAULTS, "queues": 1, "pub": 3, "min": 2}),
    Removed("min_doubt", "S8", {**FAULTS, "queues": 1, "pub": 3, "min": 3, "drop_old": 0, "casto": 1}),
    Removed("lv_compare", "", LEVELS),
    Removed("lv_send", "LV-b", LEVELS),
    Removed("lv_copy", "", LEVELS),
    Removed("lv_own", "", LEVELS),
    Removed("lv_wait", "LV-a", {**LEVELS, "decl": 1}),
    Removed("enter", "S1", dict(entry=1, queues=1, pub=2, reconn=2, prom=2), bfs=True),
    Removed("enter_backup", "S1", dict(entry=1, queues=1, pub=2, reconn=2, prom=2), bfs=True),
]


class Clean(NamedTuple):
    name: str
    options: dict[str, Any]
    states: int
    depth: int
    """0 and 0: not known."""


CLEAN = [
    Clean("declare, publish", dict(queues=0, decl=1, pub=1, acc=1, reconn=2, prom=1), 182_928, 22),
    Clean("delete, failovers", {"queues": 1, "del": 1, "pub": 1, "reconn": 2, "prom": 2}, 405_094, 23),
    Clean("declare, put, delete", {"queues": 0, "decl": 1, "put": 1, "del": 1, "reconn": 2, "prom": 1}, 243_788, 22),
    Clean("declare, delete, failovers", {"queues": 0, "decl": 1, "del": 1, "reconn": 2, "prom": 2}, 305_966, 23),
    Clean("delete, declare again", {"queues": 1, "del": 1, "decl": 1, "pub": 1, "reconn": 1, "prom": 1}, 62_707, 19),
    Clean("put, delete, publish", {"queues": 1, "put": 1, "del": 1, "pub": 1, "reconn": 1, "prom": 1}, 61_910, 19),
    Clean("declare, delete, fsync",
          {"queues": 0, "decl": 1, "del": 1, "crash": 1, "reconn": 1, "prom": 1, **SYNC}, 474_839, 24),
    Clean("transaction", dict(txn=1, pub=1, reconn=1, prom=1), 41_540, 20),
    Clean("transaction, failovers", dict(txn=1, reconn=2, prom=2), 121_152, 24),
    Clean("transaction, fsync", dict(txn=1, shapes=5, crash=1, reconn=1, prom=1, **SYNC), 114_859, 24),
    Clean("update", dict(queues=1, pub=1, upd=1, acc=1, reconn=2, prom=1), 238_967, 22),
    Clean("update, accept in flight", dict(queues=1, pub=1, upd=1, dlv=1, reconn=2, prom=1), 331_434, 23),
    Clean("update, failovers", dict(queues=1, pub=1, upd=1, reconn=2, prom=2), 309_476, 23),
    Clean("move, update", dict(pub=1, move=1, upd=1, acc=1, reconn=1, prom=1), 217_648, 22),
    Clean("repeat", dict(queues=1, dedup=1, pub=2, re=1, acc=1, reconn=1, prom=1), 192_661, 21),
    Clean("repeat, failovers", dict(queues=1, dedup=1, pub=1, re=1, reconn=2, prom=2), 134_690, 21),
    Clean("repeat, forget", dict(queues=1, dedup=1, pub=1, re=2, exp=1, acc=1, reconn=1, prom=1), 182_804, 21),
    Clean("repeat, delete",
          {"queues": 1, "dedup": 1, "pub": 1, "re": 1, "decl": 1, "del": 1, "reconn": 1, "prom": 1}, 146_396, 20),
    Clean("ring", dict(queues=1, ring=1, pub=2, acc=1, reconn=1, prom=1), 48_525, 19),
    Clean("ring, holds", dict(queues=1, ring=1, pub=2, dlv=1, reconn=1, prom=1), 65_898, 20),
    Clean("delete, move", {"queues": 2, "alt": 1, "del": 1, "pub": 1, "acc": 1, "reconn": 1, "prom": 1}, 50_819, 19),
    Clean("delete, look", {"queues": 1, "del": 1, "look": 1, "pub": 1, "reconn": 2, "prom": 1}, 109_204, 20),
    Clean("min", dict(queues=1, min=2, pub=1, rem=2, add=1, reconn=1, casto=1), 14_398, 19),
    Clean("join, delete", {"queues": 1, "del": 1, "pub": 1, "rem": 1, "add": 1, "reconn": 1, "prom": 1}, 193_019, 22),
    Clean("chunks, delete", {"chunks": 1, "queues": 1, "del": 1, "pub": 1, "reconn": 1, "prom": 1}, 11_011, 18),
    Clean("chunks, declare", {"chunks": 1, "queues": 0, "decl": 1, "put": 1, "reconn": 1, "prom": 1}, 10_824, 17),
    Clean("chunks, transaction", dict(chunks=1, txn=1, reconn=2, prom=1), 79_980, 22),
    Clean("chunks, update", dict(chunks=1, queues=1, pub=1, upd=1, acc=1, reconn=1, prom=1), 49_625, 20),
    Clean("chunks, repeat", dict(chunks=1, queues=1, dedup=1, pub=1, re=1, acc=1, reconn=1, prom=1), 32_305, 18),
    Clean("chunks, plans ahead", {"chunks": 1, "ahead": 2, "queues": 1, "del": 1, "pub": 1, "reconn": 1, "prom": 1},
          102_295, 22),
    Clean("watermark, transaction", dict(water=1, shapes=2, txn=1, pub=2, reconn=1, prom=1), 64_342, 21),
    Clean("watermark, immediate", dict(water=1, settle="imm", shapes=1, txn=1, pub=1, acc=1, reconn=1), 23_404, 16),
    Clean("watermark, update", dict(water=1, queues=1, pub=2, upd=1, acc=1, reconn=1), 69_132, 18),
    Clean("hand-over, delete", {"demote": 1, "queues": 1, "del": 1, "pub": 1, "reconn": 1, "prom": 1}, 45_460, 18),
    Clean("hand-over, repeat", dict(demote=1, queues=1, dedup=1, pub=1, re=1, reconn=1, prom=1), 16_187, 16),
    Clean("lost disk, delete", {"wipe": 1, "queues": 1, "del": 1, "rem": 1, "add": 1, "reconn": 1, "prom": 1},
          142_666, 21),
    Clean("lost disk, repeat", dict(wipe=1, queues=1, dedup=1, pub=1, re=1, rem=1, reconn=1, prom=1), 131_067, 18),
    Clean("lost disk, chunks, min",
          {"wipe": 1, "chunks": 1, "queues": 1, "min": 2, "pub": 1, "rem": 1, "add": 1, "reconn": 1}, 20_238, 21),
    Clean("two publishers", dict(queues=1, dedup=1, publishers=2, pub=2, re=1, reconn=1, prom=1), 66_335, 17),
    Clean("register", dict(queues=1, dedup=1, publishers=0, reg=1, pub=1, re=1, reconn=2, prom=1), 53_133, 22),
    Clean("register again", dict(queues=1, dedup=1, reg=1, pub=1, re=1, reconn=1, prom=1), 48_537, 19),
    Clean("give up", dict(queues=1, dedup=1, pub=1, re=1, gup=2, reconn=1, prom=1), 12_963, 16),
    Clean("commit with a sequence", dict(dedup=1, seqtx=1, own=0, txn=1, re=1, acc=1, reconn=1, prom=1), 73_697, 25),
    Clean("holds", dict(queues=1, pub=1, upd=1, dlv=2, rel=1, reconn=1, prom=1), 105_529, 22),
    Clean("open transaction", dict(pub=1, dlv=1, txo=1, upd=1, reconn=1, prom=1), 112_586, 23),
    Clean("levels", dict(levels=1, queues=1, lpub=1, lmove=1, acc=1, reconn=1, prom=1), 7_244, 17),
    Clean("levels, declare", {"levels": 1, "queues": 0, "lpub": 1, "decl": 1, "reconn": 1, "prom": 1}, 4_110, 14),
    Clean("levels, delete", {"levels": 3, "queues": 0, "lpub": 1, "del": 1, "reconn": 2, "prom": 1}, 28_032, 17),
    Clean("levels, commit", dict(levels=1, queues=1, shapes=8, txn=1, lmove=1, reconn=2, prom=1), 73_876, 19),
    Clean("entries, move", dict(entry=1, pub=1, move=1, reconn=1, prom=2), 39_680, 20),
    Clean("entries, chunks, update", dict(entry=1, chunks=1, queues=1, pub=1, upd=1, reconn=1, prom=1), 10_838, 17),
    Clean("entries, levels", dict(entry=1, levels=3, queues=0, lpub=1, reconn=1, prom=2), 3_258, 13),
]  # fmt: skip

WALKS: list[tuple[str, dict[str, Any]]] = [
    ("configuration", CONFIGURATION),
    ("configuration, fsync, trimmed", {**CONFIGURATION, **SYNC, "trim": 1}),
    ("configuration, old primary stays, CAS time-outs", {**CONFIGURATION, "drop_old": 0, "casto": 2}),
    ("deletions that move, fsync", {**CONFIGURATION, **SYNC, "queues": 2, "alt": 1, "upd": 2, "look": 1}),
    ("transactions, immediate", {**COMMITS, "settle": "imm"}),
    ("transactions, fsync", {**COMMITS, **SYNC}),
    ("updates, moves, deliveries", {**UPDATES, "move": 3, "dlv": 2}),
    ("updates, immediate, fsync", {**UPDATES, **SYNC, "settle": "imm"}),
    ("publishers", {**PUBLISHERS, "decl": 1, "del": 1, "exp": 1, "repub": 1}),
    ("publishers, fsync, old primary stays", {**PUBLISHERS, **SYNC, "drop_old": 0, "repub": 2}),
    ("ring, fsync", {**RING, **SYNC}),
    ("min 2, CAS time-outs", {**CONFIGURATION, "min": 2, "casto": 2}),
    ("all but publishers, fsync", {**ALL, **SYNC}),
    ("all but publishers, immediate, trimmed, old primary stays",
     {**ALL, "settle": "imm", "trim": 1, "drop_old": 0}),
    ("all, fsync, old primary stays, CAS time-outs",
     {**ALL, **SYNC, "dedup": 1, "re": 4, "repub": 1, "drop_old": 0, "casto": 1}),
    ("chunks, configuration", {**CONFIGURATION, "chunks": 1, "ahead": 4, "demote": 1}),
    ("chunks, commits, watermark, fsync", {**COMMITS, **SYNC, "chunks": 1, "water": 1}),
    ("chunks, updates, trimmed", {**UPDATES, "chunks": 1, "ahead": 4, "trim": 1, "move": 2}),
    ("watermark, immediate, commits", {**COMMITS, "settle": "imm", "water": 1, "upd": 2}),
    ("hand-overs, lost disk, configuration, fsync", {**CONFIGURATION, **SYNC, "demote": 2, "wipe": 1}),
    ("lost disks, min 2, chunks, fsync", {**CONFIGURATION, **SYNC, "wipe": 2, "min": 2, "chunks": 1}),
    ("two publishers, register, give up",
     {**PUBLISHERS, "publishers": 2, "reg": 2, "exp": 1, "gup": 2, "repub": 1}),
    ("two publishers, chunks, watermark, lost disk, fsync",
     {**PUBLISHERS, **SYNC, "publishers": 2, "reg": 1, "gup": 1, "chunks": 1, "water": 1, "wipe": 1}),
    ("commits with a sequence", {**SEQUENCED, "gup": 2, "reg": 1, "upd": 1}),
    ("commits with a sequence, chunks, hand-overs, fsync", {**SEQUENCED, **SYNC, "chunks": 1, "demote": 2, "gup": 1}),
    ("holds, releases, open transactions", HOLDS),
    ("holds, immediate, chunks, old primary stays", {**HOLDS, "settle": "imm", "chunks": 1, "drop_old": 0}),
    ("levels, declarations", {**LEVELS, "decl": 1}),
    ("levels, chunks, watermark, lost disk, fsync", {**LEVELS, **SYNC, "decl": 1, "chunks": 1, "water": 1, "wipe": 1}),
    ("all of it, but for publishers",
     {**ALL, **SYNC, **NEW, "shapes": 15, "levels": 3, "lpub": 2, "lmove": 2, "casto": 1}),
    ("all of it", {**ALL, **SYNC, **NEW, "dedup": 1, "seqtx": 1, "publishers": 2, "re": 5, "reg": 1, "gup": 1, "repub": 1,
                   "exp": 1, "trim": 1, "drop_old": 0}),
]  # fmt: skip
