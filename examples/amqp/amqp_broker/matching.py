"""Which bindings take a message: the rules of the four types of exchanges, without state.

direct    the subject is the key of the binding
topic     the words of the subject match those of the key: ``*`` is one word, ``#`` any number of them
fanout    every binding
headers   application properties are equal to the binding's arguments: all of them, or any (``x-match``)
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from amqp_broker.definitions import Binding

Matches = Callable[[Binding, str, Mapping[str, Any]], bool]


def topic_matches(key: Sequence[str], words: Sequence[str]) -> bool:
    """Whether the words of a key match those of a subject. O(words of the key × words of the subject)."""
    at = place = 0
    many, resumed = -1, 0
    while place < len(words):
        if at < len(key) and key[at] == "#":
            many, resumed = at, place
            at += 1
        elif at < len(key) and key[at] in ("*", words[place]):
            at, place = at + 1, place + 1
        elif many >= 0:  # The last "#" takes one word more; earlier ones need not change.
            resumed += 1
            at, place = many + 1, resumed
        else:
            return False
    return all(word == "#" for word in key[at:])


def topic(binding: Binding, subject: str, headers: Mapping[str, Any]) -> bool:
    """Whether a binding of a topic exchange takes this subject."""
    return topic_matches(binding.key.split("."), subject.split("."))


def headers(binding: Binding, subject: str, headers: Mapping[str, Any]) -> bool:
    """Whether a binding of a headers exchange takes these headers. None as an argument: with any value."""
    wanted = [(name, value) for name, value in binding.arguments.items() if not name.startswith("x-")]
    met = (name in headers and (value is None or headers[name] == value) for name, value in wanted)
    return any(met) if binding.arguments.get("x-match") == "any" else all(met)


MATCHES: dict[str, Matches] = {
    "direct": lambda binding, subject, headers: binding.key == subject,
    "topic": topic,
    "fanout": lambda binding, subject, headers: True,
    "headers": headers,
}


def route(type: str, bindings: Iterable[Binding], subject: str, values: Mapping[str, Any]) -> list[str]:
    """The queues that take a message, each once, in the order of the bindings."""
    matches = MATCHES[type]
    return list(dict.fromkeys(b.queue for b in bindings if matches(b, subject, values)))
