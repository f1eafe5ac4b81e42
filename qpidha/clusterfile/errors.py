"""The error of a cluster file."""

from __future__ import annotations

from qpidha.errors import SettingsError


class ClusterFileError(SettingsError):
    """The cluster file cannot be used.

    ``path`` is the file, ``key`` the key that is wrong; "": the file as a whole. ``line`` is where that is written;
    None: nowhere, or that is not known.
    """

    def __init__(self, message: str, *, path: str, key: str = "", line: int | None = None) -> None:
        super().__init__(message)
        self.path = path
        self.key = key
        self.line = line
