"""The answers of the brokers are combined into one view, also when they disagree or do not answer."""

from __future__ import annotations

from typing import Any

from qpidha.demo.watch import STREAM, Phase, Totals, look


def status(node: str, role: str, generation: int = 2, **more: Any) -> dict[str, Any]:
    found = {
        "node": node,
        "role": role,
        "generation": generation,
        "members": [],
        "sessions": [],
        "queues": [],
    }
    return found | {"resync_messages": 0, "resync_bytes": 0} | more


def primary(node: str, members: list[str], streaming: dict[str, int], generation: int = 2) -> dict[str, Any]:
    sessions = [{"node": name, "state": "streaming", "behind": behind} for name, behind in streaming.items()]
    queues = [{"name": STREAM, "depth": 6, "bytes": 79}, {"name": "other", "depth": 1, "bytes": 9}]
    return status(node, "active", generation, members=members, sessions=sessions, queues=queues)


def test_a_healthy_cluster() -> None:
    view = look(
        {
            "a": primary("a", ["a", "b", "c"], {"b": 0, "c": 4}),
            "b": status("b", "ready"),
            "c": status("c", "ready"),
        }
    )
    assert view.all_in_sync
    assert (view.primary, view.generation, view.depth, view.queue_bytes) == ("a", 2, 6, 79)
    assert view.behind == {"b": 0, "c": 4}
    assert list(view.phases.values()) == [Phase.PRIMARY, Phase.IN_SYNC, Phase.IN_SYNC]


def test_in_sync_takes_the_record_and_the_stream() -> None:
    """A member that is away, and a follower that is no member yet, are both still catching up."""
    leader = primary("a", ["a", "b"], {"c": 0})
    view = look({"a": leader, "b": status("b", "ready"), "c": status("c", "ready")})
    assert view.phases == {"a": Phase.PRIMARY, "b": Phase.CATCHING_UP, "c": Phase.CATCHING_UP}
    assert not view.all_in_sync


def test_a_backup_of_an_older_generation_is_not_in_sync() -> None:
    view = look({"a": primary("a", ["a", "b"], {"b": 0}), "b": status("b", "ready", generation=1)})
    assert view.phases["b"] is Phase.CATCHING_UP


def test_of_two_primaries_the_higher_generation_is_right() -> None:
    view = look({"a": primary("a", ["a", "b"], {}), "b": primary("b", ["b"], {}, generation=3)})
    assert (view.primary, view.generation) == ("b", 3)
    assert view.phases["a"] is Phase.CATCHING_UP


def test_without_a_primary_no_node_is_in_sync() -> None:
    view = look({"a": None, "b": status("b", "joining")})
    assert view.phases == {"a": Phase.DOWN, "b": Phase.CATCHING_UP}
    assert (view.primary, view.generation, view.depth, view.all_in_sync) == (None, 0, 0, False)


def test_what_was_resynchronised_adds_up_over_lives() -> None:
    totals = Totals()
    totals.note("a", 1, status("a", "ready", resync_messages=3, resync_bytes=30))
    totals.note("a", 1, status("a", "ready", resync_messages=4, resync_bytes=40))
    totals.note("a", 2, status("a", "ready", resync_messages=1, resync_bytes=10))
    assert (totals.messages, totals.nbytes) == (5, 50)
