"""The methods of the configuration, from a thread."""

from __future__ import annotations

import pytest

from qpidha import ArgumentError, NotPrimary
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


def test_errors_come_back_to_the_thread() -> None:
    with nodes("a", "b") as (_, _, (a, b)):
        with pytest.raises(ArgumentError, match="reserved"):
            a.sync.configuration.put("queue", "q", b"")
        with pytest.raises(NotPrimary):
            b.sync.configuration.delete("user", "ada")
