"""A recorder records exactly what happened; a chart draws every label at a separate place.

Method: runs are recorded and compared with what others say of them: the trace, the checker, the nodes at the
end. Of a drawing, the places of labels are read back from the SVG.
"""

from __future__ import annotations

import re
from collections import Counter
from itertools import pairwise
from xml.etree import ElementTree as ET

import pytest

from qpidha.testing import Scenario, Walk
from qpidha.testing.picture.chart import HEADS, draw
from qpidha.testing.picture.fold import folded
from qpidha.testing.picture.happenings import (
    Arrived,
    Arrow,
    Happening,
    Mark,
    NodeSeen,
    RecordSeen,
    Sent,
    Step,
    span,
)
from qpidha.testing.picture.page import page
from qpidha.testing.picture.recorder import CHECKS, CLIENTS, REPAIRS, Recorder
from qpidha.testing.scenarios.scenario import COMMANDS
from qpidha.testing.walks.faults import FAULTS
from qpidha.testing.walks.walk import WEIGHTS

SEEDS = [*range(20, 28)]


def walked(seed: int) -> tuple[Walk, Recorder, list[str]]:
    walk, recorder, lines = Walk(seed), Recorder(), list[str]()
    walk.world.listeners.append(lines.append)
    recorder.watch(walk.world)
    walk.run()
    recorder.ended()
    return walk, recorder, lines


def walked_with(kind: str) -> Recorder:
    """The first walk in which several arrows of this kind are drawn as one."""
    for seed in range(100):
        _, recorder, _ = walked(seed)
        few = [h.what.arrow for h in folded(recorder.happened) if isinstance(h.what, Sent)]
        if any(a.kind == kind and a.times > 1 for a in few):
            return recorder
    raise AssertionError(f"no walk has several of {kind!r}")


def played(text: str) -> tuple[Scenario, Recorder]:
    scenario, recorder = Scenario(), Recorder()
    recorder.attach(scenario)
    scenario.run(text)
    return scenario, recorder


def arrows(recorder: Recorder) -> list[Arrow]:
    return [h.what.arrow for h in recorder.happened if isinstance(h.what, Sent)]


def texts(recorder: Recorder, kind: type[Mark | Step] = Mark) -> list[str]:
    return [h.what.text for h in recorder.happened if isinstance(h.what, kind)]


# --- what is recorded ----------------------------------------------------------------------------


@pytest.mark.parametrize("seed", SEEDS)
def test_what_lands_is_what_the_trace_says(seed: int) -> None:
    _, recorder, lines = walked(seed)
    landed = [h.what.arrow for h in recorder.happened if isinstance(h.what, Arrived)]
    told = [line for line in lines if re.match(r"[\w']+ -> ", line)]
    assert [f"{a.source} -> {a.target} {a.text}" for a in landed if a.kind != "cas"] == told
    assert not any(a.label.startswith("again") for a in landed)
    assert all(a.arrived_at is not None and a.arrived_at >= a.sent_at for a in landed)


@pytest.mark.parametrize("seed", SEEDS)
def test_answers_roles_and_records_are_all_there(seed: int) -> None:
    walk, recorder, lines = walked(seed)
    world = walk.world
    marks = [h.what for h in recorder.happened if isinstance(h.what, Mark)]
    assert {v for m in marks if m.kind == "ok" for v in m.values} == set(world.checker.acked)
    assert world.checker.dead.keys() <= {
        v for m in marks if m.word.startswith("hands over") for v in m.values
    }
    kept = [h.what for h in recorder.happened if isinstance(h.what, RecordSeen)]
    assert len(kept) == len([line for line in lines if line.startswith("record ")])
    last = {h.what.node: h.what for h in recorder.happened if isinstance(h.what, NodeSeen)}
    for node in world.nodes.values():
        role = node.role.value if node.up else "down"
        member = node in world.checker.members
        assert last[node.name] == NodeSeen(node.name, role, node.replica.generation, member)


def test_times_never_fall() -> None:
    _, recorder, _ = walked(25)
    times = [h.time for h in recorder.happened]
    assert times == sorted(times)


TWO = "cluster P B1\nqueue q\n"


def test_a_frame_that_is_lost_and_one_that_waits() -> None:
    _, recorder = played(TWO + "hold P->B1\npublish P q v1\n")
    assert [(a.fate, a.waits) for a in arrows(recorder) if "v1" in a.text] == [("under way", True)]
    _, recorder = played(TWO + "hold P->B1\npublish P q v1\ncrash P lose\nwait 1\n")
    assert [a.fate for a in arrows(recorder) if "v1" in a.text] == ["lost"]
    assert "in doubt v1" in texts(recorder)
    _, recorder = played(TWO + "hold P->B1\npublish P q v1\nrelease P->B1\n")
    assert [(a.fate, a.waits) for a in arrows(recorder) if "v1" in a.text] == [("arrived", True)]


def test_a_frame_that_comes_twice_is_two_arrows() -> None:
    scenario, recorder = played(TWO)
    world = scenario.world
    frames = []
    world.network.on_deliver = lambda end, frame: frames.append((end, frame))
    scenario.publish("P", "q", "v1")
    world.scheduler.run_for(0.0)
    end, frame = frames[0]
    recorder.arrived(end, frame)
    recorder.arrived(end, frame)
    both = [a for a in arrows(recorder) if "v1" in a.text]
    assert [a.label.startswith("again: ") for a in both] == [False, True]
    assert [a.fate for a in both] == ["arrived", "arrived"]


@pytest.mark.parametrize(
    ("fault", "fate", "note"),
    [
        ("manager B1 unreachable", "lost", "the manager cannot be reached"),
        ("manager B1 next lost", "under way", "the manager does not answer"),
        ("manager B1 next no-reply", "arrived", "the manager does not answer"),
    ],
)
def test_what_becomes_of_a_compare_and_set(fault: str, fate: str, note: str) -> None:
    _, recorder = played(f"{TWO}crash P\n{fault}\npromote B1\nwait 0.6\n")
    first = next(a for a in arrows(recorder) if a.kind == "cas")
    assert (first.source, first.fate) == ("B1", fate)
    assert note in texts(recorder)


def test_a_compare_and_set_that_comes_too_late_is_refused() -> None:
    """Its node notes that the request is lost; it may conclude this from a record that it reads, without an answer."""
    for seed in range(100):
        _, recorder, _ = walked(seed)
        refused = [a.source for a in arrows(recorder) if a.kind == "cas" and a.fate == "refused"]
        if refused:
            break
    else:
        raise AssertionError("no walk has a compare-and-set that is refused")
    lost = [
        h.what.node
        for h in recorder.happened
        if isinstance(h.what, Mark) and h.what.word.startswith("compare-and-set lost")
    ]
    assert not Counter(refused) - Counter(lost)


def test_a_picture_shows_the_initial_cluster_and_not_how_it_was_made() -> None:
    _, recorder = played("# title\ncluster P B1\n# remark\nqueue q\n")
    steps = [h.what for h in recorder.happened if isinstance(h.what, Step)]
    assert [(s.kind, s.text) for s in steps] == [
        ("repair", "cluster P B1"),
        ("comment", "remark"),
        ("client", "queue q"),
    ]
    looks = [h.what for h in recorder.happened if isinstance(h.what, NodeSeen)]
    assert looks == [NodeSeen("P", "active", 1, True), NodeSeen("B1", "ready", 1, True)]
    assert not any("hello" in a.text for a in arrows(recorder))


def test_steps_of_a_walk_are_told_by_what_they_did() -> None:
    walk, recorder = Walk(1), Recorder()
    world = walk.world
    recorder.watch(world)
    for line in ("* restart", "* publish", "* cut"):
        world.say(line)
    world.network.block("P", "B1")
    world.say("* mend")
    world.network.unblock("P", "B1")
    world.say("* stray")
    assert texts(recorder, Step) == ["nothing passes P → B1", "no longer: nothing passes P → B1", "stray"]


def test_every_command_has_a_kind() -> None:
    """A command without a kind is an error; these are all commands."""
    known = CLIENTS | CHECKS | REPAIRS
    assert {"crash", "pause", "cut", "hold", "reset", "disk", "wipe"} <= COMMANDS.keys() - known
    assert {kind.name for kind in FAULTS} <= WEIGHTS.keys() - known
    assert known <= COMMANDS.keys() | WEIGHTS.keys()


def test_many_values_are_told_by_their_ends() -> None:
    assert span(["v1"]) == "v1"
    assert span([f"v{n}" for n in range(1, 10)]) == "v1 … v9 (9)"


# --- folding -------------------------------------------------------------------------------------


def test_repeated_vain_attempts_are_drawn_as_one_and_nothing_else_is_lost() -> None:
    recorder = walked_with("fence")
    shown = folded(recorder.happened)
    rest = [h.what.arrow for h in shown if isinstance(h.what, Sent)]
    assert len(rest) < len(arrows(recorder))
    for kind in ("op", "ack", "sync", "cas"):
        assert [a for a in rest if a.kind == kind] == [a for a in arrows(recorder) if a.kind == kind]
    refused = Counter(a.text for a in arrows(recorder) if a.kind == "fence")
    told = Counter[str]()
    for arrow in rest:
        if arrow.kind == "fence":
            told[arrow.text] += arrow.times
    assert told == refused


# --- what is drawn -------------------------------------------------------------------------------


def labels(body: str) -> dict[tuple[str, str], list[int]]:
    """Heights of the labels, by the gap they stand in: of arrows, and of marks."""
    found: dict[tuple[str, str], list[int]] = {}
    for x, y, end in re.findall(r'<path d="M[^"]*"/>(?:<[^t][^>]*>)*<text x="(\d+)" y="(\d+)"([^>]*)>', body):
        lane = int(x) + 15 if end else int(x) - 15
        found.setdefault((str(lane), "left" if end else "right"), []).append(int(y) + 3)
    for x, y in re.findall(r'<g transform="translate\((\d+) (\d+)\)"><g class="chip', body):
        found.setdefault((str(int(x) - 14), "right"), []).append(int(y))
    return found


@pytest.mark.parametrize("seed", [7, *SEEDS])
def test_no_two_labels_share_a_place(seed: int) -> None:
    walk, recorder, _ = walked(seed)
    chart = draw(recorder.happened, walk.world.hosts, "title")
    found = labels(chart.body)
    assert sum(map(len, found.values())) > 30
    for heights in found.values():
        heights.sort()
        assert all(b - a >= 16 for a, b in pairwise(heights))
        assert heights[0] >= HEADS
        assert heights[-1] <= chart.height


def test_later_events_are_drawn_lower() -> None:
    walk, recorder, _ = walked(25)
    body = draw(recorder.happened, walk.world.hosts, "title").body
    told = re.findall(r'class="time" x="\d+" y="(\d+)">([\d.]+) s', body)
    assert len(told) > 20
    assert sorted(told, key=lambda t: int(t[0])) == sorted(told, key=lambda t: float(t[1]))


def test_a_picture_is_well_formed_for_any_texts() -> None:
    nasty = "<&\"'>]]>"
    happened = [
        Happening(0.0, NodeSeen("P&", "active", 1, True)),
        Happening(0.0, Step("fault", nasty)),
        Happening(0.0, Mark("P&", "note", nasty)),
        Happening(0.0, Step("comment", nasty)),
    ]
    chart = draw(happened, ["P&", "B<"], nasty, nasty)
    root = ET.fromstring(chart.svg())
    assert nasty in "".join(root.itertext())
    assert page(chart, nasty).count("<script>") == 1


def test_the_same_run_gives_the_same_picture() -> None:
    first, second = (
        draw(recorder.happened, walk.world.hosts, "t").svg() for walk, recorder, _ in (walked(21), walked(21))
    )
    assert first == second
