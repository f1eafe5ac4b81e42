"""What happened on the way to a state, in the words of the scenarios."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from qpidha.core.ready import Request
from qpidha.testing.explorer.cluster import Cluster
from qpidha.testing.explorer.life import FRAME_BYTES_MAX
from qpidha.testing.explorer.scope import FIN, PUBLISHED, Action, State, Tables
from qpidha.testing.sim.render import render_frame, render_record, render_request
from qpidha.types import QueueId
from qpidha.wire import codec
from qpidha.wire.framing import FrameReader


def trace(cluster: Cluster, actions: Sequence[Action]) -> list[str]:
    """A path from the beginning, played again. Only its last action may be one that must not happen."""
    state, lines = cluster.beginning(), list[str]()
    for number, action in enumerate(actions, 1):
        lines.append(f"{number:3} {Words(cluster.tables, state).say(action)}")
        if number < len(actions):
            state = cluster.done(state, action)
    return lines


@dataclass(frozen=True)
class Words:
    """Says what an action is in a state."""

    tables: Tables
    state: State

    def say(self, action: Action) -> str:
        """Describe an action."""
        return SAY[action[0]](self, *action[1:])

    def queue_name(self, queue: QueueId) -> str:
        """Return the name of a queue: q0, q1 and so on."""
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
            return f"{target} hears that its link to {source} is gone"
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
        to = self.tables.nodes.looks[self.state[0][node]].named
        return f"{self.name(node)} opens a link to {self.name(to)}"

    def publish(self, node: int) -> str:
        """Describe the publish of the next message."""
        message = self.state[4][PUBLISHED]
        return f"publish v{message} on {self.name(node)}, to q{message % len(self.tables.queues)}"


def about(what: str) -> Callable[..., str]:
    """For actions that only need a node."""
    return lambda words, node, *_: f"{words.name(node)} {what}"


SAY: dict[str, Callable[..., str]] = {
    "deliver": Words.deliver,
    "cut": Words.cut,
    "crash": Words.crash,
    "watch": Words.watch,
    "connect": Words.connect,
    "publish": Words.publish,
    "apply": lambda words, request: words.request("reaches the manager", request),
    "answer": lambda words, request: words.request("is answered", request),
    "read": lambda words, request: words.request("is answered", request),
    "give up": lambda words, request: words.request("waits in vain", request),
    "accept": lambda words, node, queue, id: f"accept {id} of q{queue} on {words.name(node)}",
    "move": lambda words, node, queue, id: f"move {id} of q{queue} on {words.name(node)}",
    "commit": about("commits"),
    "start": about("starts"),
    "late": about("waits longer than any time-out"),
    "promote": about("tries to be promoted"),
    "demote": about("hands over"),
}
