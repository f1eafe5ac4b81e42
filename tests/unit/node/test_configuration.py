"""Objects of the configuration: changed on the primary, read and watched everywhere."""

from __future__ import annotations

from collections.abc import Callable
from threading import Thread

import pytest

from qpidha import Batch, Level, Settings
from qpidha.core.configuration import QUEUE
from qpidha.errors import ArgumentError, NotPrimary, ObjectMismatch, WrongThread
from qpidha.node.configuration import Configuration, checked_key
from tests.support.content_parts import Room
from tests.support.node_parts import run


def test_a_watcher_of_objects_that_raises_is_told_of_the_other_objects() -> None:
    async def main() -> None:
        room, told = Room().lead(), list[str]()

        def raises(kind: str, name: str, value: bytes | None) -> None:
            told.append(name)
            raise RuntimeError(value)

        room.configuration.on_change(raises)
        for name in "ab":
            room.configuration.put("kind", name, b"")
        room.turn()
        assert told == ["a", "b"]

    run(main())


def test_an_object_is_put_replaced_read_and_deleted() -> None:
    async def main() -> None:
        room = Room().lead()
        objects = room.configuration
        op = objects.put("exchange", "x", bytearray(b"1"))
        objects.put("user", "u", b"2")
        objects.put("exchange", "x", b"3")
        room.turn()
        assert op.safe
        assert objects.get("exchange", "x") == b"3"
        assert objects.get("user", "x") is None
        assert objects.objects() == [("user", "u", b"2"), ("exchange", "x", b"3")]
        assert objects.objects("user") == [("user", "u", b"2")]
        gone, absent = objects.delete("user", "u"), objects.delete("user", "u")
        room.turn()
        assert gone.safe and absent.safe
        assert objects.objects("user") == []

    run(main())


LEVELS = Settings(
    replicate={"exchange/temp.*": "none", "*/all.*": "configuration", "temp.*": "none", "link/*": "none"}
)


def test_an_object_has_the_level_of_its_put_or_of_the_first_pattern_with_a_slash() -> None:
    async def main() -> None:
        room = Room(LEVELS).lead()
        objects = room.configuration
        for kind, name in (("exchange", "temp.x"), ("link", "temp.x"), ("user", "temp.x"), ("link", "all.x")):
            objects.put(kind, name, name.encode())
        objects.put("exchange", "temp.y", b"", replicate=Level.CONFIGURATION)
        objects.put("user", "u", b"", replicate=Level.NONE)
        room.turn()
        found = {(kind, name): objects.level(kind, name) for kind, name, _ in objects.objects()}
        assert found == {
            ("user", "temp.x"): Level.MESSAGES,
            ("link", "all.x"): Level.MESSAGES,
            ("exchange", "temp.y"): Level.MESSAGES,
            ("exchange", "temp.x"): Level.NONE,
            ("link", "temp.x"): Level.NONE,
            ("user", "u"): Level.NONE,
        }
        assert objects.objects("user", replicate=Level.NONE) == [("user", "u", b"")]
        assert (
            objects.get("user", "u", replicate=Level.MESSAGES) is None and objects.level("user", "?") is None
        )
        with pytest.raises(ObjectMismatch, match="level NONE"):
            objects.put("user", "u", b"", replicate=Level.MESSAGES)
        for call in (objects.put("user", "u", b"2"), objects.delete("user", "u")):
            room.turn()
            assert call.safe
        assert objects.get("user", "u") is None

    run(main())


def test_watchers_are_told_of_objects_of_both_levels_once_and_as_they_are_seen() -> None:
    async def main() -> None:
        room = Room(LEVELS).lead()
        objects, seen = room.configuration, list[tuple[str, str, bytes | None]]()
        objects.on_change(lambda *told: seen.append(told))

        def told() -> list[tuple[str, str, bytes | None]]:
            room.turn()
            now = list(seen)
            seen.clear()
            return now

        objects.put("exchange", "temp.x", b"1")
        objects.put("exchange", "x", b"2")
        assert sorted(told(), key=str) == [("exchange", "temp.x", b"1"), ("exchange", "x", b"2")]
        with room.transaction() as t:
            t.delete_object("exchange", "temp.x")
            t.put_object("exchange", "temp.x", b"3", replicate=Level.MESSAGES)
            t.put_object("link", "l", b"4")
        assert sorted(told(), key=str) == [("exchange", "temp.x", b"3"), ("link", "l", b"4")]
        own, cluster = room.commits.objects.own, room.commits.configuration
        assert own is not None and cluster is not None
        cluster.append(
            Batch.pack([b"theirs"], props=[checked_key("link", "l")])
        )  # As another primary has put it.
        room.watches.changed(cluster)
        assert told() == [("link", "l", b"theirs")]
        objects.delete("link", "l", replicate=Level.NONE)
        assert told() == [], "it was hidden"
        objects.delete("link", "l")
        assert told() == [("link", "l", None)]

    run(main())


def test_what_the_cluster_deletes_shows_what_this_node_has() -> None:
    async def main() -> None:
        room = Room().lead()
        objects, seen = room.configuration, list[tuple[str, str, bytes | None]]()
        objects.put("link", "l", b"own", replicate=Level.NONE)
        room.turn()
        cluster = room.commits.configuration
        assert cluster is not None
        cluster.append(Batch.pack([b"theirs"], props=[checked_key("link", "l")]))
        assert objects.objects() == [("link", "l", b"theirs")]
        objects.on_change(lambda *told: seen.append(told))
        objects.delete("link", "l")
        room.turn()
        assert seen == [("link", "l", b"own")] and objects.get("link", "l") == b"own"

    run(main())


def test_a_bad_level_is_refused_by_name() -> None:
    async def main() -> None:
        objects = Room().lead().configuration
        for call in (
            lambda: objects.put("k", "n", b"", replicate="none"),  # type: ignore[arg-type]
            lambda: objects.delete("k", "n", replicate=0),  # type: ignore[arg-type]
            lambda: objects.get("k", "n", replicate="none"),  # type: ignore[arg-type]
            lambda: objects.objects(replicate="none"),  # type: ignore[arg-type]
        ):
            with pytest.raises(ArgumentError, match=r"replicate must be Level\.NONE"):
                call()

    run(main())


def test_queues_are_no_objects_of_the_embedder() -> None:
    async def main() -> None:
        room = Room().lead()
        seen: list[object] = []
        room.configuration.on_change(lambda *told: seen.append(told))
        room.declare("q")
        room.configuration.put("k", "n", b"v")
        room.turn()
        assert seen == [("k", "n", b"v")]
        assert room.configuration.objects() == [("k", "n", b"v")]
        assert room.configuration.objects(QUEUE) == []

    run(main())


@pytest.mark.parametrize("kind", [QUEUE, "$mine"])
def test_a_reserved_kind_is_refused(kind: str) -> None:
    with pytest.raises(ArgumentError, match=r"is reserved: node\.declare and node\.delete change"):
        checked_key(kind, "n")


def test_kind_and_name_are_text_that_can_be_encoded() -> None:
    with pytest.raises(ArgumentError, match="kind must be text"):
        checked_key(1, "n")  # type: ignore[arg-type]
    with pytest.raises(ArgumentError, match="name must be text"):
        checked_key("k", b"n")  # type: ignore[arg-type]
    with pytest.raises(ArgumentError, match="UTF-8 can encode"):
        checked_key("k", "\ud800")


def test_a_watcher_is_told_once_a_turn_what_an_object_is_then() -> None:
    async def main() -> None:
        room = Room().lead()
        seen: list[object] = []
        room.configuration.on_change(lambda *told: seen.append(told))
        room.configuration.put("k", "n", b"1")
        room.configuration.put("k", "n", b"2")
        assert seen == []
        room.turn()
        assert seen == [("k", "n", b"2")]
        room.configuration.delete("k", "n")
        room.turn()
        assert seen[1:] == [("k", "n", None)]

    run(main())


def test_before_a_node_knows_its_cluster_there_are_no_objects_and_it_changes_none() -> None:
    async def main() -> None:
        objects = Room().configuration
        assert objects.get("k", "n") is None
        assert objects.objects() == []
        for change in (lambda: objects.put("k", "n", b""), lambda: objects.delete("k", "n")):
            with pytest.raises(NotPrimary):
                change()

    run(main())


def test_bad_arguments_are_refused_by_name() -> None:
    async def main() -> None:
        objects = Room().lead().configuration
        with pytest.raises(ArgumentError, match="value must be bytes"):
            objects.put("k", "n", "text")  # type: ignore[arg-type]
        with pytest.raises(ArgumentError, match="kind must be text"):
            objects.objects(5)  # type: ignore[arg-type]
        with pytest.raises(ArgumentError, match="callback must be"):
            objects.on_change(None)  # type: ignore[arg-type]
        assert objects.objects() == []

    run(main())


@pytest.mark.parametrize(
    "call",
    [
        lambda c: c.put("k", "n", b""),
        lambda c: c.delete("k", "n"),
        lambda c: c.get("k", "n"),
        lambda c: c.level("k", "n"),
        lambda c: c.objects(),
        lambda c: c.on_change(print),
    ],
)
def test_another_thread_is_refused(call: Callable[[Configuration], object]) -> None:
    async def main() -> None:
        objects = Room().lead().configuration
        caught: list[BaseException] = []

        def elsewhere() -> None:
            try:
                call(objects)
            except WrongThread as error:
                caught.append(error)

        thread = Thread(target=elsewhere)
        thread.start()
        thread.join()
        assert len(caught) == 1

    run(main())
