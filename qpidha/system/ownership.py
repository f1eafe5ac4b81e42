"""Creates files and directories that the service's own user can use, also when root does it.

An operator repairs a cluster as root, or starts a node as root by mistake. Files of root would keep the service from
starting afterwards. So root gives the files it creates to the owner and group of the directory, as SQLite does with its
log, and a file that replaces another keeps owner, group and mode. For other users nothing changes.

Only files that were created here change their owner: a directory may contain a link to another user's file.
"""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from pathlib import Path

FLAGS = os.O_CLOEXEC | os.O_NOFOLLOW
FILE_MODE = 0o600
DIRECTORY_MODE = 0o700
MODE_KEPT = 0o644
"""Bits of a file's mode that its replacement may keep. Others may never write."""


def open_or_create(path: Path, flags: int) -> int:
    """A descriptor of a file, which is created (0600) if it is not there.

    Raises:
        OSError: As for ``os.open``.
    """
    while True:
        try:
            return os.open(path, flags | FLAGS)
        except FileNotFoundError:
            with suppress(FileExistsError):  # Somebody else was faster: open theirs.
                return create(path, flags)


def create(path: Path, flags: int) -> int:
    """A descriptor of a new file (0600).

    Raises:
        FileExistsError: There is one.
        OSError: As for ``os.open``.
    """
    fd = os.open(path, flags | FLAGS | os.O_CREAT | os.O_EXCL, FILE_MODE)
    try:
        if os.geteuid() == 0:
            around = os.stat(path.parent)
            os.fchown(fd, around.st_uid, around.st_gid)
    except BaseException:
        os.close(fd)
        raise
    return fd


def create_like(path: Path, model: Path, flags: int) -> int:
    """A descriptor of a new file that will replace ``model``: with its owner, group and mode, as far as this may be.

    A file that is left from an earlier attempt is removed. If ``model`` belongs to root in another user's directory, that
    was a mistake, and the new file belongs to the owner of the directory.
    """
    path.unlink(missing_ok=True)
    fd = create(path, flags)
    try:
        with suppress(FileNotFoundError):
            old = os.lstat(model)
            if stat.S_ISREG(old.st_mode):
                _take_after(fd, old)
    except BaseException:
        os.close(fd)
        raise
    return fd


def _take_after(fd: int, old: os.stat_result) -> None:
    if os.geteuid() == 0:
        if old.st_uid != 0:
            os.fchown(fd, old.st_uid, old.st_gid)
    elif old.st_gid != os.fstat(fd).st_gid:
        with suppress(PermissionError):  # A group that this user does not belong to.
            os.fchown(fd, -1, old.st_gid)
    if (mode := FILE_MODE | stat.S_IMODE(old.st_mode) & MODE_KEPT) != FILE_MODE:
        os.fchmod(fd, mode)


def make_directories(path: Path) -> list[Path]:
    """Create a directory (0700) and what is missing above it; returns those that were created, the topmost first."""
    created = []
    for missing in reversed([p for p in (path, *path.parents) if not p.is_dir()]):
        with suppress(FileExistsError):
            missing.mkdir(mode=DIRECTORY_MODE)
            created.append(missing)
            if os.geteuid() == 0:
                around = os.stat(missing.parent)
                os.chown(missing, around.st_uid, around.st_gid, follow_symlinks=False)
    if not path.is_dir():
        raise NotADirectoryError(20, os.strerror(20), str(path))
    return created
