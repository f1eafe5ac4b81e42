"""Links, nodes and the record: the actions of the state model that are no clients', done to the core."""

from __future__ import annotations

from collections import Counter, deque

from qpidha.core.ready import CompareAndSet
from qpidha.testing.sim.link import End, Fin
from qpidha.wire.events import Frame, PlanEnd
from tests.model.state import nouns
from tests.model.state.history import objects
from tests.model.state.nouns import MEM, channel
from tests.model.stateparts import Label, Parts, State


class Network(Parts):
    """Each method does one action, by its name; ``before`` is the state of the model before it."""

    _sent: Counter[End]
    _read: Counter[End]
    """Frames that each primary's end sent, and that the backup read."""
    _marks: dict[End, list[int]]
    """By a primary's end: of each frame of the model that is under way, how many frames of the core end with it."""
    _planned: set[End]

    # --- the network ---------------------------------------------------------------------------------

    def _linked(self, end: End) -> None:
        self.links[self.names.index(end.node.name), self.names.index(end.other.node.name)] = end
        self._marks[end] = []

    def _sends(self, end: End, frame: Frame) -> None:
        self._sent[end] += 1
        if isinstance(frame.event, PlanEnd):
            self._planned.add(end)

    def _mark(self) -> None:
        """Remember which frames of the core are those that the model has sent in this step."""
        for (p, b), end in self.links.items():
            under_way = [f for f in self.state[3][channel(p, b)].to_backup if f.kind != "T"]
            while len(self._marks[end]) < len(under_way):
                self._marks[end].append(self._sent[end])

    def _deliver(self, end: End) -> bool:
        """Let this end read its next frame. Returns whether there was one."""
        if not end.open or not end.inbound or isinstance(end.inbound[0][1], Fin):
            return False
        self.world.network._deliver(end, end.inbound.popleft()[1])
        self.world.scheduler.run_for(0.0)
        return True

    def _conn(self, before: State, b: int, p: int) -> None:
        """Make the whole handshake, up to the plan, which the backup does not read yet."""
        network = self.world.network
        if self._is_recorded(p):
            self.manager.show(self._node(b))
            self._settle()
        before_it = self.links.get((p, b))
        if (
            before_it is not None and before_it.open and not before_it.other.open
        ):  # The primary learns that it ended.
            before_it.inbound = deque(each for each in before_it.inbound if isinstance(each[1], Fin))
            network._deliver(before_it, before_it.inbound.popleft()[1])
        network.connect(self._node(b), self._node(p))
        end = network.ends[self.names[p], network._links]
        self._linked(end)
        self.world.scheduler.run_for(0.0)
        while end not in self._planned:
            if not self._deliver(end):
                if not self._deliver(end.other):
                    raise self._differs(f"node {b} gets no plan from {p}")
                self._read[end] += 1

    def _is_recorded(self, p: int) -> bool:
        current = self.manager.current
        return (
            current is not None
            and current.record.primary is not None
            and current.record.primary[0] == self.names[p]
        )

    def _recv(self, before: State, b: int, p: int) -> None:
        if before[3][channel(p, b)].to_backup[0].kind == "T":
            return  # The frames of an operation are read with its last one.
        end = self.links[p, b]
        upto = self._marks[end].pop(0)
        while self._read[end] < upto and self._deliver(end.other):
            self._read[end] += 1

    def _ack(self, before: State, p: int, b: int) -> None:
        while self._deliver(self.links[p, b]):
            pass

    def _possible(self, label: Label) -> bool:
        """Whether the core can do it: it leaves a session earlier than the model, when it sees a newer record."""
        match label:
            case ("recv", b, p):
                end = self.links[p, b]
                return end.other.open and self._node(b).replica.follower.link == end.number
            case ("ack", p, b):
                return self.links[p, b].open
            case ("conn", b, p):
                record = self._node(b).replica.record
                known = (
                    record is not None and record.primary is not None and record.primary[0] == self.names[p]
                )
                return self.state[2][b][nouns.CAS] is None and (self._is_recorded(p) or known)
            case ("decl", n, name):
                return name not in objects(self.state[2][n][MEM])  # Else the core's caller answers.
            case _:
                return True

    # --- nodes and the record --------------------------------------------------------------------------

    def _crash(self, before: State, n: int) -> None:
        self._node(n).crash()

    def _restart(self, before: State, n: int) -> None:
        self._node(n).start()

    def _prom(self, before: State, n: int) -> None:
        self.manager.show(self._node(n))
        self._settle()
        if refused := self._node(n).promote():
            raise self._differs(f"node {n} refuses its promotion: {refused}")

    def _watch(self, before: State, n: int) -> None:
        self.manager.show(self._node(n))

    def _mgr(self, before: State, n: int, kind: str, expected: int) -> None:
        (request,) = set(before[1]) - set(self.state[1])
        for asked in self.manager.asked:
            if isinstance(asked.request, CompareAndSet) and asked.node is self._node(n):
                boot = asked.boot - 1  # The first process of the code is 1, that of the model 0.
                if (asked.request.expected - self.first_version, boot) == (expected, request.boot):
                    self.manager.arrive(asked)
                    return
        raise self._differs(f"node {n} has no request of version {expected} under way")

    def _casok(self, before: State, n: int) -> None:
        node = self._node(n)
        for i, (asked, _) in enumerate(self.manager.answers):
            if asked.node is node and asked.boot == node.boots:
                self.manager.answer(i)
                return
        raise self._differs(f"node {n} waits for no answer")

    _casfail = _casok
