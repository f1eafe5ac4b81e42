"""The second half of the demo: queues and objects that change while primaries are killed.

The model knows what every change does. A change that was not answered is sent again until it is: so at the end all
changes were made, each once, and the brokers must have what the model has, object by object.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import Any

Step = tuple[Any, ...]
Message = tuple[int, bytes]
"""(priority, text)."""

NAMES = tuple(f"queue {number}" for number in range(8))
OBJECTS = tuple(f"object {number}" for number in range(12))
QUEUES_MIN = 2
"""No more queues are deleted then, so that there are some to compare at the end."""
MESSAGES_MAX = 40
"""A queue with more messages is not published to."""
PRIORITIES = 10
PAUSE_S = 0.01
"""Between two changes: the stream is the main job."""


@dataclass(slots=True)
class Facts:
    """What became of the changes."""

    changes: int = 0
    """Changes that were confirmed."""
    steps: int = 0
    repeated: int = 0
    """Changes that were sent again after a failover."""
    queues: int = 0
    messages: int = 0
    objects: int = 0
    """What was there at the end, and was compared."""
    compared: bool = False
    differences: list[str] = field(default_factory=list)


class Topology:
    """Changes queues and objects, one change after the other, and compares what is there at the end."""

    def __init__(self, changer: Any, seed: int, *, updates: bool = True) -> None:
        """``updates``: the brokers know how to update a message; those of older releases do not."""
        self.changer = changer
        self.facts = Facts()
        self._model = Model(seed, updates=updates)

    async def change_until(self, done: Callable[[], bool]) -> None:
        """Make changes; the last one is confirmed when this returns."""
        while not done():
            steps = self._model.draw()
            await self.changer.change(steps)
            self.facts.changes += 1
            self.facts.steps += len(steps)
            self.facts.repeated = self.changer.repeated
            await asyncio.sleep(PAUSE_S)

    async def compare(self) -> None:
        """Compare the brokers with the model, object by object and message by message."""
        queues, objects = await self.changer.describe()
        facts = self.facts
        facts.queues, facts.objects = len(queues), len(objects)
        facts.messages = sum(len(messages) for _, messages in queues.values())
        facts.differences = differences(self._model, queues, objects)
        facts.compared = True


class Untouched:
    """The same for a broker whose clients change nothing besides the stream: nothing is compared."""

    facts: Facts | None = None

    def __init__(self) -> None:
        self.changer = contextlib.nullcontext()

    async def change_until(self, done: Callable[[], bool]) -> None:
        """Change nothing."""

    async def compare(self) -> None:
        """Compare nothing."""


class Model:
    """The queues and objects after the changes that were drawn so far."""

    def __init__(self, seed: int, *, updates: bool = True) -> None:
        self._updates = updates
        self.queues: dict[str, tuple[str, list[Message]]] = {}
        """By name: kind, and messages in the order of arrival."""
        self.objects: dict[str, bytes] = {}
        self._random = Random(f"{seed}/topology")
        self._texts = 0
        self._busy: set[str] = set()
        """Queues that an earlier step of the same change has named."""

    def draw(self) -> list[Step]:
        """The next change, whose steps are made here at once."""
        self._busy = set()
        kinds: list[Callable[[], Step | None]] = [
            self._declare,
            self._delete,
            self._publish,
            self._publish,
            self._publish,
            self._take,
            self._move,
            self._put,
            self._put,
            self._remove,
        ]
        kinds += [self._update] if self._updates else []
        steps = [self._random.choice(kinds)() for _ in range(self._random.randint(1, 5))]
        found = [step for step in steps if step is not None]
        return found or [self._put()]

    def delivered(self, name: str) -> list[Message]:
        """The messages of a queue in the order of delivery."""
        kind, messages = self.queues[name]
        return sorted(messages, key=lambda message: -message[0]) if kind == "priority" else messages

    # --- steps -----------------------------------------------------------------------------------

    def _declare(self) -> Step | None:
        free = [name for name in NAMES if name not in self.queues and name not in self._busy]
        if not free:
            return None
        name, kind = self._random.choice(free), self._random.choice(["fifo", "priority"])
        self.queues[name] = (kind, [])
        # Messages may follow in the same change; nothing else can be done with a queue that is not there yet.
        self._busy.add(name)
        return ("declare", name, kind)

    def _delete(self) -> Step | None:
        name, target = self._one(), self._one()
        if name is None or len(self.queues) <= QUEUES_MIN:
            return None
        target = None if target == name or self._random.random() < 0.5 else target
        _, messages = self.queues.pop(name)
        self._busy.add(name)
        if target is not None:
            self.queues[target][1].extend(messages)
            self._busy.add(target)
        return ("delete", name, target)

    def _publish(self) -> Step | None:
        some = [name for name, (_, messages) in self.queues.items() if len(messages) < MESSAGES_MAX]
        if not some:
            return None
        names = self._random.sample(some, self._random.randint(1, min(3, len(some))))
        self._texts += 1
        message = (self._random.randrange(PRIORITIES), b"message %d" % self._texts)
        for name in names:
            self.queues[name][1].append(message)
            self._busy.add(name)
        return ("publish", names, *message)

    def _take(self) -> Step | None:
        name = self._one(with_messages=True)
        if name is None:
            return None
        self.queues[name][1].remove(self.delivered(name)[0])
        self._busy.add(name)
        return ("take", name)

    def _update(self) -> Step | None:
        """Another priority for the message that would be delivered next: it keeps its place among its equals."""
        name = self._one(with_messages=True)
        if name is None:
            return None
        message, priority = self.delivered(name)[0], self._random.randrange(PRIORITIES)
        messages = self.queues[name][1]
        messages[messages.index(message)] = (priority, message[1])
        self._busy.add(name)
        return ("update", name, priority)

    def _move(self) -> Step | None:
        name, target = self._one(with_messages=True), self._one()
        if name is None or target is None or name == target:
            return None
        messages = self.queues[name][1]
        self.queues[target][1].extend(messages)
        messages.clear()
        self._busy |= {name, target}
        return ("move", name, target)

    def _put(self) -> Step:
        name = self._random.choice(OBJECTS)
        self._texts += 1
        self.objects[name] = b"value %d" % self._texts
        return ("put", name, self.objects[name])

    def _remove(self) -> Step | None:
        if not self.objects:
            return None
        name = self._random.choice(list(self.objects))
        del self.objects[name]
        return ("remove", name)

    def _one(self, *, with_messages: bool = False) -> str | None:
        """A queue that no earlier step of this change has named."""
        some = [n for n, (_, m) in self.queues.items() if n not in self._busy and (m or not with_messages)]
        return self._random.choice(some) if some else None


def differences(model: Model, queues: dict[str, Any], objects: list[Any]) -> list[str]:
    """What the brokers have and the model has not, or the reverse. Empty if both are the same."""
    found = list[str]()
    for name in sorted({*model.queues, *queues}):
        if name not in queues:
            found.append(f"{name!r} was declared, and is not there")
        elif name not in model.queues:
            found.append(f"{name!r} was deleted, and is there")
        else:
            kind, messages = queues[name]
            wanted, have = model.delivered(name), [tuple(message) for message in messages]
            if kind != model.queues[name][0]:
                found.append(f"{name!r} is of kind {kind!r}, not {model.queues[name][0]!r}")
            if have != wanted:
                found.append(f"{name!r} holds {have}, not {wanted}")
    expected = {("thing", name): value for name, value in model.objects.items()}
    expected |= {("binding", name): kind.encode() for name, (kind, _) in model.queues.items()}
    there = {(kind, name): value for kind, name, value in objects}
    for key in sorted({*expected, *there}):
        if expected.get(key) != there.get(key):
            found.append(f"object {key} is {there.get(key)!r}, not {expected.get(key)!r}")
    return found
