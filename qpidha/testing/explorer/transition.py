"""One transition: a mutable copy of a state, in which one action happens; then it is checked and frozen."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

from qpidha.core.manager import Answer, Read, Unknown
from qpidha.core.ready import CompareAndSet, Completion, ReadRecord
from qpidha.testing.explorer.clients import Clients, Promise
from qpidha.testing.explorer.invariants import check_cluster
from qpidha.testing.explorer.nodes import NodeView
from qpidha.testing.explorer.scope import (
    ANSWERED,
    CONNECT,
    DEMOTE,
    FAULT,
    FIN,
    GIVEN_UP,
    PROMOTE,
    SENT,
    Queued,
    State,
    Tables,
)  # fmt: skip
from qpidha.testing.invariants.generations import check_record
from qpidha.types import Discarded, Entry, QueueId, Versioned

Request: TypeAlias = tuple[int, int, int, int]
"""A request under way: (node, number, SENT, GIVEN_UP or ANSWERED, number of the answer)."""


class Transition:
    """A mutable copy of a state.

    Each method in `ACTIONS` is one action. It returns False if the action has no meaning in this state, which is then
    of no use any more. Nodes, links, queues and frames are given by number. Every method raises `Violation` if an
    invariant does not hold.
    """

    def __init__(self, tables: Tables, state: State) -> None:
        nodes, links, self.record, requests, clients, budget = state
        self.tables = tables
        self.nodes: list[int] = list(nodes)
        self.links: dict[int, tuple[Queued, Queued]] = {link: (there, back) for link, there, back in links}
        self.requests: list[Request] = list(requests)
        self.clients = Clients(clients, tables.queues, self.members)
        self.budget: list[int] = list(budget)
        self.promise = Promise()
        """What a client is told when the operation that is made now is complete."""

    def state(self) -> State:
        """Check the whole state, and return it in its canonical form: links and requests are sorted."""
        links = [(link, *queues) for link, queues in self.links.items() if queues != (None, None)]
        links.sort(key=lambda link: link[0])
        if self.requests:
            self.requests = sorted(filter(self._may_matter, self.requests))
        check_cluster(self.tables, self.nodes, self.record, self.clients.fields)
        return (
            tuple(self.nodes), tuple(links), self.record, tuple(self.requests), tuple(self.clients.fields),
            tuple(self.budget),
        )  # fmt: skip

    def _may_matter(self, request: Request) -> bool:
        """A request that was given up matters only as long as the record has the version it expects."""
        _, number, stage, _ = request
        asked = self.tables.requests.values[number]
        if stage != GIVEN_UP or not isinstance(asked, CompareAndSet):
            return stage != GIVEN_UP
        return (asked.expected or 0) == self.tables.version(self.record)

    # --- nodes and links -----------------------------------------------------------------------------

    def view(self, node: int) -> NodeView:
        """Return what the cluster knows of the state of a node."""
        return self.tables.nodes.views[self.nodes[node]]

    def members(self) -> dict[int, NodeView]:
        """Return the members of the record."""
        return {node: self.view(node) for node in self.tables.members(self.record)}

    def step(self, node: int, *given: Any) -> bool:
        """Give an input to a node, and apply its effects to the cluster in their order.

        False: the input has no meaning for the node now.
        """
        before = self.view(node)
        step = self.tables.nodes.step(self.nodes[node], given)
        if step is None:
            return False
        self.nodes[node] = step.node
        for what, of, more in step.effects:
            EFFECTS[what](self, node, of, more, before)
        return True

    def send(self, node: int, link: int, frame: bytes) -> None:
        """Put a frame on its way to the other end, if both ends are open; an empty frame is the end of the link."""
        there, back = self.links.get(link, (None, None))
        number = self.tables.frames.number(frame) if frame else FIN
        opener = node == self.tables.ends(link)[0]
        mine, queue = (back, there) if opener else (there, back)
        if queue is None or queue[-1:] == (FIN,) or (mine is None and number != FIN):
            return
        queue = (*queue, number)
        self.links[link] = (queue, back) if opener else (there, queue)

    def close(self, node: int, link: int) -> None:
        """Close this end of a link; the other end sees that after all that was sent before."""
        there, back = self.links.get(link, (None, None))
        opener = node == self.tables.ends(link)[0]
        if (back if opener else there) is None:
            return
        self.links[link] = (there, None) if opener else (None, back)
        self.send(node, link, b"")

    def deliver(self, link: int, to_acceptor: bool) -> bool:
        """Deliver the next frame, or the end of the link, to one end of it."""
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
        """Open a link from this node to the primary that its record names."""
        to = self.view(node).named
        taken = self.links.keys() | self.view(node).pending_links | self.view(to).pending_links
        link = self.tables.free_link(node, to, taken)
        self.links[link] = ((), ())
        self.budget[CONNECT] -= 1
        return self.step(node, "opened", link, self.tables.scope.nodes[to])

    def cut(self, link: int) -> bool:
        """Break a link: all frames under way are lost, and both ends see it closed. False: it is broken already."""
        there, back = ((FIN,) if queue is not None else None for queue in self.links[link])
        if (there, back) == self.links[link]:
            return False
        self.links[link] = (there, back)
        self.budget[FAULT] -= 1
        return True

    def commit(self, node: int) -> bool:
        """The commit under way becomes durable."""
        return self.step(node, "committed")

    def start(self, node: int) -> bool:
        """Start a node that is down, on its disk, with the record as it is now."""
        return self.step(node, "start", self.tables.records.values[self.record])

    def crash(self, node: int, keep: bool) -> bool:
        """Kill a node: its links close, its operations are in doubt. ``keep``: a commit under way is durable."""
        self.budget[FAULT] -= 1
        for link in [link for link in self.links if node in self.tables.ends(link)]:
            self.close(node, link)
        self.requests = [
            (whose, number, GIVEN_UP if whose == node else stage, 0 if whose == node else answer)
            for whose, number, stage, answer in self.requests
            if whose != node or stage != ANSWERED
        ]
        self.clients.in_doubt(node)
        return self.step(node, "crash", keep)

    def late(self, node: int) -> bool:
        """On a primary the time-outs of all members that owe an acknowledgement expire."""
        self.budget[FAULT] -= 1
        return self.step(node, "late")

    def promote(self, node: int) -> bool:
        """Try to make a node primary."""
        self.budget[PROMOTE] -= 1
        return self.step(node, "promote", self.tables.cluster)

    def demote(self, node: int) -> bool:
        """Make a primary hand over."""
        self.budget[DEMOTE] -= 1
        return self.step(node, "demote")

    # --- the cluster manager -------------------------------------------------------------------------

    def watch(self, node: int) -> bool:
        """Show the record to a node, as it is now."""
        return self.step(node, "seen", self.tables.records.values[self.record])

    def read(self, request: Request) -> bool:
        """Let the cluster manager answer a read, with the record as it is now."""
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
        """Deliver the cluster manager's answer to a compare-and-set."""
        self.requests.remove(request)
        node, number, _, answer = request
        return self._answered(node, number, self.tables.answer(answer))

    def give_up(self, request: Request) -> bool:
        """Let a node give up a compare-and-set; the request may still be applied later."""
        self.requests.remove(request)
        node, number, _, _ = request
        self.requests.append((node, number, GIVEN_UP, 0))
        self.budget[FAULT] -= 1
        return self._answered(node, number, Unknown())

    def _answered(self, node: int, number: int, answer: Answer) -> bool:
        return self.step(node, "answered", self.tables.requests.values[number], answer)

    def request(self, node: int, request: CompareAndSet | ReadRecord) -> None:
        """Send a request to the cluster manager."""
        self.requests.append((node, self.tables.requests.number(request), SENT, 0))


# --- effects: what a node does to the cluster, and `before`, the node before its step ----------------------


def _published(transition: Transition, node: int, queue: Any, id: int, before: NodeView) -> None:
    transition.clients.published(node, before.primary, transition.tables.queues.index(queue), id)


def _accepted(transition: Transition, node: int, of: Any, position: int, before: NodeView) -> None:
    message = message_at(transition, of, before)
    transition.clients.accepted(node, message, before.primary, position)


def _moved(transition: Transition, node: int, to: Any, of: Any, before: NodeView) -> None:
    queue, id = to
    message = message_at(transition, of, before)
    transition.clients.named(before.primary, transition.tables.queues.index(queue), id, message)


def _named(transition: Transition, node: int, place: Any, value: str, before: NodeView) -> None:
    queue = transition.tables.queues.index(place[0])
    transition.clients.named(before.primary, queue, place[1], int(value[1:]))


def _declared(transition: Transition, node: int, queue: QueueId, *_: Any) -> None:
    transition.promise = Promise(declared=1 << transition.tables.queues.index(queue))


def _made(transition: Transition, node: int, position: int, _: Any, before: NodeView) -> None:
    transition.clients.operated(node, before.primary, position, transition.promise)


def _kept(transition: Transition, node: int, stored: int, _: Any, before: NodeView) -> None:
    transition.clients.kept(node, before.primary, stored)


def _registered(transition: Transition, node: int, epoch: Entry, *_: Any) -> None:
    transition.tables.epoch = epoch


def message_at(transition: Transition, of: Any, before: NodeView) -> int:
    """The message that a node held under an id."""
    place = (transition.tables.queues.index(of[0]), of[1])
    return next(message for queue, id, message in before.held if (queue, id) == place)


def _complete(transition: Transition, node: int, completion: Completion, _: Any, before: NodeView) -> None:
    transition.clients.complete(node, completion)


def _hand_over(transition: Transition, node: int, messages: tuple[Discarded, ...], *_: Any) -> None:
    transition.clients.hand_over(transition.view(node), messages)


EFFECTS: dict[str, Callable[[Transition, int, Any, Any, NodeView], None]] = {
    "send": lambda transition, node, link, frame, _: transition.send(node, link, frame),
    "close": lambda transition, node, link, _, __: transition.close(node, link),
    "request": lambda transition, node, request, _, __: transition.request(node, request),
    "complete": _complete,
    "hand over": _hand_over,
    "published": _published,
    "accepted": _accepted,
    "moved": _moved,
    "named": _named,
    "declared": _declared,
    "made": _made,
    "registered": _registered,
    "kept": _kept,
}
"""What carries out each kind of effect (`qpidha.testing.explorer.running_node.Effect`)."""

ACTIONS: dict[str, Callable[..., bool]] = {
    "deliver": Transition.deliver, "connect": Transition.connect, "cut": Transition.cut, "commit": Transition.commit,
    "start": Transition.start, "crash": Transition.crash, "late": Transition.late, "promote": Transition.promote,
    "demote": Transition.demote, "watch": Transition.watch, "read": Transition.read, "apply": Transition.apply,
    "answer": Transition.answer, "give up": Transition.give_up,
}  # fmt: skip
"""The method for each kind of action, but for those of `qpidha.testing.explorer.requested`."""
