"""Which values of a client the broker can tell to others: it refuses the rest before it keeps anything of them."""

from __future__ import annotations

from collections.abc import Mapping

from proton import Array, Described

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
    """These values, and all that are in them."""
    found: list[object] = list(values)
    for each in found:  # It grows meanwhile.
        if isinstance(each, Mapping):
            found += [*each.keys(), *each.values()]
        elif isinstance(each, (list, tuple)):
            found += each
        elif isinstance(each, Described):
            found += [each.descriptor, each.value]
        elif isinstance(each, Array):
            found += [each.descriptor, *each.elements]
    return found
