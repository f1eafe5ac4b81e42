"""A state in the making: one action is let happen to it, then it is judged and closed.

Clients are kept here too: what they published, what they were told, and so what the cluster owes them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from qpidha.core.manager import Answer, Read, Unknown
from qpidha.core.ready import CompareAndSet, Completion, Doubtful, ReadRecord, Safe, Settled
from qpidha.testing.explorer.invariants import check_cluster
from qpidha.testing.explorer.nodes import Given, Look
from qpidha.testing.explorer.scope import (
    ACCEPT,
    ACKED,
    ANSWERED,
    CONFIRMED,
    CONNECT,
    CONSUMED,
    DEAD,
    DEMOTE,
    FAULT,
    FIN,
    GIVEN_UP,
    MOVE,
    NAMES,
    PROMOTE,
    PUBLISH,
    PUBLISHED,
    SENT,
    SETTLES,
    WAITING,
    Queued,
    State,
    Tables,
)  # fmt: skip
from qpidha.testing.invariants.generations import check_record
from qpidha.testing.invariants.violation import Violation
from qpidha.types import Discarded, Fate, Versioned

Request = tuple[int, int, int, int]


class Draft:
    """See the module. The methods named in `HOW` return False for what means nothing here."""

    def __init__(self, tables: Tables, state: State) -> None:
        nodes, links, self.record, requests, clients, budget = state
        self.tables = tables
        self.nodes: list[int] = list(nodes)
        self.links: dict[int, tuple[Queued, Queued]] = {link: (there, back) for link, there, back in links}
        self.requests: list[Request] = list(requests)
        self.clients: list[Any] = list(clients)
        self.budget: list[int] = list(budget)

    def state(self) -> State:
        """Judged, and in one form only."""
        links = [(link, *queues) for link, queues in self.links.items() if queues != (None, None)]
        links.sort(key=lambda link: link[0])
        if self.requests:
            self.requests = sorted(filter(self._may_matter, self.requests))
        check_cluster(self.tables, self.nodes, self.record, self.clients)
        return (
            tuple(self.nodes), tuple(links), self.record, tuple(self.requests), tuple(self.clients),
            tuple(self.budget),
        )  # fmt: skip

    def _may_matter(self, request: Request) -> bool:
        """A request nobody waits for matters only as long as the record has the version it expects."""
        _, number, stage, _ = request
        asked = self.tables.requests.values[number]
        if stage != GIVEN_UP or not isinstance(asked, CompareAndSet):
            return stage != GIVEN_UP
        return (asked.expected or 0) == self.tables.version(self.record)

    # --- nodes and links -----------------------------------------------------------------------------

    def look(self, node: int) -> Look:
        return self.tables.nodes.looks[self.nodes[node]]

    def step(self, node: int, *given: Any) -> bool:
        """This happens to a node; its effects reach the world at once, in their order."""
        before = self.look(node)
        things: Given = given
        step = self.tables.nodes.step(self.nodes[node], things)
        if step is None:
            return False
        self.nodes[node] = step.node
        for what, of, more in step.effects:
            EFFECTS[what](self, node, of, more, before)
        return True

    def send(self, node: int, link: int, frame: bytes) -> None:
        """To the other end, if this end and that one are open and the link between them whole."""
        there, back = self.links.get(link, (None, None))
        number = self.tables.frames.number(frame) if frame else FIN
        opener = node == self.tables.ends(link)[0]
        mine, queue = (back, there) if opener else (there, back)
        if queue is None or queue[-1:] == (FIN,) or (mine is None and number != FIN):
            return
        queue = (*queue, number)
        self.links[link] = (queue, back) if opener else (there, queue)

    def close(self, node: int, link: int) -> None:
        """This end gives up; the other hears of it behind what was sent before."""
        there, back = self.links.get(link, (None, None))
        opener = node == self.tables.ends(link)[0]
        if (back if opener else there) is None:
            return
        self.links[link] = (there, None) if opener else (None, back)
        self.send(node, link, b"")

    def deliver(self, link: int, to_acceptor: bool) -> bool:
        """Deliver the next frame, or the end of the link, to one end."""
        there, back = self.links[link]
        node = self.tables.ends(link)[1 if to_acceptor else 0]
        queue = there if to_acceptor else back
        assert queue
        first, rest = queue[0], queue[1:]
        if first == FIN:
            self.close(node, link)
            return self.step(node, "closed", link)
        self.links[link] = (rest, back) if to_acceptor else (there, rest)
        return self.step(node, "received", link, self.tables.frames.values[first])

    def connect(self, node: int) -> bool:
        """Open a link from this node to the one that its record names."""
        to = self.look(node).named
        taken = self.links.keys() | self.look(node).speaks_of | self.look(to).speaks_of
        link = self.tables.free_link(node, to, taken)
        self.links[link] = ((), ())
        self.budget[CONNECT] -= 1
        return self.step(node, "opened", link, self.tables.scope.nodes[to])

    def cut(self, link: int) -> bool:
        """What is under way is lost, and both ends hear that the link broke."""
        there, back = ((FIN,) if queue is not None else None for queue in self.links[link])
        if (there, back) == self.links[link]:
            return False
        self.links[link] = (there, back)
        self.budget[FAULT] -= 1
        return True

    def commit(self, node: int) -> bool:
        return self.step(node, "committed")

    def start(self, node: int) -> bool:
        return self.step(node, "start", self.tables.records.values[self.record])

    def crash(self, node: int, keep: bool) -> bool:
        """Crash a node: its links close, and its operations are in doubt."""
        self.budget[FAULT] -= 1
        for link in [link for link in self.links if node in self.tables.ends(link)]:
            self.close(node, link)
        self.requests = [
            (whose, number, GIVEN_UP if whose == node else stage, 0 if whose == node else answer)
            for whose, number, stage, answer in self.requests
            if whose != node or stage != ANSWERED
        ]
        self._nobody_waits(node)
        return self.step(node, "crash", keep)

    def late(self, node: int) -> bool:
        self.budget[FAULT] -= 1
        return self.step(node, "late")

    def promote(self, node: int) -> bool:
        self.budget[PROMOTE] -= 1
        return self.step(node, "promote", self.tables.cluster)

    def demote(self, node: int) -> bool:
        self.budget[DEMOTE] -= 1
        return self.step(node, "demote")

    # --- the cluster manager -------------------------------------------------------------------------

    def watch(self, node: int) -> bool:
        return self.step(node, "seen", self.tables.records.values[self.record])

    def read(self, request: Request) -> bool:
        """A read takes no time: it was made when its answer comes."""
        self.requests.remove(request)
        node, number, _, _ = request
        current = self.tables.records.values[self.record]
        return self.step(node, "answered", self.tables.requests.values[number], Read(current))

    def apply(self, request: Request) -> bool:
        """Let the cluster manager apply or refuse a compare-and-set."""
        self.requests.remove(request)
        node, number, stage, _ = request
        asked = self.tables.requests.values[number]
        assert isinstance(asked, CompareAndSet)
        old = self.tables.records.values[self.record]
        version = old.version if old else None
        answer = -self.record
        if asked.expected == version:
            check_record(old.record if old else None, asked.new)
            answer = self.record = self.tables.records.number(Versioned(asked.new, (version or 0) + 1))
        if stage == SENT:
            self.requests.append((node, number, ANSWERED, answer))
        return True

    def answer(self, request: Request) -> bool:
        self.requests.remove(request)
        node, number, _, answer = request
        return self._answered(node, number, self.tables.answer(answer))

    def give_up(self, request: Request) -> bool:
        """The node waits no longer; the request may still arrive."""
        self.requests.remove(request)
        node, number, _, _ = request
        self.requests.append((node, number, GIVEN_UP, 0))
        self.budget[FAULT] -= 1
        return self._answered(node, number, Unknown())

    def _answered(self, node: int, number: int, answer: Answer) -> bool:
        return self.step(node, "answered", self.tables.requests.values[number], answer)

    def request(self, node: int, request: CompareAndSet | ReadRecord) -> None:
        self.requests.append((node, self.tables.requests.number(request), SENT, 0))

    # --- clients ---------------------------------------------------------------------------------------

    def declare(self, node: int, queue: int) -> bool:
        return self.step(node, "declare", self.tables.queues[queue], f"q{queue}")

    def publish(self, node: int) -> bool:
        self.budget[PUBLISH] -= 1
        message = self.clients[PUBLISHED]
        self.clients[PUBLISHED] += 1
        return self.step(
            node, "publish", self.tables.queues[message % len(self.tables.queues)], f"v{message}"
        )

    def accept(self, node: int, queue: int, id: int) -> bool:
        self.budget[ACCEPT] -= 1
        return self.step(node, "accept", self.tables.queues[queue], id)

    def move(self, node: int, queue: int, id: int) -> bool:
        self.budget[MOVE] -= 1
        target = self.tables.queues[(queue + 1) % len(self.tables.queues)]
        return self.step(node, "move", self.tables.queues[queue], id, target)

    def published(self, node: int, message: int, generation: int, queue: int, id: int) -> None:
        self.named(generation, queue, id, message)
        self.clients[WAITING] = (*self.clients[WAITING], (node, generation, queue, id, message))

    def named(self, generation: int, queue: int, id: int, message: int) -> None:
        names = self.clients[NAMES]
        if any(name[:3] == (queue, generation, id) for name in names):
            raise Violation(f"I1: id {id} of generation {generation} is given out twice in queue {queue}")
        self.clients[NAMES] = tuple(sorted((*names, (queue, generation, id, message))))

    def accepted(self, node: int, message: int, generation: int, position: int) -> None:
        self.clients[CONSUMED] |= 1 << message
        self.clients[SETTLES] = (*self.clients[SETTLES], (node, generation, position, message))

    def complete(self, node: int, completion: Completion) -> None:
        """Clients are told. What they are told is judged with the whole state."""
        generation = completion.generation
        kept = []
        if isinstance(completion, Safe):
            queue = self.tables.queues.index(completion.queue)
            for one in self.clients[WAITING]:
                if one[:3] == (node, generation, queue) and one[3] <= completion.upto:
                    self.clients[ACKED] |= 1 << one[4]
                else:
                    kept.append(one)
            self.clients[WAITING] = tuple(kept)
        elif isinstance(completion, Settled):
            for one in self.clients[SETTLES]:
                if one[:2] == (node, generation) and one[2] <= completion.upto:
                    self._confirmed(1 << one[3])
                else:
                    kept.append(one)
            self.clients[SETTLES] = tuple(kept)
        elif isinstance(completion, Doubtful):
            self._nobody_waits(node)

    def _confirmed(self, bit: int) -> None:
        for member in self.tables.members(self.record):
            if self.look(member).disk & bit:
                raise Violation("S3: a settle is confirmed, but a member still holds the message")
        self.clients[CONFIRMED] |= bit

    def _nobody_waits(self, node: int) -> None:
        """Everything pending there is in doubt: it will never be answered."""
        for what in (WAITING, SETTLES):
            if self.clients[what]:
                self.clients[what] = tuple(one for one in self.clients[what] if one[0] != node)

    def hand_over(self, node: int, messages: tuple[Discarded, ...]) -> None:
        """Check the messages that a node hands over. Raises `Violation`."""
        look = self.look(node)
        followed = look.primary or (look.following[0] if look.following else 0)
        for one in messages:
            message, queue = int(one.data[1:]), self.tables.queues.index(one.queue)
            if (queue, one.generation, one.id, message) not in self.clients[NAMES]:
                raise Violation(f"I1: v{message} is handed over as {one.id}@{one.generation}")
            if one.fate is not Fate.REWOUND:
                if one.fate is Fate.UNDONE_MOVE and not (look.disk | self.clients[CONSUMED]) >> message & 1:
                    raise Violation(f"R-g: v{message} is called an undone move, and is nowhere")
                continue
            if (self.clients[ACKED] & ~self.clients[CONSUMED]) >> message & 1:
                raise Violation(f"R-b: v{message} was acknowledged and is handed over as rewound")
            holders = [m for m in self.tables.members(self.record) if self.look(m).disk >> message & 1]
            if holders:
                raise Violation(f"R-g: v{message} is handed over, and a member may bring it back")
            if all(dead != message for dead, _ in self.clients[DEAD]):
                self.clients[DEAD] = tuple(sorted((*self.clients[DEAD], (message, followed))))


def _published(draft: Draft, node: int, queue: Any, id: int, before: Look) -> None:
    message = draft.clients[PUBLISHED] - 1
    draft.published(node, message, before.primary, draft.tables.queues.index(queue), id)


def _accepted(draft: Draft, node: int, of: Any, position: int, before: Look) -> None:
    draft.accepted(node, _message(draft, of, before), before.primary, position)


def _moved(draft: Draft, node: int, to: Any, of: Any, before: Look) -> None:
    queue, id = to
    draft.named(before.primary, draft.tables.queues.index(queue), id, _message(draft, of, before))


def _message(draft: Draft, of: Any, before: Look) -> int:
    """The message that a node held under an id."""
    place = (draft.tables.queues.index(of[0]), of[1])
    return next(message for queue, id, message in before.held if (queue, id) == place)


EFFECTS: dict[str, Callable[[Draft, int, Any, Any, Look], None]] = {
    "send": lambda draft, node, link, frame, _: draft.send(node, link, frame),
    "close": lambda draft, node, link, _, __: draft.close(node, link),
    "request": lambda draft, node, request, _, __: draft.request(node, request),
    "complete": lambda draft, node, completion, _, __: draft.complete(node, completion),
    "hand over": lambda draft, node, messages, _, __: draft.hand_over(node, messages),
    "published": _published,
    "accepted": _accepted,
    "moved": _moved,
}
HOW: dict[str, Callable[..., bool]] = {
    "deliver": Draft.deliver, "connect": Draft.connect, "cut": Draft.cut, "commit": Draft.commit,
    "start": Draft.start, "crash": Draft.crash, "late": Draft.late, "promote": Draft.promote,
    "demote": Draft.demote, "watch": Draft.watch, "read": Draft.read, "apply": Draft.apply,
    "answer": Draft.answer, "give up": Draft.give_up, "declare": Draft.declare, "publish": Draft.publish,
    "accept": Draft.accept, "move": Draft.move,
}  # fmt: skip
