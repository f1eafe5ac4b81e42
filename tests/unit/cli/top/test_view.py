"""The screen as lines: what a node said, what is wrong in words, 80 columns, and no character of outside as it came."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from qpidha.cli.top.cells import width_of
from qpidha.cli.top.cluster import Cluster
from qpidha.cli.top.places import Elsewhere, Place
from qpidha.cli.top.view import Line, screen
from qpidha.cli.top.watch import Report
from qpidha.cli.work import LeftOut
from qpidha.node.ask import NoAnswer

QUEUE = {"name": "orders", "id": "q1", "depth": 12_345, "bytes": 2_500_000, "next_id": 20_000, "pending": 3,
         "level": "messages"}  # fmt: skip
COUNTS = {"count": 0, "sum_s": 0.0, "max_s": 0.0, "buckets": [0] * 17}


def place(id: str, *, named: bool = True) -> Place:
    return Place(Path("/stores") / id, Path("/stores") / id / "control.sock", id if named else None)


def status(node: str, role: str = "ready", **more: Any) -> dict[str, Any]:
    sessions = [] if role != "active" else [
        {"node": "b", "member": True, "state": "streaming", "behind": 0, "window_bytes": 0},
    ]  # fmt: skip
    return {
        "node": node, "role": role, "generation": 3, "cluster": "0123456789ab", "in_sync": True, "primary": "a",
        "members": ["a", "b"], "live": ["a", "b", "c"], "position": 100, "sessions": sessions, "queues": [QUEUE],
        "queue_count": 1, "store_commits": COUNTS, "manager_answers": COUNTS, "broker": "standby", "held_by": [],
    } | more  # fmt: skip


class Told:
    """A cluster that is told what its nodes answer."""

    def __init__(self, *places: Place) -> None:
        self.places = {found.id or found.directory.name: found for found in places}
        self.cluster = Cluster(places, 0.0, silence_max_s=4.0)

    def take(self, id: str, answer: dict[str, Any] | BaseException, at: float = 1.0) -> None:
        self.cluster.take(Report(self.places[id], at, answer))

    def lines(self, **options: Any) -> list[Line]:
        lines = screen(self.cluster, **options)
        width = max(options.get("width", 80), 80)
        assert [line for line in lines if width_of(line.text) > width] == []
        assert all(line.text.isprintable() for line in lines)
        return lines

    def text(self, **options: Any) -> str:
        return "\n".join(line.text.rstrip() for line in self.lines(**options))


@pytest.fixture
def three() -> Told:
    told = Told(place("a"), place("b"), place("c"))
    told.take("a", status("a", "active", position=100))
    told.take("a", status("a", "active", position=2600), at=2.0)
    told.take("b", status("b"))
    told.take("c", NoAnswer("hung", "no answer in 2 s: its process is stopped, or its event loop is blocked"))
    return told


def test_a_cluster_on_one_screen(three: Told) -> None:
    assert (
        three.text(chosen="b", clock="12:00:00")
        == """\
qpidha top  12:00:00  generation 3, primary a, cluster 01234567…
in sync: a, b; live: a, b, c; live and not in sync: c

  NODE          ROLE       SYNC    GEN  OPS/S  DEPTH   BYTES     STORE   MANAGER
  a             active     yes       3  2,500  12.3k  2.5 MB         -         -
> b             ready      yes       3      -  12.3k  2.5 MB         -         -
 !c             no answer: no answer in 2 s: its process is stopped, or its
                event loop is blocked

  BACKUP        STATE        SYNC    BEHIND     BYTES    LATE   TO COPY
  b             streaming    yes          0       0 B      0s         -

  a waits for nothing

  QUEUE (on a)                      MESSAGES    BYTES  WAITING     IN/S    LEVEL
  orders                               12.3k   2.5 MB        3        0      all

STORE and MANAGER: mean/99 % in milliseconds, of the last seconds; LATE: age of
what a backup lacks"""
    )
    moods = {line.text[2:3]: line.mood for line in three.lines() if line.node}
    assert (moods["a"], moods["b"], moods["c"]) == ("good", "plain", "bad")


def test_what_is_wrong_begins_with_a_mark_and_says_why(three: Told) -> None:
    three.take("b", status(
        "b", "joining", in_sync=False, store_error="disk full", broker_error="on_promote: boom",
        troubles=[{"cause": "link to the primary", "text": "refused", "attempts": 7, "began_ago_s": 60.0}],
        broker="promoting", broker_since_s=7.0, loop_stall_recent_s=0.5, quarantined=4,
    ))  # fmt: skip
    text = three.text()
    for line in (
        " !b             joining    no ",
        "! b: link to the primary: refused (7 times in 60s)",
        "! b: store failed: disk full",
        "! b: broker failed: on_promote: boom",
        "! b: broker promoting, for 7.0s",
        "! b: its event loop stood still for 500ms in the last minute",
        "  b: 4 messages in quarantine",
    ):
        assert f"\n{line}" in text
    assert all(
        line.text.lstrip()[:1] == "!"
        for line in three.lines()
        if line.mood == "bad" and line.text[:2] != "  "
    )


def test_a_backup_that_is_late_and_one_that_is_gone(three: Told) -> None:
    session = {"node": "b", "member": True, "state": "streaming", "behind": 2500, "window_bytes": 70_000}
    joining = {"node": "c", "member": False, "state": "streaming", "behind": 0, "window_bytes": 0}
    catch_up = {"since_s": 2.0, "copied_bytes": 30_000_000, "left_bytes": 10_000_000, "left_s": 0.7}
    new = joining | {"node": "e", "state": "catching_up", "catch_up": catch_up}
    slowed = {
        "backup": "c",
        "since_s": 3.0,
        "bytes_per_s": 1_000_000,
        "staged_bytes": 5,
        "left_bytes": 44_000_000,
    }
    hold = {"node": "b", "kind": "backup", "since_s": 2.0}
    three.take("a", status("a", "active", position=2600, sessions=[session, joining, new], members=["a", "b", "d"],
                           joining="c", slowed=[slowed], held_by=[hold]), at=4.0)  # fmt: skip
    text = three.text()
    assert "\n !b             streaming    yes      2,500   70.0 kB    3.0s         -" in text
    assert "\n  c             streaming    soon         0       0 B      0s   44.0 MB" in text
    assert "\n  e             catching_up  no           0       0 B      0s   10.0 MB" in text
    assert "\n    catches up: 30.0 MB of 40.0 MB, 75 %, 15.0 MB/s, about 667ms left" in text
    assert "\n !d             absent       yes          -         -       -         -" in text
    assert (
        "\n! a waits for backup b for 2 s\n! a: publishers are slowed to 1.0 MB/s while c catches up" in text
    )


def test_a_cluster_without_a_primary(three: Told) -> None:
    three.take("a", status("a", "active", stopped="it was asked to stop"))
    three.take("b", status("b", primary=None))
    text = three.text()
    assert "\n! there is no primary\n" in text and "\n !a             stopped: it was asked to stop" in text
    three.take("b", status("b"))
    assert "\n! primary a does not answer here\n" in three.text()
    assert "BACKUP" not in text


def test_too_few_members(three: Told) -> None:
    three.take("a", status("a", "active", below_min_in_sync=True, min_in_sync=3, missing=["c"]))
    assert "\n! operations are refused: 2 of 3 members (min_in_sync); missing c" in three.text()


def test_the_newest_generation_is_believed(three: Told) -> None:
    three.take("b", status("b", "active", generation=4, primary="b", members=["b"], live=["b"]))
    text = three.text()
    assert "generation 4, primary b" in text and "in sync: b; live: b;" in text and "QUEUE (on b)" in text


def test_no_node_answers() -> None:
    told = Told(place("a", named=False), place("b"))
    assert "\n! no node answers\n" in told.text() and "asked, no answer yet" in told.text()
    told.take("a", NoAnswer("refused", "nobody listens"))
    told.cluster.check(5.0)
    assert "no answer: nobody listens" in told.text()
    assert "b             no answer for 5 s: its disk or file system does not answer" in told.text()
    assert told.cluster.answers() == (0, 2)


def test_a_node_on_another_machine_is_shown_as_others_see_it() -> None:
    told = Told(place("a"), place("b"), place("c"))
    for id in ("b", "c"):
        told.take(id, Elsewhere("its store is not on this machine"))
    told.take("a", status("a", "active", live=["a", "b", "x"]))
    text = told.text(chosen="b")
    assert "\n> b             elsewhere  yes  live, says a" in text
    assert "\n  c             elsewhere  no   not live, says a" in text
    assert "\n  x             elsewhere  no   live, says a" in text
    assert told.cluster.answers() == (1, 1)
    told.take("a", NoAnswer("hung", "no answer"))
    assert "b             elsewhere, or not started yet: no node answers that knows" in told.text()


def test_a_directory_of_the_record_is_no_row() -> None:
    told = Told(place("a"), place("record"))
    told.take("a", status("a"))
    told.take("record", LeftOut("left out"))
    assert [seen.id for seen in told.cluster.rows] == ["a"]


def test_only_some_queues_are_shown(three: Told) -> None:
    queues = [
        QUEUE | {"name": f"q{n:02}", "id": f"q{n}", "depth": n, "pending": int(n == 3)} for n in range(30)
    ]
    three.take("b", status("b", "active", generation=9, primary="b", queues=queues, queue_count=5000))
    lines = [line.text for line in three.lines() if line.text.startswith("  q")]
    assert [line[2:5] for line in lines[:3]] == ["q03", "q29", "q28"] and len(lines) == 20
    assert "  … and 4,980 more queues; sums and order are of the 30 that were asked for" in three.text()
    three.take("b", status("b", "active", generation=9, primary="b", queues=queues, queue_count=30))
    assert "  … and 10 more queues\n" in three.text()


def test_a_wide_terminal_has_room_for_names(three: Told) -> None:
    three.take("b", status("b" * 30))
    assert "b" * 30 not in three.text() and "bbb…" in three.text()
    assert "b" * 30 in three.text(width=120)


VALUES: list[Any] = [
    None,
    True,
    -1,
    10**40,
    1.5,
    float("nan"),
    "x\x1b[2J",
    "日" * 90,
    "a b",
    [],
    [{}],
    ["x\n"],
    {},
    [None],
]


@pytest.mark.parametrize("seed", range(60))
def test_answers_of_any_kind_are_shown(seed: int) -> None:
    """A node of another version, or one that lies, breaks neither the lines nor the columns."""
    random_ = random.Random(seed)
    told = Told(place("a"), place("b"))
    for at in range(4):
        answer = status(random_.choice("ab"), "active")
        for key in random_.sample(sorted(answer | {"troubles": 1, "slowed": 1, "stopped": 1}), 6):
            answer[key] = random_.choice(VALUES)
        for key in ("queues", "sessions"):
            if answer[key] and isinstance(answer[key], list) and isinstance(answer[key][0], dict):
                part = dict(answer[key][0])
                part[random_.choice([*part, "name"])] = random_.choice(VALUES)
                answer[key] = [part]
        told.take(random_.choice("ab"), answer, at=float(at))
        told.lines(chosen="a")
