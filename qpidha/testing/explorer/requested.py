"""What clients ask a primary for: one function for each action, which returns False if it has no meaning in a state."""

from __future__ import annotations

from collections.abc import Callable

from qpidha.testing.explorer.clients import Promise
from qpidha.testing.explorer.scope import (
    ACCEPT,
    COMMIT,
    COMMITS,
    CONSUMED,
    DECLARE,
    DELETE,
    DELETING,
    FAN_OUT,
    FANNED,
    FORGET,
    FORGOTTEN,
    GIVE_UP,
    HAVE,
    KEEP,
    KEPT,
    MOVE,
    NAMES,
    OBJECT,
    PRODUCE,
    PRODUCED,
    PUBLISH,
    PUT,
    PUTS,
    REPEAT,
    UPDATE,
)  # fmt: skip
from qpidha.testing.explorer.transition import ACTIONS, Transition, message_at
from qpidha.types import QueueId


def declare(transition: Transition, node: int, queue: int) -> bool:
    """Declare a queue on a primary."""
    return transition.step(node, "declare", transition.tables.queues[queue], f"q{queue}")


def publish(transition: Transition, node: int) -> bool:
    """Publish the next message on a primary."""
    transition.budget[PUBLISH] -= 1
    message = transition.clients.next_message()
    return transition.step(node, "publish", queue_for(transition, node, message), f"v{message}")


def queue_for(transition: Transition, node: int, message: int) -> QueueId:
    """Return the queue that a message is published to: in turn, first those that were declared since."""
    queues, first = transition.tables.queues, transition.tables.scope.queues
    has = transition.view(node).has
    known = [*(queues[n] for n in range(first, len(queues)) if has >> n & 1), *queues[:first]]
    return known[message % len(known)]


def accept(transition: Transition, node: int, queue: int, id: int) -> bool:
    """Deliver and accept a message on a primary."""
    transition.budget[ACCEPT] -= 1
    return transition.step(node, "accept", transition.tables.queues[queue], id)


def move(transition: Transition, node: int, queue: int, id: int) -> bool:
    """Move a message on a primary to the next queue."""
    transition.budget[MOVE] -= 1
    target = transition.tables.queues[(queue + 1) % transition.tables.scope.queues]
    return transition.step(node, "move", transition.tables.queues[queue], id, target)


def transact(transition: Transition, node: int, source: int, id: int) -> bool:
    """Commit a publish on a primary, with the accept of a message if ``source`` is not -1."""
    transition.budget[COMMIT] -= 1
    message, taken, queue = transition.clients.next_message(), -1, None
    if source >= 0:
        queue = transition.tables.queues[source]
        taken = message_at(transition, (queue, id), transition.view(node))
    bits = 0 if taken < 0 else 1 << taken
    transition.promise = Promise(acked=1 << message, settled=bits, marks=1 << message)
    transition.clients.fields[COMMITS] = (*transition.clients.fields[COMMITS], (message, taken))
    return transition.step(node, "transact", queue_for(transition, node, message), message, queue, id)


def fan_out(transition: Transition, node: int) -> bool:
    """Publish the next message to the first two queues, on a primary."""
    transition.budget[FAN_OUT] -= 1
    message = transition.clients.next_message()
    transition.clients.fields[FANNED] |= 1 << message
    transition.promise = Promise(acked=1 << message)
    return transition.step(node, "fan_out", tuple(transition.tables.queues[:2]), message)


def update(transition: Transition, node: int, queue: int, id: int) -> bool:
    """Update a message on a primary."""
    transition.budget[UPDATE] -= 1
    return transition.step(node, "update", transition.tables.queues[queue], id)


def delete(transition: Transition, node: int, queue: int, target: int) -> bool:
    """Delete a queue on a primary; ``target`` -1: with what it holds."""
    transition.budget[DELETE] -= 1
    bit, fields, queues = 1 << queue, transition.clients.fields, transition.tables.queues
    lost = 0
    if target < 0:
        lost = sum(1 << message for of, _, message in transition.view(node).held if of == queue)
    fields[CONSUMED] |= lost
    fields[DELETING] |= bit
    fields[HAVE] &= ~bit
    transition.promise = Promise(settled=lost & ~fields[FANNED], gone=bit)
    return transition.step(node, "delete", queues[queue], None if target < 0 else queues[target])


def redeclare(transition: Transition, node: int) -> bool:
    """Declare a queue on a primary, of a name that is free."""
    transition.budget[DECLARE] -= 1
    names = [f"q{n}" for n in range(transition.tables.scope.queues + 1)]
    return transition.step(node, "redeclare", *names)


def put(transition: Transition, node: int) -> bool:
    """Put the object on a primary."""
    transition.budget[PUT] -= 1
    number = transition.clients.fields[PUTS]
    transition.clients.fields[PUTS], transition.clients.fields[OBJECT] = number + 1, -1
    transition.promise = Promise(object=number)
    return transition.step(node, "put", number)


def register(transition: Transition, node: int) -> bool:
    """Register the producer on a primary."""
    return transition.step(node, "register")


def produce(transition: Transition, node: int) -> bool:
    """Publish the next message of the producer on a primary."""
    transition.budget[PRODUCE] -= 1
    transition.clients.fields[PRODUCED] = (
        *transition.clients.fields[PRODUCED],
        transition.clients.next_message(),
    )
    return _produced(transition, node)


def repeat(transition: Transition, node: int) -> bool:
    """Publish the last message of the producer again, on a primary."""
    transition.budget[REPEAT] -= 1
    return _produced(transition, node)


def keep(transition: Transition, node: int) -> bool:
    """Put the object of one node alone, on a primary."""
    transition.budget[KEEP] -= 1
    return transition.step(node, "keep", len(transition.clients.fields[KEPT]))


def give_up(transition: Transition, node: int) -> bool:
    """Use the next sequence of the producer for nothing: the message that it was for is gone, whatever repeats it."""
    transition.budget[GIVE_UP] -= 1
    fields, message = transition.clients.fields, transition.clients.next_message()
    fields[PRODUCED], fields[CONSUMED] = (*fields[PRODUCED], message), fields[CONSUMED] | 1 << message
    transition.promise = Promise(settled=1 << message)
    return transition.step(node, "give_up", transition.tables.epoch, len(fields[PRODUCED]))


def forget(transition: Transition, node: int) -> bool:
    """Forget the producer, on a primary."""
    transition.budget[FORGET] -= 1
    transition.promise = Promise(forgotten=True)
    return transition.step(node, "forget")


def _produced(transition: Transition, node: int) -> bool:
    number, message = len(transition.clients.fields[PRODUCED]), transition.clients.fields[PRODUCED][-1]
    fields = transition.clients.fields
    late = bool(fields[FORGOTTEN]) and all(name[3] != message for name in fields[NAMES])
    transition.promise = Promise(acked=1 << message, late=late)
    queue = queue_for(transition, node, message)
    return transition.step(node, "produce", queue, message, transition.tables.epoch, number)


ALL_ACTIONS: dict[str, Callable[..., bool]] = ACTIONS | {
    one.__name__: one
    for one in (
        declare,
        publish,
        accept,
        move,
        transact,
        fan_out,
        update,
        delete,
        redeclare,
        put,
        register,
        produce,
        repeat,
        keep,
        give_up,
        forget,
    )
}
"""What carries out each kind of action."""
