"""Directories on network file systems are refused at the start, whatever their path looks like.

Method: a made-up description of the mounts of this process, in place of the kernel's.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from qpidha.errors import SettingsError, StoreUnsuitable
from qpidha.records import FileRecordStore
from qpidha.stores import SqliteStore
from qpidha.system import mounts

LINE = "{id} 22 0:61 / /mnt/with\\040space rw,relatime shared:7 master:2 - {type} server:/export rw,vers=4.2"
LOCAL = "22 1 8:1 / / rw,relatime - ext4 /dev/root rw"


class Kernel:
    """Says that every open file is on mount 41."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        (directory / "fdinfo").mkdir(parents=True)
        for fd in range(1024):
            (directory / "fdinfo" / str(fd)).write_text("pos:\t0\nflags:\t0200000\nmnt_id:\t41\nino:\t2\n")

    def mounted(self, kind: str) -> None:
        text = "\n".join([LOCAL, LINE.format(id=4, type="ext4"), LINE.format(id=41, type=kind), LOCAL])
        (self.directory / "mountinfo").write_text(text + "\n")


@pytest.fixture
def kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Kernel:
    kernel = Kernel(tmp_path / "proc")
    monkeypatch.setattr(mounts, "PROC", kernel.directory)
    return kernel


@pytest.mark.parametrize(
    "kind", ["nfs", "nfs4", "cifs", "smb3", "9p", "ceph", "fuse.sshfs", "fuse.glusterfs"]
)
def test_a_network_file_system_is_refused(kernel: Kernel, tmp_path: Path, kind: str) -> None:
    kernel.mounted(kind)
    said = rf"network file system \({kind}\): its locks may be lost.*a disk of this machine"
    store = SqliteStore(tmp_path / "store")
    with pytest.raises(StoreUnsuitable, match=said):
        store.open("a")
    assert not any((tmp_path / "store").iterdir())  # Nothing was written, not even a lock.
    with pytest.raises(SettingsError, match=said):
        FileRecordStore(tmp_path / "record")


@pytest.mark.parametrize(
    "kind", ["ext4", "xfs", "btrfs", "tmpfs", "overlay", "zfs", "fuse.gocryptfs", "nfsd"]
)
def test_a_local_file_system_is_accepted(kernel: Kernel, tmp_path: Path, kind: str) -> None:
    kernel.mounted(kind)
    assert mounts.file_system(tmp_path) == kind
    FileRecordStore(tmp_path / "record")
    store = SqliteStore(tmp_path / "store")
    store.open("a")
    store.close(clean=True)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda proc: (proc / "mountinfo").unlink(),
        lambda proc: (proc / "mountinfo").write_text(""),
        lambda proc: (proc / "mountinfo").write_text("41\n41 no separator\n"),
        lambda proc: [each.unlink() for each in (proc / "fdinfo").iterdir()],
        lambda proc: [each.write_text("pos:\t0\nmnt_id:\n") for each in (proc / "fdinfo").iterdir()],
        lambda proc: [each.write_text("pos:\t0\n") for each in (proc / "fdinfo").iterdir()],
    ],
)
def test_an_unknown_file_system_is_accepted(
    kernel: Kernel, tmp_path: Path, spoil: Callable[[Path], object]
) -> None:
    kernel.mounted("nfs4")
    spoil(kernel.directory)
    assert mounts.file_system(tmp_path) is None
    assert mounts.refusal(tmp_path) is None


def test_this_machine_knows_its_own_file_systems() -> None:
    """Only if the machine has a /proc."""
    if os.path.exists("/proc/self/mountinfo"):
        assert mounts.file_system(Path("/proc")) == "proc"
    assert mounts.file_system(Path("/nowhere/at/all")) is None
