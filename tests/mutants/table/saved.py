"""Planted bugs of saved stores, and of records that are rebuilt."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

REBUILD = "qpidha/recovery/rebuild.py"
SAVED_STORES = "qpidha/stores/saved.py"
SAVED: tuple[Mutant, ...] = (
    Mutant(
        name="restored-as-the-present",
        rules="J3 I1",
        why="a restored store keeps its epoch: yesterday's image is taken for a member of today",
        file=SAVED_STORES,
        old="Identity(node or status.node, new_uuid())",
        new="Identity(node or status.node, status.epoch)",
        first="stores/test_saved",
    ),
    Mutant(
        name="saved-under-the-mark-of-a-store",
        rules="J3",
        why="a saved store can be put into a directory and started on",
        file=SAVED_STORES,
        old='            db.execute(f"PRAGMA application_id = {SAVED}")\n',
        new="",
        first="stores/test_saved",
    ),
    Mutant(
        name="saved-without-a-look-at-its-log",
        rules="D3 T36",
        why="a store whose log lost its last transactions is saved as if it had everything",
        file=SAVED_STORES,
        old="noted_damage(layout) or missing(layout) or log_damage(layout)",
        new="noted_damage(layout) or missing(layout)",
        first="stores/test_saved",
    ),
    Mutant(
        name="saved-while-a-node-starts",
        rules="D3",
        why="a store without a log is read without locks, though a node has begun to write to it",
        file=SAVED_STORES,
        old="    if not in_use and layout.wal.exists():",
        new="    if False:",
        first="stores/test_saved",
    ),
    Mutant(
        name="no-generation-left-out",
        rules="I1",
        why="a rebuilt record gives out generations again that a store has seen which was not compared",
        file=REBUILD,
        old="    generation = highest + GENERATIONS_LEFT_OUT + drawn",
        new="    generation = highest + drawn",
        first="recovery/test_rebuild",
    ),
    Mutant(
        name="rebuilt-twice-alike",
        rules="I1",
        why="two records that were rebuilt from the same old stores have the same generations",
        file=REBUILD,
        old="    generation = highest + GENERATIONS_LEFT_OUT + drawn",
        new="    generation = highest + GENERATIONS_LEFT_OUT",
        first="recovery/test_rebuild",
    ),
    Mutant(
        name="a-member-that-is-there-is-lost",
        rules="S1",
        why="an operator may begin without a store that has everything that was acknowledged",
        file=REBUILD,
        old="        if members:",
        new="        if False:",
        first="recovery/test_rebuild",
    ),
)
