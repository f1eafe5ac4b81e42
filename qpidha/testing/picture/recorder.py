"""The recorder: what happens in a simulated run, in order, as a chart needs it.

A `Recorder` observes one `World` and keeps a list of `Happening`s: steps of the walk or scenario, arrows that leave
and land, marks at nodes, and new states of nodes and of the record. It compares the states of nodes whenever
anything happens, so that a crash, which is not reported, is seen at the next event at the latest.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from qpidha.core.manager import Answer, Lost, NotSent, Unknown
from qpidha.core.ready import CompareAndSet, Notice, Request, RoleChanged
from qpidha.events import NodeEvent, RefusedByPrimary
from qpidha.testing.picture.happenings import (
    RECORD,
    Arrived,
    Arrow,
    Happening,
    Mark,
    NodeSeen,
    RecordSeen,
    Sent,
    Step,
    What,
    span,
)
from qpidha.testing.sim.link import End
from qpidha.testing.sim.observer import Observer
from qpidha.testing.sim.render import render_event, render_frame, render_record, render_request
from qpidha.types import Generation, NodeId, Role
from qpidha.wire.events import Acknowledged, Fenced, Frame, Hello, Operations, Refused, Welcome

if TYPE_CHECKING:
    from qpidha.testing.scenarios.commands import Commands
    from qpidha.testing.sim.node import SimNode
    from qpidha.testing.sim.world import World

CLIENTS: Final = frozenset("publish burst deliver accept move skip declare queue wait stall drain".split())
"""Steps of clients. Steps in none of these three sets are faults."""
CHECKS: Final = frozenset({"expect", "check", "state"})
"""Steps that show or check."""
REPAIRS: Final = frozenset(
    "nodes cluster settings connect auto promote demote restart resume release pass mend save heal "
    "good_manager good_speed repair_disk end_twin image".split()
)
"""Steps that end a fault or change roles."""

MARKS: Final = {
    "publishes": ("publish", "publish"),
    "answers ok": ("ok", "ok"),
    "in doubt": ("doubt", "in doubt"),
    "settle in doubt": ("doubt", "settle in doubt"),
    "is given": ("consume", "deliver"),
    "accepts": ("consume", "accept"),
    "moves": ("consume", "move"),
    "confirms settle": ("consume", "settled"),
}
"""What clients do or are told: the kind of mark, and its word."""


class Recorder(Observer):
    """Observes one run. Read `happened` after it."""

    def __init__(self) -> None:
        self.happened: list[Happening] = []
        """In the order in which it was seen; times are virtual seconds."""
        self.world: World
        """The observed world; there is none before `watch`."""
        self._watches = False
        self._scripted = False
        """A scenario: its lines name all steps. In a walk they are completed with observed faults."""
        self._quiet = False
        self._idle: Step | None = None
        self._seen: dict[NodeId, NodeSeen] = {}
        self._boots: dict[NodeId, int] = {}
        self._roles: dict[NodeId, tuple[str, Generation]] = {}
        self._shelves: dict[NodeId, set[object]] = {}
        self._troubles: dict[str, None] = {}
        self._version = 0
        self._frames: dict[End, list[Arrow]] = {}
        self._requests: list[tuple[Request, Arrow]] = []

    def watch(self, world: World) -> None:
        """Observe this world from now on."""
        self.world, self._watches = world, True
        world.observers.append(self)
        self._compare()

    def attach(self, scenario: Commands) -> None:
        """Observe the world of this scenario, and its commands."""
        scenario.on_world = self.watch
        scenario.on_command = self.commanded

    def ended(self) -> None:
        """Record what has changed since the last step: the run is over."""
        if self._watches:
            self._compare()

    def note(self, text: str) -> None:
        """Add a text at the end, such as the violation that ended the run."""
        self._quiet = False
        self._add(Step("fault", text))

    def _add(self, what: What) -> None:
        if not self._quiet:
            self.happened.append(Happening(self.world.scheduler.now if self._watches else 0.0, what))

    # --- steps ---------------------------------------------------------------------------------------

    def commanded(self, line: str) -> None:
        """The next line of a scenario. Of ``cluster`` only the result is shown."""
        self._scripted = True
        if self._quiet:
            self._quiet, self._version = False, 0
            self._seen.clear()
        if self._watches:
            self._compare()
        elif line.startswith("#"):
            return  # What the scenario is about: its title.
        if line.strip():
            self._step(line)
        self._quiet = line.startswith("cluster ")

    def _step(self, line: str) -> None:
        word = line.split(maxsplit=1)[0]
        if word.startswith("#"):
            kind, line = "comment", line.lstrip("# ")
        elif word in CHECKS:
            kind = "look"
        else:
            kind = "client" if word in CLIENTS else "repair" if word in REPAIRS else "fault"
        self._replace_idle({"client", "repair"})
        self._idle = None if self._scripted else Step(kind, line)
        self._add(self._idle or Step(kind, line))

    def _replace_idle(self, kinds: set[str]) -> None:
        """Take out the last step of a walk if it is of one of these kinds and nothing came after it."""
        if self._idle and self._idle.kind in kinds and self.happened and self.happened[-1].what is self._idle:
            self.happened.pop()

    def said(self, line: str) -> None:
        """Record a step of the driver or a failure, from its line in the trace."""
        self._compare()
        if line.startswith("* "):
            self._step(line[2:])
        elif line == "heal" and not self._scripted:
            self._step(line)
        elif " start refused: " in line or " store failed: " in line:
            name, _, text = line.partition(": ")
            self._add(Mark(name, "note", text))

    # --- frames and requests ---------------------------------------------------------------------------

    def sent(self, end: End, frame: Frame) -> None:
        """Record that a frame was sent."""
        self._compare()
        arrow = Arrow(
            end.node.host,
            end.other.node.host,
            kind_of(frame),
            render_frame(frame, self.world),
            render_event(frame.event, self.world),
            self.world.scheduler.now,
            waits=self.world.network.waits(end.other),
        )
        self._frames.setdefault(end.other, []).append(arrow)
        self._add(Sent(arrow))

    def arrived(self, end: End, frame: Frame) -> None:
        """Record the arrival of the oldest frame with this text that is under way; if none is, of a repeated one."""
        self._compare()
        text = render_frame(frame, self.world)
        waiting = self._frames.get(end, [])
        arrow = next((a for a in waiting if a.text == text), None)
        if arrow is None:
            names, label = (end.other.node.host, end.node.host), render_event(frame.event, self.world)
            arrow = Arrow(*names, kind_of(frame), text, f"again: {label}", self.world.scheduler.now)
            self._add(Sent(arrow))
        else:
            waiting.remove(arrow)
        self._arrive(arrow)

    def _arrive(self, arrow: Arrow) -> None:
        arrow.arrived_at, arrow.fate = self.world.scheduler.now, "arrived"
        self._add(Arrived(arrow))

    def requested(self, node: SimNode, request: Request) -> None:
        """Record a compare-and-set that a node asks for."""
        self._compare()
        if isinstance(request, CompareAndSet):
            label, now = f"set: {render_record(request.new)}", self.world.scheduler.now
            arrow = Arrow(node.host, RECORD, "cas", render_request(request), label, now)
            self._requests.append((request, arrow))
            self._add(Sent(arrow))

    def answered(self, node: SimNode, request: Request, answer: Answer) -> None:
        """Record the answer to a compare-and-set."""
        self._compare()
        if not isinstance(request, CompareAndSet):
            return
        if isinstance(answer, Unknown):
            self._add(Mark(node.host, "note", "the manager does not answer"))
            return  # It may still arrive.
        for other, arrow in self._requests:
            if other is request:
                self._requests.remove((other, arrow))
                if isinstance(answer, Lost):
                    self._arrive(arrow)
                    arrow.fate = "refused"
                elif isinstance(answer, NotSent):
                    arrow.fate = "lost"
                    self._add(Mark(node.host, "note", "the manager cannot be reached"))
                break

    # --- nodes and clients -----------------------------------------------------------------------------

    def noticed(self, node: SimNode, notice: Notice) -> None:
        """Record a change of role or an event of a node."""
        if isinstance(notice, RoleChanged):
            self._roles[node.host] = notice.role.value, notice.generation
        self._compare()
        if isinstance(notice, NodeEvent) and not isinstance(notice, RefusedByPrimary):  # An arrow says so.
            self._add(Mark(node.host, "note", notice.line))

    def client(self, node: SimNode | None, what: str, values: Sequence[str]) -> None:
        """Record what a client did on a node, or what happened to its values."""
        self._compare()
        if node is None:
            self._add(Step("client", f"{what}: {span(values)}"))
        elif what in MARKS:
            kind, word = MARKS[what]
            self._mark(Mark(node.host, kind, word, tuple(values)))
        elif what.startswith("hands over"):
            self._mark(Mark(node.host, "rewind", what, tuple(values)))

    def _mark(self, mark: Mark) -> None:
        """Add a mark; merge a delivery with its accept, and marks of one kind at one time."""
        while self.happened and not self._quiet:
            last = self.happened[-1].what
            if not isinstance(last, Mark) or last.node != mark.node:
                break
            if (last.word, mark.word) == ("deliver", "accept") and last.values == mark.values:
                self.happened.pop()
            elif last.word == mark.word and self.happened[-1].time == self.world.scheduler.now:
                self.happened.pop()
                mark = replace(mark, values=last.values + mark.values)
            else:
                break
        self._add(mark)

    # --- states of nodes and of the record -------------------------------------------------------------

    def _compare(self) -> None:
        """Add what changed since the last call: the record, nodes, lost frames, and faults of a walk."""
        self._compare_record()
        for node in self.world.nodes.values():
            self._compare_node(node)
        for end in [end for end in self._frames if not end.open]:
            for arrow in self._frames.pop(end):
                arrow.fate = "lost"
        if not self._scripted:
            troubles = dict.fromkeys(troubles_of(self.world))
            if troubles.keys() != self._troubles.keys():
                self._replace_idle({"fault", "repair"})
            for text in [t for t in troubles if t not in self._troubles]:
                self._add(Step("fault", text))
            for text in [t for t in self._troubles if t not in troubles]:
                self._add(Step("repair", f"no longer: {text}"))
            self._troubles = troubles

    def _compare_record(self) -> None:
        current = self.world.manager.current
        if current is None or current.version == self._version:
            return
        self._version = current.version
        for request, arrow in reversed(self._requests):  # A repeated one asks for the same.
            if isinstance(request, CompareAndSet) and request.new == current.record:
                self._requests.remove((request, arrow))
                self._arrive(arrow)
                break
        self._add(RecordSeen(current.version, current.record))

    def _compare_node(self, node: SimNode) -> None:
        generation: Generation
        if self._boots.get(node.host) != node.boots:
            self._boots[node.host] = node.boots
            self._roles.pop(node.host, None)
        stored = node.disk.content.status.generation
        role, generation = self._roles.get(node.host, (Role.JOINING.value, stored))
        if not node.up:
            role, generation = "down", stored
        elif node.paused:
            role = "paused"
        seen = NodeSeen(node.host, role, generation, node in self.world.checker.members)
        old = self._seen.get(node.host)
        if old != seen and (old or node.boots):
            self._seen[node.host] = seen
            self._add(seen)
        shelf = node.disk.content.shelf
        new = [shelf[key][2].value for key in shelf if key not in self._shelves.get(node.host, ())]
        self._shelves[node.host] = set(shelf)
        if new:
            self._add(Mark(node.host, "rewind", "rewinds", tuple(new)))


def troubles_of(world: World) -> list[str]:
    """Return the faults of a world that are active now, one line each."""
    blocked, manager = world.network.blocked, world.manager
    both = sorted((a, b) for a, b in blocked if a < b and (b, a) in blocked)
    single = sorted((a, b) for a, b in blocked if (b, a) not in blocked)
    return [
        *(f"{a} and {b} are cut off" for a, b in both),
        *(f"nothing passes {a} → {b}" for a, b in single),
        *(f"{a} → {b} waits" for a, b in sorted(world.network.held)),
        *(f"{name} has no manager" for name in sorted(manager.unreachable)),
        *(f"the watch of {name} is silent" for name in sorted(manager.stale)),
        *(f"the disk of {n.host} fails" for n in world.nodes.values() if n.disk.failing),
        *(f"the broker of {n.host} takes no messages" for n in world.nodes.values() if not n.takes_discarded),
        *(["disks are slow"] if world.disk_slowness > 1 else []),
        *(["the network is slow"] if world.network_slowness > 1 else []),
    ]


def kind_of(frame: Frame) -> str:
    """Return the kind of arrow of a frame, for its colour and for the filter."""
    match frame.event:
        case Operations():
            return "op"
        case Acknowledged():
            return "ack"
        case Refused() | Fenced():
            return "fence"
        case Hello() | Welcome():
            return "hand"
        case _:
            return "sync"
