"""What the parts of a replay of the state model share: its state, and what clients and the embedder were told."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from qpidha.core.ready import Completion, Safe, Settled
from qpidha.testing.sim.link import End
from qpidha.testing.sim.node import SimNode
from qpidha.testing.sim.world import World
from qpidha.types import Discarded, Fate, QueueId
from tests.model.manager import HeldManager
from tests.model.statefacts import Code, Identity, Model

Label = tuple[Any, ...]
State = tuple[Any, ...]


class Disagreement(AssertionError):
    """The core did something else than the model."""


class Ignored:
    """Answers every call with nothing."""

    def __getattr__(self, name: str) -> Any:
        return lambda *arguments, **named: None


class Told(Ignored):
    """In place of the simulator's checker and clients: what clients and the embedder were told, as facts of the model."""

    def __init__(self, code: Code) -> None:
        self._code = code
        self.commits = self.identities = self.local = Ignored()
        self.members: tuple[SimNode, ...] = ()
        self.waiting = 0
        self.facts: set[tuple[Any, ...]] = set()
        self.handed_over_by: dict[str, set[Identity]] = {}
        self.lost: set[Identity] = set()
        self._waiting: list[tuple[tuple[str, int], QueueId | None, int, tuple[Any, ...]]] = []

    def when(self, node: SimNode, queue: QueueId | None, upto: int, *facts: tuple[Any, ...]) -> None:
        """These are told when publishes of the queue up to this id, or else operations up to this position, complete."""
        primary = node.replica.primary
        if queue is None and primary is not None and upto <= primary.safe:
            self.facts.update(facts)  # A repetition of what is complete already.
            return
        self._waiting.append(((node.name, node.replica.generation), queue, upto, facts))

    def completed(self, node: SimNode, completion: Completion) -> None:
        by = (node.name, completion.generation)
        if isinstance(completion, (Safe, Settled)):
            queue = completion.queue if isinstance(completion, Safe) else None
            done = [w for w in self._waiting if w[:2] == (by, queue) and w[2] <= completion.upto]
            self._waiting = [w for w in self._waiting if w not in done]
            self.facts.update(fact for *_, facts in done for fact in facts)

    def handed_over(self, node: SimNode, messages: Iterable[Discarded]) -> None:
        for m in messages:
            identity = (self._code.name(m.queue), m.generation, m.id)
            self.handed_over_by.setdefault(node.name, set()).add(identity)
            if m.fate is Fate.REWOUND:
                o = m.origin
                self.lost.add((self._code.name(o.queue), o.generation, o.id) if o else identity)


class Parts:
    """What the parts of a replay share."""

    world: World
    names: list[str]
    state: State
    """Of the model, after the action that is played."""
    options: dict[str, Any]
    code: Code
    model: Model
    told: Told
    manager: HeldManager
    first_version: int
    links: dict[tuple[int, int], End]
    """(primary, backup): the primary's end of the newest link."""
    commits: set[Label]
    """Facts that clients learn with a commit."""

    def _node(self, n: int) -> SimNode:
        return self.world.nodes[self.names[n]]

    def _differs(self, what: str) -> Disagreement:
        raise NotImplementedError

    def _settle(self) -> None:
        raise NotImplementedError
