"""Which nodes are said to be gone in a simulated cluster: nobody says so, who is down, or now and then anybody."""

from __future__ import annotations

from typing import Any

WRONG = 0.05
"""Chance of a hint that is wrong, at each tick."""


def look(node: Any) -> None:
    """Tell a `SimNode` which nodes are gone, in the way of its `SimManager.hints`. Called before every tick."""
    world = node.world
    if world.manager.hints == "none":
        return
    names = {other.name for other in world.nodes.values()}
    gone = names - {other.name for other in world.nodes.values() if other.up}
    if world.manager.hints == "wrong" and world.random.random() < WRONG:
        world.sometimes("fault wrong_hint")
        gone = {name for name in sorted(names) if world.random.random() < 0.5}
    node.replica.nodes_gone(frozenset(gone))
