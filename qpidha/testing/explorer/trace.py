"""A path of actions as text, in the language of scenario outputs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from qpidha.core.births import configuration_id
from qpidha.core.ready import Request
from qpidha.testing.explorer.cluster import Cluster
from qpidha.testing.explorer.requested import queue_for
from qpidha.testing.explorer.running_node import FRAME_BYTES_MAX
from qpidha.testing.explorer.scope import FIN, PRODUCED, PUBLISHED, Action, State, Tables
from qpidha.testing.explorer.transition import Transition
from qpidha.testing.sim.render import render_frame, render_record, render_request
from qpidha.types import QueueId
from qpidha.wire import codec
from qpidha.wire.framing import FrameReader


def trace(cluster: Cluster, actions: Sequence[Action]) -> list[str]:
    """Replay a path from the initial state, and return a line for each action. Only the last may raise `Violation`."""
    state, lines = cluster.initial(), list[str]()
    for number, action in enumerate(actions, 1):
        lines.append(f"{number:3} {Describer(cluster.tables, state).describe(action)}")
        if number < len(actions):
            state = cluster.done(state, action)
    return lines


@dataclass(frozen=True)
class Describer:
    """Describes actions in a state."""

    tables: Tables
    state: State

    def describe(self, action: Action) -> str:
        """Describe an action."""
        return DESCRIPTIONS[action[0]](self, *action[1:])

    def queue_name(self, queue: QueueId) -> str:
        """Return the name of a queue: q0, q1 and so on; "objects" for the configuration."""
        if queue == configuration_id(self.tables.cluster):
            return "objects"
        return f"q{self.tables.queues.index(queue)}"

    def name(self, node: int) -> str:
        """Return the name of a node."""
        return self.tables.scope.nodes[node]

    def deliver(self, link: int, to_acceptor: bool) -> str:
        """Describe the arrival of the next frame, or of the end of the link."""
        opener, acceptor = map(self.name, self.tables.ends(link))
        _, there, back = next(one for one in self.state[1] if one[0] == link)
        source, target = (opener, acceptor) if to_acceptor else (acceptor, opener)
        first = (there if to_acceptor else back)[0]
        if first == FIN:
            return f"{target} hears that its link to {source} is closed"
        (raw,) = FrameReader(FRAME_BYTES_MAX).feed(self.tables.frames.values[first])
        return f"{source} -> {target} {render_frame(codec.decode(raw), self)}"

    def cut(self, link: int) -> str:
        """Describe the cut of a link."""
        return f"cut {' - '.join(map(self.name, self.tables.ends(link)))}, losing what is under way"

    def crash(self, node: int, keep: bool) -> str:
        """Describe the crash of a node, and the fate of its commit."""
        return f"{self.name(node)} crashes, its commit {'done' if keep else 'lost'} if there is one"

    def request(self, what: str, request: tuple[int, ...]) -> str:
        """Describe what happens to a request to the cluster manager."""
        asked = self.tables.requests.values[request[1]]
        assert isinstance(asked, Request)
        return f"{self.name(request[0])} {what}: {render_request(asked)}"

    def watch(self, node: int) -> str:
        """Describe the record that a node sees."""
        current = self.tables.records.values[self.state[2]]
        return f"{self.name(node)} sees the record: {render_record(current.record) if current else 'none'}"

    def connect(self, node: int) -> str:
        """Describe a link that a node opens."""
        to = self.tables.nodes.views[self.state[0][node]].named
        return f"{self.name(node)} opens a link to {self.name(to)}"

    def publish(self, node: int) -> str:
        """Describe the publish of the next message."""
        message = self.state[4][PUBLISHED]
        queue = queue_for(Transition(self.tables, self.state), node, message)
        return f"publish v{message} on {self.name(node)}, to {self.queue_name(queue)}"

    def transact(self, node: int, queue: int, id: int) -> str:
        """Describe a commit."""
        accepts = "" if queue < 0 else f", accept {id} of q{queue}"
        return f"commit on {self.name(node)}: publish v{self.state[4][PUBLISHED]}{accepts}"

    def delete(self, node: int, queue: int, target: int) -> str:
        """Describe the deletion of a queue."""
        return f"delete q{queue} on {self.name(node)}" + (
            "" if target < 0 else f", move to q{target} what it holds"
        )


def of_node(what: str) -> Callable[..., str]:
    """Return a description for actions that need only a node."""
    return lambda d, node, *_: f"{d.name(node)} {what}"


DESCRIPTIONS: dict[str, Callable[..., str]] = {
    "deliver": Describer.deliver,
    "cut": Describer.cut,
    "crash": Describer.crash,
    "watch": Describer.watch,
    "connect": Describer.connect,
    "publish": Describer.publish,
    "apply": lambda d, request: d.request("reaches the manager", request),
    "answer": lambda d, request: d.request("is answered", request),
    "read": lambda d, request: d.request("is answered", request),
    "give up": lambda d, request: d.request("gets no answer in time", request),
    "accept": lambda d, node, queue, id: f"accept {id} of q{queue} on {d.name(node)}",
    "move": lambda d, node, queue, id: f"move {id} of q{queue} on {d.name(node)}",
    "commit": of_node("commits"),
    "transact": Describer.transact,
    "delete": Describer.delete,
    "update": lambda d, node, queue, id: f"update {id} of q{queue} on {d.name(node)}",
    "redeclare": lambda d, node: f"declare a queue on {d.name(node)}",
    "fan_out": lambda d, node: f"publish the next message to two queues on {d.name(node)}",
    "put": lambda d, node: f"put the object on {d.name(node)}",
    "produce": lambda d, node: f"the producer publishes v{d.state[4][PUBLISHED]} on {d.name(node)}",
    "repeat": lambda d, node: f"the producer repeats v{d.state[4][PRODUCED][-1]} on {d.name(node)}",
    "keep": of_node("puts the object that is its own"),
    "give_up": lambda d, node: f"the producer gives up v{d.state[4][PUBLISHED]} on {d.name(node)}",
    "forget": of_node("forgets the producer"),
    "start": of_node("starts"),
    "late": of_node("waits longer than any time-out"),
    "promote": of_node("tries to be promoted"),
    "demote": of_node("hands over"),
}
