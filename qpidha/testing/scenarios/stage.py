"""The stage of a scenario: a `World` in which nothing takes time, and the commands that act on it.

Each public method is a command of `qpidha.testing.scenarios.scenario`, its docstring is the reference, and its
arguments are the words behind the command. A name that Python reserves ends in an underscore here.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise

from qpidha.core.ready import CompareAndSet, Notice, Request, RoleChanged
from qpidha.events import NodeEvent
from qpidha.journal import StoreState
from qpidha.testing.sim.clients import Clients
from qpidha.testing.sim.disk import Content
from qpidha.testing.sim.manager import Fault
from qpidha.testing.sim.network import End
from qpidha.testing.sim.node import SimNode
from qpidha.testing.sim.render import render_frame, render_notice, render_request
from qpidha.testing.sim.world import SMALL, World
from qpidha.types import QueueId, Settle, Versioned
from qpidha.wire.events import Acknowledged, Fenced, Frame

LINE_CHARS_MAX = 300
"""Longer lines are cut in the middle: a scenario is there to be read."""


class ScenarioError(Exception):
    """The scenario is not written correctly, or one of its expectations does not hold."""


class Stage:
    """Commands that change something."""

    def __init__(self) -> None:
        self.settings = SMALL
        self.world: World
        self.on_world: Callable[[World], None] = lambda world: None
        """Told of the world before its nodes start."""
        self.on_command: Callable[[str], None] = lambda line: None
        """Told of each command, and of each comment, before it is obeyed."""
        self._lines: list[str] = []
        self._saved: dict[str, Content] = {}
        self._clones: dict[str, SimNode] = {}
        self._lost_record: Versioned | None = None

    # --- output --------------------------------------------------------------------------------------

    def _say(self, line: str) -> None:
        if len(line) > LINE_CHARS_MAX:
            half = LINE_CHARS_MAX // 2
            line = f"{line[:half]} … {line[-half:]} ({len(line)} characters)"
        self._lines.append(line)

    def _sent(self, end: End, frame: Frame) -> None:
        names = end.node.name, end.other.node.name
        if self.world.network.waits(end.other):
            self._say(f"{names[0]} -> {names[1]} {render_frame(frame, self.world)} (waits)")

    def _noticed(self, node: SimNode, notice: Notice) -> None:
        if isinstance(notice, (RoleChanged, NodeEvent)):
            self._say(f"{node.name}: {render_notice(notice)}")

    def _requested(self, node: SimNode, request: Request) -> None:
        if isinstance(request, CompareAndSet):
            self._say(f"{node.name}: {render_request(request)}")

    # --- words ---------------------------------------------------------------------------------------

    def _node(self, name: str) -> SimNode:
        return self._clones.get(name) or self.world.nodes[name]

    @staticmethod
    def _values(words: tuple[str, ...]) -> list[str]:
        """``v1..v9`` are nine values, ``v1..v9/2`` every second of them."""
        given: list[str] = []
        for word in words:
            first, dots, rest = word.partition("..")
            last, _, step = rest.partition("/")
            low = int(first.lstrip("v")) if dots else 0
            given += (
                [f"v{n}" for n in range(low, int(last.lstrip("v")) + 1, int(step or 1))] if dots else [word]
            )
        return given

    @staticmethod
    def _direction(words: str) -> tuple[str, str]:
        source, arrow, target = words.partition("->")
        if not arrow:
            raise ScenarioError(f"a direction is written P->B1, not {words}")
        return source, target

    def _queue(self, name: str) -> QueueId:
        return self.world.queues[name]

    def _ids(self, node: SimNode, queue: str, words: tuple[str, ...]) -> list[int]:
        held = {
            Clients.value_at(node, self._queue(queue), id): id
            for id in node.replica.queues[self._queue(queue)].held
        }
        return sorted(held[value] for value in self._values(words))

    # --- commands: the cluster -----------------------------------------------------------------------

    def settings_(self, *words: str) -> None:
        """``settings ack_timeout_s=2``: before ``nodes``."""
        given = {key: value for key, _, value in (word.partition("=") for word in words)}
        self.settings = replace(
            self.settings,
            **{k: float(v) if k.endswith("_s") else int(v) for k, v in given.items()},  # type: ignore[arg-type]
        )

    def nodes(self, *names: str) -> None:
        """``nodes P B1 B2``: they start, with empty disks."""
        self.world = world = World(nodes=names, settings=self.settings, instant=True)
        world.manager.held = []
        world.listeners.append(self._say)
        world.on_send = self._sent
        world.on_notice = self._noticed
        world.on_request = self._requested
        for node in world.nodes.values():
            node.auto_connect = False
        self.on_world(world)
        world.start()

    def cluster(self, *names: str) -> None:
        """``cluster P B1 B2``: the same, P promoted and the others members; not shown."""
        self.nodes(*names)
        self.promote(names[0])
        self.world.scheduler.run_for(0.0)
        self.connect(*names[1:])
        self._lines = self._lines[-1:]

    def connect(self, *words: str) -> None:
        """``connect B1`` to the primary of the record, ``connect B1->P`` to the one it wants to believe in."""
        for word in words:
            source, arrow, target = word.partition("->")
            if arrow:
                self.world.network.connect(self._node(source), self._node(target))
            else:
                self._node(source).connect()
            self.world.scheduler.run_for(0.0)

    def auto(self, *names: str) -> None:
        """``auto B1``: these nodes connect by themselves from now on."""
        for name in names:
            self._node(name).auto_connect = True

    def promote(self, name: str) -> None:
        """``promote B1``: try; says why not."""
        if why := self._node(name).promote():
            self._say(f"{name}: not promoted: {why}")

    def demote(self, name: str) -> None:
        """``demote P``: hand over."""
        self._node(name).demote()

    def crash(self, name: str, *how: str) -> None:
        """``crash P``: kill -9. ``keep``: a commit under way is durable. ``silent``: nobody is told.

        ``lose``: what was sent and is held back is lost.
        """
        self._node(name).crash(keep="keep" in how, silent="silent" in how, lose="lose" in how)

    def restart(self, name: str) -> None:
        self._node(name).start()

    def pause(self, name: str) -> None:
        """``pause P``: SIGSTOP."""
        self._node(name).pause()

    def resume(self, name: str) -> None:
        self._node(name).resume()

    def wait(self, seconds: str) -> None:
        self.world.scheduler.run_for(float(seconds))

    # --- commands: clients ---------------------------------------------------------------------------

    def queue(self, name: str, *how: str) -> None:
        """``queue q`` or ``queue q immediate``: declared on the primary; ``queue q at P``, on that one.

        ``queue r named q``: to the brokers another queue of the name q; the scenario calls it r.
        """
        options = dict(pairwise(how))
        settle = Settle.IMMEDIATE if "immediate" in how else Settle.REPLICATED
        primary = self._node(options["at"]) if "at" in options else self.world.primary
        if primary is None:
            raise ScenarioError("nobody is primary")
        self.world.clients.declare(primary, self.world.queue_id(name), options.get("named", name), settle)

    def publish(self, name: str, queue: str, *values: str) -> None:
        """``publish P q v1 v2``: one batch. ``v1..v9`` are nine values."""
        given = self._values(values)
        if not self.world.clients.publish(self._node(name), self._queue(queue), given, run=False):
            return
        q = self._node(name).replica.queues[self._queue(queue)]
        self._say(f"{name}: {queue} {q.next - len(given)}-{q.next - 1}@{q.lineage[-1][0]}")
        self._node(name).run()

    def deliver(self, name: str, queue: str) -> None:
        """``deliver P q``: the next message for the consumer."""
        found = self.world.clients.deliver(self._node(name), self._queue(queue))
        self._say(f"{name} delivers: {found[1] if found else 'nothing'}")

    def accept(self, name: str, queue: str, *values: str) -> None:
        """``accept P q v1``: delivered and accepted."""
        node, id = self._node(name), self._queue(queue)
        for number in self._ids(node, queue, values):
            self.world.checker.delivered(node, id, number, Clients.value_at(node, id, number))
        self.world.clients.accept(node, id, self._ids(node, queue, values))

    def move(self, name: str, source: str, target: str, *values: str) -> None:
        """``move P q dlq v1``: in one operation."""
        node = self._node(name)
        self.world.clients.move(
            node, self._queue(source), self._ids(node, source, values), self._queue(target)
        )

    def skip(self, name: str, queue: str, count: str) -> None:
        """``skip P q 4294967296``: so many ids are given out and used for nothing that is left."""
        self.world.clients.skip(self._node(name), self._queue(queue), int(count))

    # --- commands: faults ----------------------------------------------------------------------------

    def hold(self, *directions: str) -> None:
        """``hold P->B1``: what is sent in this direction waits, as on a slow link. Heartbeats pass."""
        for words in directions:
            self.world.network.hold(*self._direction(words))

    def pass_(self, direction: str, count: str = "1000") -> None:
        """``pass P->B1 2``: two of the frames that wait arrive; the direction stays held."""
        self.world.network.let_pass(*self._direction(direction), int(count))

    def release(self, *directions: str) -> None:
        """``release P->B1``: all that waits arrives, in order, and the direction is open again."""
        for words in directions:
            self.world.network.unblock(*self._direction(words))

    def cut(self, a: str, b: str) -> None:
        """``cut P B1``: nothing passes in either direction, and soon both ends give their links up."""
        self.world.network.block(a, b)
        self.world.network.block(b, a)

    def mend(self, a: str, b: str) -> None:
        self.release(f"{a}->{b}", f"{b}->{a}")

    def reset(self, a: str, b: str) -> None:
        """``reset P B1``: links between them break; what waits is lost."""
        self.world.network.reset(a, b)

    def forge(self, direction: str, what: str, *numbers: str) -> None:
        """``forge B1->P 9 1 1``: B1 sends "ack 9" of session 1, generation 1, on the link it has now.

        ``forge B1->P fenced 9``: B1 claims that it has seen generation 9.
        """
        source, _ = self._direction(direction)
        node = self._node(source)
        link = node.replica.follower.link
        if link is None:
            raise ScenarioError(f"{source} has no link")
        if what == "fenced":
            frame = Frame(node.replica.generation, 0, Fenced(generation=int(numbers[0])))
        else:
            session, generation = map(int, numbers)
            frame = Frame(generation, session, Acknowledged(position=int(what)))
        self.world.network.send(node, link, frame)

    def disk(self, name: str, what: str) -> None:
        """``disk B1 hold``, ``disk B1 release``: its commits wait.

        ``fail``: the next one fails and wrote nothing; ``fail-after``: it is there all the same.
        """
        node = self._node(name)
        if what == "hold":
            node.hold_disk = True
        elif what == "release":
            node.release_disk()
        else:
            node.disk.failing = "after" if what == "fail-after" else "before"

    def damage(self, name: str) -> None:
        """``damage B1``: its store finds a checksum that is wrong when it is opened the next time."""
        content = self._node(name).disk.content
        content.status = content.status.with_(state=StoreState.DAMAGED)

    def clone(self, name: str, other: str) -> None:
        """``clone B1 B1x``: a second process with the node id B1, on a copy of its disk; B1x only here."""
        self._clones[other] = clone = SimNode(self.world, name)
        clone.auto_connect = False
        clone.disk.restore(self._node(name).disk.snapshot())
        clone.start()

    def wipe(self, name: str) -> None:
        """``wipe P``: a new, empty disk. The node is down."""
        self._node(name).disk.wipe()

    def save(self, name: str) -> None:
        """``save B1``: an image of its disk, for ``restore B1``."""
        self._saved[name] = self._node(name).disk.snapshot()

    def restore(self, name: str) -> None:
        self._node(name).disk.restore(self._saved[name])

    def manager(self, name: str, *words: str) -> None:
        """``manager P unreachable``, ``stale`` (silent watch), ``reachable``; ``manager P next late lost``.

        ``next``: what befalls its next compare-and-sets. ``manager all deliver-late``: late ones arrive now.
        ``manager all wiped``: the record is gone. ``manager all generation 1``: somebody put another one in
        the place of the last, that of before with this generation and version 1.
        """
        manager = self.world.manager
        if words == ("wiped",):
            self._lost_record, manager.current = manager.current, None
            return
        if words[0] == "generation":
            old = manager.current or self._lost_record
            assert old is not None
            manager.current = Versioned(replace(old.record, generation=int(words[1]), primary=None), 1)
            return
        if words == ("deliver-late",):
            late, manager.held = manager.held or [], []
            for request in late:
                request()
            return
        node = self._node(name)
        match words:
            case ("unreachable",):
                manager.unreachable.add(name)
            case ("stale",):
                manager.stale.add(name)
            case ("reachable",):
                manager.reconnect(node)
            case ("next", *faults):
                manager.faults.setdefault(name, deque()).extend(Fault(fault) for fault in faults)
            case _:
                raise ScenarioError(f"manager {name} {' '.join(words)}")
