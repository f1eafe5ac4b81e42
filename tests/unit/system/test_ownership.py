"""A file created by root belongs to the directory's owner; a replacement keeps owner and mode; no other owner changes.

Method: only root may change owners, so the tests record the system calls instead. They check the same for every user.
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from qpidha.system.ownership import create, create_like, make_directories, open_or_create

SERVICE = (23456, 34567)
"""User and group of the service; they need not exist."""
OTHER = (23457, 34568)


@dataclass
class Owners:
    """The owner of each file as root would see it."""

    given: dict[int, tuple[int, int]] = field(default_factory=dict)
    """By inode."""

    def chown(self, place: Any, uid: int, gid: int, **_: Any) -> None:
        facts = REAL_FSTAT(place) if isinstance(place, int) else REAL_LSTAT(place)
        self.given[facts.st_ino] = (uid, gid)

    def seen(self, facts: os.stat_result) -> os.stat_result:
        uid, gid = self.given.get(facts.st_ino, (0, 0))
        values = list(facts)
        values[stat.ST_UID], values[stat.ST_GID] = uid, gid
        return os.stat_result(values)

    def of(self, path: Path) -> tuple[int, int]:
        facts = self.seen(REAL_LSTAT(path))
        return facts.st_uid, facts.st_gid


REAL_FSTAT, REAL_LSTAT, REAL_STAT = os.fstat, os.lstat, os.stat


@pytest.fixture
def root(monkeypatch: pytest.MonkeyPatch) -> Owners:
    owners = Owners()
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(os, "fchown", owners.chown)
    monkeypatch.setattr(os, "chown", owners.chown)
    monkeypatch.setattr(os, "fstat", lambda fd: owners.seen(REAL_FSTAT(fd)))
    monkeypatch.setattr(os, "lstat", lambda path: owners.seen(REAL_LSTAT(path)))
    monkeypatch.setattr(os, "stat", lambda path, **options: owners.seen(REAL_STAT(path, **options)))
    return owners


@pytest.fixture
def service(root: Owners, tmp_path: Path) -> Path:
    """A directory that belongs to the service."""
    directory = tmp_path / "service"
    directory.mkdir()
    os.chown(directory, *SERVICE)
    return directory


def put(fd: int, data: bytes = b"x") -> None:
    with open(fd, "wb") as file:
        file.write(data)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


def test_files_created_by_root_belong_to_the_owner_of_the_directory(root: Owners, service: Path) -> None:
    put(create(service / "one", os.O_WRONLY))
    put(open_or_create(service / "two", os.O_RDWR))
    put(create_like(service / "three.tmp", service / "three", os.O_WRONLY))
    made = make_directories(service / "a" / "b")
    assert made == [service / "a", service / "a" / "b"]
    for name in ("one", "two", "three.tmp", "a", "a/b"):
        assert root.of(service / name) == SERVICE, name
    assert [mode(service / name) for name in ("one", "two", "three.tmp", "a")] == [0o600, 0o600, 0o600, 0o700]


def test_the_owner_of_an_existing_file_is_not_changed(root: Owners, service: Path) -> None:
    """The owner of the directory may have put a hard link to one of root's files there."""
    (service / "lock").write_text("root's")
    put(open_or_create(service / "lock", os.O_WRONLY), b"X")
    assert root.of(service / "lock") == (0, 0)
    assert make_directories(service) == []
    with pytest.raises(FileExistsError):
        create(service / "lock", os.O_WRONLY)


def test_links_are_not_followed(root: Owners, service: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("root's")
    for name, target in (("to a file", tmp_path / "secret"), ("to nothing", tmp_path / "nothing")):
        (service / name).symlink_to(target)
        with pytest.raises(OSError, match="symbolic links"):
            open_or_create(service / name, os.O_WRONLY)
        with pytest.raises(FileExistsError):
            create(service / name, os.O_WRONLY)
        put(create_like(service / name, service / "model", os.O_WRONLY))  # A link is removed, not followed.
        assert not (service / name).is_symlink()
    assert (tmp_path / "secret").read_text() == "root's"
    assert not (tmp_path / "nothing").exists()


def test_a_replacement_keeps_the_owner_and_mode_of_the_file(root: Owners, service: Path) -> None:
    model = service / "record.json"
    model.write_text("old")
    os.chown(model, *OTHER)
    model.chmod(0o640)
    put(create_like(service / "tmp", model, os.O_WRONLY))
    assert root.of(service / "tmp") == OTHER
    assert mode(service / "tmp") == 0o640


@pytest.mark.parametrize(
    ("before", "after"), [(0o666, 0o644), (0o777, 0o644), (0o400, 0o600), (0o4755, 0o644), (0o600, 0o600)]
)
def test_a_replacement_is_writable_by_its_owner_only(
    root: Owners, service: Path, before: int, after: int
) -> None:
    model = service / "record.json"
    model.write_text("old")
    model.chmod(before)
    put(create_like(service / "tmp", model, os.O_WRONLY))
    assert mode(service / "tmp") == after


def test_a_replacement_of_a_file_of_root_belongs_to_the_service(root: Owners, service: Path) -> None:
    """An older file in the service's directory belongs to root: its replacement belongs to the service."""
    model = service / "record.json"
    model.write_text("old")
    put(create_like(service / "tmp", model, os.O_WRONLY))
    assert root.of(service / "tmp") == SERVICE


def test_a_model_that_is_not_a_file_is_ignored(root: Owners, service: Path) -> None:
    (service / "model").mkdir(mode=0o755)
    put(create_like(service / "tmp", service / "model", os.O_WRONLY))
    assert (root.of(service / "tmp"), mode(service / "tmp")) == (SERVICE, 0o600)


def test_the_file_of_an_earlier_attempt_is_replaced(service: Path) -> None:
    (service / "tmp").write_text("a longer rest")
    put(create_like(service / "tmp", service / "model", os.O_WRONLY))
    assert (service / "tmp").read_text() == "x"


def test_a_user_other_than_root_tries_to_keep_the_group(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    asked: list[tuple[int, int]] = []

    def refuse(fd: int, uid: int, gid: int) -> None:
        asked.append((uid, gid))
        raise PermissionError

    (tmp_path / "model").write_text("old")
    group = (tmp_path / "model").stat().st_gid + 1
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr(os, "fchown", refuse)
    put(create_like(tmp_path / "tmp", tmp_path / "model", os.O_WRONLY))
    assert asked == [], "the group is the same"

    def moved(path: Path) -> os.stat_result:
        values = list(REAL_LSTAT(path))
        values[stat.ST_GID] = group
        return os.stat_result(values)

    monkeypatch.setattr(os, "lstat", moved)
    put(create_like(tmp_path / "tmp", tmp_path / "model", os.O_WRONLY))
    assert asked == [(-1, group)]


def test_no_descriptor_is_left_open_by_a_failure(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def refuse(fd: int, uid: int, gid: int) -> None:
        raise OSError(5, "the disk failed")

    (tmp_path / "model").write_text("old")
    before = len(os.listdir("/proc/self/fd"))
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(os, "fchown", refuse)
    for _ in range(3):
        with pytest.raises(OSError, match="the disk failed"):
            create_like(tmp_path / "tmp", tmp_path / "model", os.O_WRONLY)
    assert len(os.listdir("/proc/self/fd")) == before


def test_opening_is_repeated_for_a_file_that_appears_and_disappears(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Another process creates and removes the file between two attempts."""
    real, told = os.open, []

    def unlucky(path: Any, flags: int, *rest: Any) -> int:
        told.append(bool(flags & os.O_CREAT))
        if len(told) == 2:
            raise FileExistsError
        return real(path, flags, *rest)

    monkeypatch.setattr(os, "open", unlucky)
    put(open_or_create(tmp_path / "lock", os.O_WRONLY))
    assert told == [False, True, False, True]


def test_a_file_in_place_of_a_directory(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(OSError, match="Not a directory"):
            make_directories(path)
