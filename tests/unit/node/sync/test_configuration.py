"""The methods of the configuration, from a thread."""

from __future__ import annotations

import pytest

from qpidha import ArgumentError, Level, NotPrimary, ObjectMismatch
from tests.support.threads import nodes


def test_put_get_list_and_delete() -> None:
    with nodes("a", "b") as (_, _, (a, b)):
        objects = a.sync.configuration
        objects.put("user", "ada", b"admin")
        objects.put("link", "east", b"amqp").safe()
        assert b.sync.configuration.get("user", "ada") == b"admin"
        assert objects.objects() == [("user", "ada", b"admin"), ("link", "east", b"amqp")]
        assert objects.objects("link") == [("link", "east", b"amqp")]
        objects.delete("user", "ada").safe()
        assert b.sync.configuration.get("user", "ada") is None


def test_an_object_of_one_node_from_a_thread() -> None:
    with nodes("a", "b") as (_, _, (a, b)):
        objects = a.sync.configuration
        objects.put("link", "here", b"1", replicate=Level.NONE).safe()
        with a.sync.transaction() as t:
            t.put_object("link", "east", b"2")
            t.put_object("link", "there", b"3", replicate=Level.NONE)
            t.delete_object("link", "here", replicate=Level.NONE)
        t.op.safe()
        assert objects.objects(replicate=Level.NONE) == [("link", "there", b"3")]
        assert objects.level("link", "there") is Level.NONE and objects.level("link", "here") is None
        assert objects.get("link", "east", replicate=Level.MESSAGES) == b"2"
        assert b.sync.configuration.objects() == [("link", "east", b"2")]
        objects.delete("link", "there", replicate=Level.NONE).safe()
        with pytest.raises(ObjectMismatch):
            objects.put("link", "east", b"", replicate=Level.NONE)


def test_errors_come_back_to_the_thread() -> None:
    with nodes("a", "b") as (_, _, (a, b)):
        with pytest.raises(ArgumentError, match="reserved"):
            a.sync.configuration.put("queue", "q", b"")
        with pytest.raises(NotPrimary):
            b.sync.configuration.delete("user", "ada")
