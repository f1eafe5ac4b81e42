"""Files that hold a secret: who may read them, and whether they have changed."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from qpidha.errors import SettingsError

KEY_MODE_FORBIDDEN = stat.S_IRWXO | stat.S_IWGRP | stat.S_IXGRP
"""What others may do with a secret file, and what its group may do besides reading it: nothing."""


def require_private_file(key: str | Path) -> None:
    """Raise `SettingsError` if others than its owner may read it, but for the group to which this process belongs too.

    A group is how a key of root's is given to a service that must not change it: Debian's ``ssl-cert``, or the
    group of a Kubernetes volume. Links are followed: what counts is the file.
    """
    try:
        facts = os.stat(key)
    except OSError as error:
        raise SettingsError(f"cannot read the key file {key}: {error.strerror}") from error
    mode, ours = stat.S_IMODE(facts.st_mode), {os.getegid(), *os.getgroups()}
    if facts.st_uid not in (0, os.geteuid()):
        raise SettingsError(
            f"key file {key} belongs to user {facts.st_uid}, who could replace it: "
            f"chown it to root or to user {os.geteuid()}, who runs this process"
        )
    if mode & KEY_MODE_FORBIDDEN:
        raise SettingsError(
            f"key file {key} has mode {mode:04o}: it must not be readable by others, nor writable by its group; "
            "set 0600, or 0640 if it belongs to root and is read through a group"
        )
    if mode & stat.S_IRGRP and facts.st_gid not in ours:
        raise SettingsError(
            f"key file {key} is readable by group {facts.st_gid}, to which this process does not belong: "
            "set mode 0600, or give it to a group of this process"
        )


def file_stamp(path: str | Path) -> tuple[int, ...] | None:
    """What differs when a file was replaced or written; None: there is no such file."""
    try:
        facts = os.stat(path)
    except OSError:
        return None
    return facts.st_dev, facts.st_ino, facts.st_size, facts.st_mtime_ns
