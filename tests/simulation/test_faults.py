"""The table of faults lists every fault that a walk may cause, and each fault does what its line says."""

from __future__ import annotations

import pytest

from qpidha.errors import MalformedFrame
from qpidha.testing import Violation, Walk, World
from qpidha.testing.invariants.violation import OutsideTheModel
from qpidha.testing.sim.network import fault_in
from qpidha.testing.sim.world import SimNode
from qpidha.testing.walks.faults import FAULTS
from qpidha.testing.walks.readfaults import STEP
from qpidha.testing.walks.walk import WEIGHTS
from qpidha.types import Settle
from qpidha.wire import codec
from qpidha.wire.events import Acknowledged, Frame


def cluster() -> tuple[World, SimNode]:
    """A primary, two members, and a queue that is not empty."""
    world = World(seed=5)
    world.start()
    primary = world.nodes["P"]
    primary.promote()
    world.scheduler.run_for(5.0)
    world.declare(primary, "q", Settle.REPLICATED)
    publish(world, primary)
    assert len(world.checker.members) == 3
    return world, primary


def publish(world: World, primary: SimNode) -> None:
    world.clients.publish(primary, world.queue_id("q"), world.clients.fresh(3))
    world.scheduler.run_for(1.0)


def test_each_of_the_forty_one_is_an_action_with_a_weight() -> None:
    names = [kind.name for kind in FAULTS]
    assert len(names) == len(set(names)) == 41
    assert set(names) <= WEIGHTS.keys() == Walk(0).actions.keys()


def test_each_kind_is_left_out_of_some_runs_and_drawn_in_others() -> None:
    runs = [Walk(seed).weights for seed in range(40)]
    for kind in FAULTS:
        if kind.name != STEP:
            assert {bool(weights[kind.name]) for weights in runs} == {True, False}, kind.name
    plans = [Walk(seed).plan for seed in range(40)]
    assert {STEP in plan for plan in plans} == {True, False}, "it is mixed in by a draw of its own"


def test_an_older_copy_that_follows_a_primary_is_corrected() -> None:
    world, primary = cluster()
    backup = world.nodes["B1"]
    older = backup.disk.snapshot()
    publish(world, primary)
    backup.crash()
    backup.disk.restore(older)
    world.checker.restored(backup)
    assert backup not in world.checker.members
    backup.start()
    world.scheduler.run_for(3.0)
    assert world.counts["older copy corrected by difference"] == 1
    assert backup in world.checker.members
    world.heal()
    world.drain()


def test_the_promotion_of_an_older_copy_is_outside_the_fault_model() -> None:
    world, primary = cluster()
    backup = world.nodes["B1"]
    older = backup.disk.snapshot()
    publish(world, primary)
    for node in world.nodes.values():
        node.crash()
    backup.disk.restore(older)
    world.checker.restored(backup)
    backup.start()
    backup.promote()
    with pytest.raises(OutsideTheModel):
        world.scheduler.run_for(3.0)


def test_a_loss_by_an_unrecorded_older_copy_is_reported() -> None:
    """The checker excuses only a loss by an older copy that was recorded (`restored`)."""
    world, primary = cluster()
    backup = world.nodes["B1"]
    older = backup.disk.snapshot()
    publish(world, primary)
    for node in world.nodes.values():
        node.crash()
    backup.disk.restore(older)
    backup.start()
    backup.promote()
    with pytest.raises(Violation, match="S1"):
        world.scheduler.run_for(3.0)


def test_a_twin_is_found_and_ended() -> None:
    world, _ = cluster()
    world.start_twin("B1")
    world.scheduler.run_for(3.0)
    assert len(world.processes("B1")) == 2
    world.heal()
    assert len(world.processes("B1")) == 1
    world.drain()


def test_a_damaged_store_does_not_start() -> None:
    world, _ = cluster()
    backup = world.nodes["B1"]
    backup.crash()
    backup.disk.damage = "a checksum is wrong"
    backup.start()
    assert not backup.up
    assert "damaged" in backup.refused
    assert backup not in world.checker.members


def test_a_damaged_frame_closes_the_link_and_changes_nothing() -> None:
    world, primary = cluster()
    for host in ("P", "B1"):
        other = "B1" if host == "P" else "P"
        for at in range(20):
            world.network.spoil[host, other] = at / 20
            publish(world, primary)
    assert world.counts["fault corrupt"] > 20
    world.heal()
    world.drain()


def test_a_reader_returns_frames_or_an_error_for_any_bytes() -> None:
    raw = b"".join(codec.encode(Frame(1, 2, Acknowledged(position=3))))
    assert fault_in(raw) is None
    assert fault_in(raw[:-1]) is None
    assert isinstance(fault_in(raw[:4] + b"\xff" + raw[5:]), MalformedFrame)


def test_the_wire_changes_nothing_about_damaged_frames() -> None:
    """Even if frames arrive in pieces, several at once, or damaged."""
    seen = 0
    for seed in range(500, 560):
        bytewise, plain = Walk(seed), Walk(seed, wire=False)
        if not bytewise.weights["corrupt"]:
            continue
        assert bytewise.run().hash == plain.run().hash
        seen += bytewise.world.counts["damaged frame found in the frame"]
    assert seen
