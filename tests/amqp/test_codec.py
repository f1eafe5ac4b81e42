"""Types and sections: what Proton encodes is read, what the broker writes is read by Proton, anything else is refused."""

from __future__ import annotations

from contextlib import suppress

import pytest
from amqp_broker.codec import DecodeError, decode
from amqp_broker.sections import read, with_delivery_count
from hypothesis import given
from hypothesis import strategies as st
from proton import Data, Message, symbol, timestamp, ulong

VALUES = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-(2**63), 2**63 - 1),
        st.floats(allow_nan=False),
        st.text(max_size=300),
        st.binary(max_size=300),
        st.from_regex(r"[a-z]{1,10}", fullmatch=True).map(symbol),
        st.integers(0, 2**32).map(timestamp),
        st.integers(0, 2**64 - 1).map(ulong),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=5), inner, max_size=4)
    ),
    max_leaves=12,
)


@given(VALUES)
def test_what_proton_encodes_is_read(value: object) -> None:
    data = Data()
    data.put_object(value)
    encoded = data.encode()
    assert decode(encoded) == (value, len(encoded))


@given(st.binary(max_size=60))
def test_other_bytes_are_refused(data: bytes) -> None:
    for parse in (decode, read):
        with suppress(DecodeError):
            parse(data)


@given(st.integers(0, 300), st.binary(max_size=20))
def test_a_message_that_ends_too_early_is_refused_or_has_no_body(cut: int, body: bytes) -> None:
    data = Message(body=body, subject="news", properties={"a": 1}, priority=7, ttl=5).encode()
    with suppress(DecodeError):
        read(data[:cut])


def test_the_sections_of_a_message() -> None:
    message = Message(
        body="text",
        subject="a.b",
        address="to",
        priority=7,
        ttl=1.5,
        durable=True,
        group_id="g",
        delivery_count=2,
    )
    message.properties = {"colour": "red"}
    message.annotations = {symbol("x-opt-publisher"): "p", symbol("x-opt-number"): 3}
    found = read(message.encode())
    assert (found.subject, found.to, found.priority, found.ttl_ms) == ("a.b", "to", 7, 1500)
    assert (found.group, found.delivery_count, found.number) == (b"g", 2, ("p", 3))
    assert found.application == {"colour": "red"}
    assert read(Message(body=1).encode()).number is None


def test_a_publisher_without_a_number_is_refused() -> None:
    message = Message(body=1, annotations={symbol("x-opt-publisher"): "p"})
    with pytest.raises(DecodeError):
        _ = read(message.encode()).number


@given(st.booleans(), st.integers(0, 9), st.integers(1, 1000))
def test_a_failed_delivery_changes_the_header_only(durable: bool, priority: int, count: int) -> None:
    message = Message(body=["a", 1], durable=durable, priority=priority, ttl=2, subject="s")
    changed = Message()
    changed.decode(with_delivery_count(message.encode(), count))
    assert (changed.delivery_count, changed.body, changed.subject) == (count, ["a", 1], "s")
    assert (changed.durable, changed.priority, changed.ttl) == (durable, priority, 2)
