"""Which values of a client the broker can tell to others: it refuses the rest before it keeps anything of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from proton import Array, Described

from amqp_broker.codec import DEPTH_MAX
from amqp_broker.refusals import INVALID, Refused

LONG_MIN, LONG_MAX = -(2**63), 2**63 - 1
"""Numbers are told as AMQP's type long."""


def check_text(*values: object) -> None:
    """Raise `Refused` if there is text in these values, at any depth, that UTF-8 cannot encode.

    AMQP's type char can be half of a surrogate pair. An answer with one cannot be written: who asks would be cut off.
    """
    for each in _within(values):
        if isinstance(each, str):
            try:
                each.encode()
            except UnicodeEncodeError as error:
                raise Refused(INVALID, f"{each[:40]!a} has half of a surrogate pair") from error


def check_numbers(*values: object) -> None:
    """Raise `Refused` if there is a number in these values, at any depth, that an answer could not have."""
    for each in _within(values):
        if isinstance(each, int) and not LONG_MIN <= each <= LONG_MAX:
            raise Refused(INVALID, f"numbers are from {LONG_MIN} to {LONG_MAX}, not {each}")


def _within(values: tuple[object, ...]) -> list[object]:
    """These values, and all that are in them. Raises `Refused` if they are so deep that an answer may not hold them."""
    found: list[object] = []
    level = list(values)
    for _ in range(DEPTH_MAX):
        found += level
        level = [inner for each in level for inner in _parts(each)]
        if not level:
            return found
    raise Refused(INVALID, f"values in values, more than {DEPTH_MAX} deep")


def _parts(value: object) -> Iterable[object]:
    if isinstance(value, Mapping):
        return (*value.keys(), *value.values())
    if isinstance(value, (list, tuple)):
        return value
    if isinstance(value, Described):
        return value.descriptor, value.value
    return (value.descriptor, *value.elements) if isinstance(value, Array) else ()
