"""What a client is told when it asks for something that cannot be: an AMQP error condition, and why."""

from __future__ import annotations

NOT_FOUND = "amqp:not-found"
NOT_ALLOWED = "amqp:not-allowed"
INVALID = "amqp:invalid-field"
DECODE = "amqp:decode-error"
NOT_IMPLEMENTED = "amqp:not-implemented"
PRECONDITION = "amqp:precondition-failed"
EXCEEDED = "amqp:resource-limit-exceeded"
UNAUTHORIZED = "amqp:unauthorized-access"
DELETED = "amqp:resource-deleted"
LOCKED = "amqp:resource-locked"
INTERNAL = "amqp:internal-error"
ROLLBACK = "amqp:transaction:rollback"
UNKNOWN_TRANSACTION = "amqp:transaction:unknown-id"


class Refused(Exception):
    """A request of a client is refused. Nothing has changed."""

    def __init__(self, condition: str, description: str) -> None:
        super().__init__(description)
        self.condition = condition
        self.description = description
