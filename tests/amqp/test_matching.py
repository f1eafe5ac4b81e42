"""Which bindings take a message, without a network: topics compared with a plain matcher, headers by example."""

from __future__ import annotations

import pytest
from amqp_broker.definitions import Binding, ExchangeDefinition, QueueDefinition
from amqp_broker.matching import headers, route, topic_matches
from amqp_broker.refusals import Refused
from hypothesis import given
from hypothesis import strategies as st

from qpidha import Level


def plainly(key: list[str], words: list[str]) -> bool:
    """The rule as the specification of topics says it."""
    if not key:
        return not words
    if key[0] == "#":
        return plainly(key[1:], words) or (bool(words) and plainly(key, words[1:]))
    return bool(words) and key[0] in ("*", words[0]) and plainly(key[1:], words[1:])


@given(
    st.lists(st.sampled_from(["a", "b", "*", "#"]), max_size=6),
    st.lists(st.sampled_from(["a", "b"]), max_size=6),
)
def test_a_topic_key_matches_as_the_rule_says(key: list[str], words: list[str]) -> None:
    assert topic_matches(key, words) == plainly(key, words)


def test_a_key_of_many_wildcards_costs_no_more_than_its_words() -> None:
    assert not topic_matches(["#", "a"] * 200, ["a"] * 3000 + ["b"])


@pytest.mark.parametrize(
    ("arguments", "values", "matches"),
    [
        ({"x-match": "all", "a": 1, "b": "x"}, {"a": 1, "b": "x", "c": 2}, True),
        ({"x-match": "all", "a": 1, "b": "x"}, {"a": 1}, False),
        ({"x-match": "any", "a": 1, "b": "x"}, {"a": 1}, True),
        ({"x-match": "any", "a": 1}, {"a": 2}, False),
        ({"a": None}, {"a": "anything"}, True),
        ({"a": None}, {}, False),
        ({}, {}, True),
    ],
)
def test_headers(arguments: dict[str, object], values: dict[str, object], matches: bool) -> None:
    assert headers(Binding("e", "q", "", arguments), "", values) is matches


def test_a_queue_with_two_bindings_that_match_takes_a_message_once() -> None:
    bindings = [Binding("e", "q", "a.*"), Binding("e", "p", "#"), Binding("e", "q", "a.b")]
    assert route("topic", bindings, "a.b", {}) == ["q", "p"]
    assert route("direct", bindings, "a.b", {}) == ["q"]
    assert route("fanout", bindings, "", {}) == ["q", "p"]


def test_definitions_come_back_from_the_configuration() -> None:
    binding = Binding("e", "q", "k", {"x-match": "all", "n": 1})
    assert Binding.decode(binding.name, binding.encode()) == binding
    exchange = ExchangeDefinition("topic", "other")
    assert ExchangeDefinition.decode(exchange.encode()) == exchange
    queue = QueueDefinition.of({"qpid.max_count": 5, "qpid.policy_type": "ring", "exclusive": True})
    assert (queue.kind, queue.temporary, queue.arguments.messages_max) == ("ring", True, 5)
    assert QueueDefinition.decode(queue.encode()) == QueueDefinition(
        queue.kind, queue.arguments, Level.NONE, True
    )


@pytest.mark.parametrize(
    "properties",
    [
        {"kind": "heap"},
        {"qpid.max_count": -1},
        {"qpid.max_count": "many"},
        {"qpid.replicate": "some"},
        {"qpid.policy_type": "flow-to-disk"},
        {"what": 1},
    ],
)
def test_a_definition_that_cannot_be_is_refused(properties: dict[str, object]) -> None:
    with pytest.raises(Refused):
        QueueDefinition.of(properties)
