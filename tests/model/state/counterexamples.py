"""The shortest counterexample that was found for each rule: what happens, event by event, when it is not kept."""

from __future__ import annotations

from typing import NamedTuple


class Counterexample(NamedTuple):
    rule: str
    violation: str
    """The first word of it. With some, it shows in the continuation without faults."""
    events: str


COUNTEREXAMPLES = [
    Counterexample("key_group", "Q-d", "put 0 a ; recv 1 0"),
    Counterexample("decl_group", "Q-d", "del 0 a ; decl 0 a ; recv 1 0 ; recv 1 0"),
    Counterexample("del_group", "Q-d", "del 0 a ; recv 1 0"),
    Counterexample(
        "uuid", "I1",
        "pub 0 ; del 0 a ; conn 1 0 ; recv 1 0 ; conn 2 0 ; recv 2 0 ; decl 0 a ; pub 0",
    ),
    Counterexample(
        "birth_keep", "R-b",
        "pub 0 ; put 0 a ; recv 1 0 ; recv 2 0 ; prom 2 ; ack 0 1 ; ack 0 2 ; mgr 2 prom 1 ; "
        "casok 2 ; del 2 a",
    ),
    Counterexample(
        "q_erase", "R-b",
        "pub 0 ; recv 1 0 ; ack 0 1 ; put 0 a ; del 0 a ; recv 1 0 ; rem 0 2 ; connk 1 0",
    ),
    Counterexample("q_rewound", "R-c", "prom 2 ; del 0 a ; decl 0 a ; pub 0"),
    Counterexample(
        "c_trim", "Q-e",
        "pub 0 ; recv 1 0 ; rem 0 2 ; mgr 0 rem 1 ; del 0 a ; casok 0 ; ack 0 1 ; crash 0",
    ),
    Counterexample(
        "q_quar", "R-g",
        "prom 2 ; mgr 2 prom 2 ; casok 2 ; pub 0 ; watch 0 ; recv 1 0 ; conn 0 2 ; crash 1 ; "
        "recv 0 2 ; restart 1 ; prom 1 ; mgr 1 prom 3 ; casok 1 ; acc 1 1 0 ; del 1 a",
    ),
    Counterexample("drop_keep", "S1", "pub 0 ; del 0 a"),
    Counterexample(
        "echo_wait", "Q-a",
        "del 0 a ; decl 0 a ; crash 0 ; restart 0 ; prom 0 ; mgr 0 prom 1 ; casok 0 ; "
        "decl 0 a",
    ),
    Counterexample("flip_one", "Q-d", "del 0 a ; conn 1 0 ; recv 1 0"),
    Counterexample(
        "stage_gone", "Q-d",
        "pub 0 ; conn 1 0 ; stage 1 0 1 1@1 ; del 0 a ; snap 1 0 ; recv 1 0 ; recv 1 0",
    ),
    Counterexample("plan_gone", "Q-b", "conn 2 0 ; ahead 2 0 1 ; del 0 a"),
    Counterexample("tx_local", "X1", "txn 0 1"),
    Counterexample("tx_hold", "X1", "txn 0 1 ; recv 2 0"),
    Counterexample("tx_ack", "S1", "txn 0 4 ; recv 2 0 ; ack 0 2 ; recv 1 0 ; ack 0 1"),
    Counterexample("tx_fresh", "R-a", "txn 0 1 ; txn 0 2 ; conn 1 0 ; recv 1 0 ; prom 1 ; recv 2 0"),
    Counterexample("tx_ids", "R-c", "pub 0 ; txn 0 1 ; conn 2 0 ; txcommit 0 ; recv 2 0 ; prom 2"),
    Counterexample("tx_all", "S1", "txn 0 1"),
    Counterexample("tx_cons", "F3", "pub 0 ; recv 2 0 ; txn 0 2"),
    Counterexample("tx_imm", "S1", "txn 0 1 ; acc 0 2 0"),
    Counterexample("tx_doubt", "S2", "prom 1 ; txn 0 1 ; conn 1 0 ; recv 1 0"),
    Counterexample(
        "tx_refuse", "S3",
        "prom 1 ; mgr 1 prom 1 ; casok 1 ; pub 1 ; dlv 1 1 0 ; move 1 ; txo 1 0 ; txend 1",
    ),
    Counterexample("upd_group", "X2", "pub 0 ; upd 0 1 0 ; recv 2 0 ; recv 2 0"),
    Counterexample("upd_key", "S4", "pub 0 ; pub 0 ; upd 0 1 0"),
    Counterexample(
        "upd_follow", "S3",
        "prom 1 ; mgr 1 prom 2 ; casok 1 ; pub 1 ; dlv 1 1 0 ; upd 1 1 0 ; accq 1 0",
    ),
    Counterexample("upd_hold", "U-a", "pub 0 ; dlv 0 1 0 ; upd 0 1 0 ; dlv 0 1 0"),
    Counterexample("upd_release", "live", "pub 0 ; move 0 ; dlv 0 2 0 ; upd 0 2 0"),
    Counterexample("upd_told", "S3", "pub 0 ; dlv 0 1 0 ; pub 0 ; accq 0 0 ; recv 1 0"),
    Counterexample(
        "upd_moved", "S3",
        "pub 0 ; dlv 0 1 0 ; move 0 ; accq 0 0 ; recv 1 0 ; recv 1 0 ; recv 2 0 ; recv 2 0 ; "
        "ack 0 1 ; ack 0 2",
    ),
    Counterexample("upd_tx", "S3", "pub 0 ; move 0 ; dlv 0 2 0 ; txo 0 0 ; upd 0 2 0 ; txend 0"),
    Counterexample("upd_pend", "S1", "pub 0 ; upd 0 1 0"),
    Counterexample("upd_origin", "F3", "pub 0 ; upd 0 1 0 ; acc 0 1 0 ; recv 2 0 ; ack 0 2"),
    Counterexample(
        "origin_first", "R-g",
        "prom 2 ; mgr 2 prom 1 ; pub 0 ; recv 2 0 ; casok 2 ; upd 0 1 0 ; upd 0 1 0 ; "
        "acc 2 1 0",
    ),
    Counterexample("origin_judge", "R-g", "pub 0 ; upd 0 1 0 ; prom 2"),
    Counterexample(
        "origin_follow", "R-g",
        "prom 1 ; mgr 1 prom 1 ; casok 1 ; pub 1 ; conn 2 1 ; upd 1 1 0 ; recv 2 1 ; prom 2 ; "
        "ack 1 2 ; mgr 2 prom 2 ; watch 1 ; casok 2 ; conn 1 2 ; recv 1 2",
    ),
    Counterexample("copy_first", "U5", "pub 0 ; upd 0 1 0"),
    Counterexample("dd_atomic", "X1", "pub 0 ; recv 1 0"),
    Counterexample("dd_flip", "I1", "pub 0 ; prom 1"),
    Counterexample("dd_survive", "EO-a", "pub 0 ; acc 0 1 0 ; re 0 1"),
    Counterexample("dd_global", "S3", "pub 0 ; acc 0 1 0 ; del 0 a ; decl 0 a ; re 0 1"),
    Counterexample("dd_wait", "S1", "prom 1 ; mgr 1 prom 1 ; pub 0 ; recv 1 0 ; casok 1 ; re 1 1"),
    Counterexample("dd_gap", "S1", "prom 1 ; pub 0 ; mgr 1 prom 2 ; casok 1 ; pub 1"),
    Counterexample("dd_reg", "EO-a", "pub 0 ; acc 0 1 0 ; exp 0 1 ; re 0 1"),
    Counterexample(
        "dd_same", "S1",
        "rem 0 1 ; mgr 0 rem 1 ; prom 2 ; pub 0 ; mgr 2 prom 3 ; casok 2 ; reg 2 1 ; pub 2",
    ),
    Counterexample(
        "dd_anew", "EO-a",
        "pub 0 ; acc 0 1 0 ; prom 1 ; conn 2 0 ; mgr 1 prom 1 ; recv 2 0 ; prom 2 ; "
        "mgr 2 prom 2 ; casok 2 ; reg 2 1 ; anew 2 1",
    ),
    Counterexample("dd_expire", "R-a", "exp 0 1"),
    Counterexample(
        "dd_tag", "X2",
        "prom 2 ; pub 0 ; recv 1 0 ; crash 1 ; mgr 2 prom 1 ; casok 2 ; restart 1 ; re 2 1 ; "
        "conn 1 2 ; recv 1 2 ; ack 2 1 ; repub 2 1",
    ),
    Counterexample("dd_bind", "S1", "pub 0 ; reuse 0 1"),
    Counterexample("dd_used", "S1", "prom 2 ; mgr 2 prom 1 ; pub 0 ; casok 2 ; gup 2 1 ; gup 2 1"),
    Counterexample(
        "dd_embedder", "S1",
        "prom 1 ; pub 0 ; mgr 1 prom 1 ; casok 1 ; gup 1 1 ; recv 2 0 ; conn 2 1 ; recv 2 1 ; "
        "ack 1 2 ; repub 1 1",
    ),
    Counterexample("dd_first", "live", "prom 1 ; txn 0 4 ; conn 1 0 ; recv 1 0"),
    Counterexample(
        "ring_group", "S1",
        "pub 0 ; rem 0 1 ; pub 0 ; mgr 0 rem 1 ; conn 2 0 ; recv 2 0 ; pub 0 ; recv 2 0 ; "
        "ack 0 2 ; casok 0",
    ),
    Counterexample("ring_keep", "S1", "pub 0 ; pub 0 ; pub 0"),
    Counterexample("min_pend", "S8", "rem 0 1 ; pub 0 ; mgr 0 rem 1 ; casok 0 ; rem 0 2"),
    Counterexample(
        "min_doubt", "S8",
        "pub 0 ; rem 0 1 ; mgr 0 rem 1 ; recv 1 0 ; recv 2 0 ; ack 0 2 ; ack 0 1",
    ),
    Counterexample("lv_compare", "LV-b", "txn 0 8 ; conn 1 0"),
    Counterexample("lv_send", "LV-b", "txn 0 8"),
    Counterexample("lv_copy", "S1", "txn 0 8 ; lmove 0 1 4"),
    Counterexample("lv_own", "LV-a", "lpub 0 5 ; prom 1"),
    Counterexample(
        "lv_wait", "LV-a",
        "del 0 l ; decl 0 l ; rem 0 1 ; prom 2 ; mgr 2 prom 1 ; recv 1 0 ; lpub 0 11 ; "
        "mgr 0 rem 1 ; casok 2 ; prom 1 ; recv 1 0 ; casfail 0 ; conn 0 2 ; recv 0 2",
    ),
    Counterexample("enter", "S1", "prom 1 ; mgr 1 prom 1 ; prom 2 ; mgr 2 prom 2 ; casok 2 ; pub 2"),
    Counterexample(
        "enter_backup", "S1",
        "prom 1 ; mgr 1 prom 1 ; casok 1 ; conn 2 1 ; pub 1 ; recv 2 1 ; recv 2 1 ; ack 1 2",
    ),
]  # fmt: skip


def parsed(events: str) -> list[tuple]:
    """The labels of a trace: "ack 0 1 ; recv 2 0" becomes [("ack", 0, 1), ("recv", 2, 0)]."""
    return [
        tuple(int(word) if word.isdigit() else word for word in event.split())
        for event in events.split(" ; ")
    ]
