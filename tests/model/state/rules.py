"""The rules of docs/state-protocol.md. Each has a switch that removes it, to behave as a node that forgets it."""

from __future__ import annotations

RULES: dict[str, tuple[str, str]] = {
    # switch: (rule in docs/state-protocol.md, what holds while it is on)
    # Configuration.
    "key_group": ("Q1", "a put is one operation {ENQ new, DEQ old}"),
    "decl_group": ("Q2", "a declaration is one operation {ENQ object, CREATE queue}"),
    "del_group": ("Q2", "a deletion is one operation {DEQ object, DROP queue}"),
    "uuid": ("Q3", "a queue that is declared again is another queue: its uuid is new"),
    "birth_keep": ("Q3", "an update of the object leaves the birth of the queue as it is"),
    "q_erase": ("Q4", "a queue whose birth is in the primary's history of C was deleted: it is erased"),
    "q_rewound": ("Q4", "a queue whose birth is not in that history was never declared: it is quarantined"),
    "c_trim": ("Q4", "the lineage of C is never trimmed at the front, so that a birth is never unknown"),
    "q_quar": ("Q5", "what is in quarantine carries the birth of its queue"),
    "drop_keep": ("Q6", "a deletion completes no publish that is pending in the queue"),
    "echo_wait": ("Q7", "an answer about what is there, or not there, waits for all operations before it"),
    "flip_one": ("Q8", "C and all queues flip in one transaction"),
    "stage_gone": ("Q9", "what was staged for a queue that the plan does not have ends with the flip"),
    "plan_gone": (
        "Q9",
        "a queue whose plan was sent before the snapshot, and that was deleted since, is taken back",
    ),
    # Transactions.
    "tx_local": ("TX1", "the primary applies a transaction in one step, before it sends any of it"),
    "tx_hold": ("TX2", "a backup applies the parts with the last frame"),
    "tx_ack": ("TX2", "only the last frame is acknowledged"),
    "tx_fresh": ("TX3", "the parts that a backup holds end with their session"),
    "tx_ids": ("TX4", "ids are given out at the commit"),
    "tx_all": ("TX5", "a commit is answered when its operation is complete"),
    "tx_cons": ("TX6", "a pending publish that is accepted in a transaction completes where that does"),
    "tx_imm": ("TX7", "an immediate accept of a message of a pending commit does not complete the commit"),
    "tx_doubt": ("TX8", "a commit that is pending at a step-down is in doubt, not rolled back"),
    "tx_refuse": ("TX9", "a commit that names a message that is gone is refused as a whole"),
    # Updates.
    "upd_group": ("U1", "an update is one operation {COPY, DEQ}"),
    "upd_key": ("U1", "an updated message keeps its order key"),
    "upd_follow": ("U2", "an accept of an id that was replaced is an accept of its successor"),
    "upd_hold": ("U2", "what a consumer holds stays held when it is replaced"),
    "upd_release": ("U2", "a release of an id that was replaced releases its successor"),
    "upd_told": ("U2", "an accept of a message that was consumed waits for the present position"),
    "upd_moved": ("U2", "an accept of a message that was moved away is refused"),
    "upd_tx": ("U2", "a part of an open transaction that names a replaced id means its successor"),
    "upd_pend": ("U3", "an update completes no publish that is pending"),
    "upd_origin": ("U3", "a pending publish is found through the origin when its successor is accepted"),
    "origin_first": ("U4", "the origin is that of the first message, carried through every replacement"),
    "origin_judge": ("U4", "a rewound successor is undone only if its origin is in the primary's history"),
    "origin_follow": (
        "U4",
        "the origin is judged by the established primary that the node follows in its session",
    ),
    "copy_first": ("U5", "parts apply in their order; a COPY comes before what removes its source"),
    # Exactly once: repeated publishes.
    "dd_atomic": ("EO1", "a message and the entry of its publisher are one operation"),
    "dd_flip": ("EO2", "the entries are corrected by the flip like everything else"),
    "dd_survive": ("EO3", "the entry survives its message"),
    "dd_global": ("EO3", "the entry survives the queue"),
    "dd_wait": ("EO4", "a repeated publish is answered when everything before it is complete"),
    "dd_gap": ("EO5", "only the next sequence is stored; above it refused, at or below it a repetition"),
    "dd_reg": ("EO6", "an unknown publisher is refused, never begun anew"),
    "dd_same": ("EO6", "the epoch of the entry is compared, not the name of the publisher alone"),
    "dd_anew": ("EO6", "what was sent in one epoch is not sent again in another"),
    "dd_expire": ("EO6", "a publisher is forgotten by an operation of the primary, not by each node"),
    "dd_tag": ("EO7", "a discarded message that is published again keeps its sequence"),
    "dd_bind": ("EO8", "a sequence that was sent is never used for another message"),
    "dd_used": ("EO8", "the echo of a sequence that was given up does not say that its message was stored"),
    "dd_embedder": ("EO7", "the embedder that publishes it again learns only that its sequence is used"),
    "dd_first": ("EO9", "the sequence is looked up before anything else of the publish or commit is checked"),
    # Overflow, least number of members.
    "ring_group": ("OV1", "publish and eviction are one operation"),
    "ring_keep": ("OV2", "an eviction completes no pending publish at once"),
    "min_pend": ("J4", "nothing is completed with fewer than min members"),
    "min_doubt": ("J5", "a removal in flight counts as done for min"),
    # Levels of replication.
    "lv_compare": ("LV1", "messages that are not replicated are in no description, plan or comparison"),
    "lv_send": ("LV2", "parts about messages that are not replicated are not sent"),
    "lv_copy": ("LV3", "no replacement crosses levels: it is an accept on one side, a publish on the other"),
    "lv_own": ("LV4", "a queue of one node is not judged at a flip"),
    "lv_wait": (
        "LV5",
        "messages that are not replicated are safe once the declaration of their queue is complete",
    ),
    # Lineages.
    "enter": (
        "P3",
        "a generation enters itself in a lineage with the first id that it gives out there (entry=1)",
    ),
    "enter_backup": ("P3", "a backup enters it with the operation that gives out that id (entry=1)"),
}
R = dict.fromkeys(RULES, True)
"""Whether each rule is kept. Changed in place, by `options.configure` alone."""
