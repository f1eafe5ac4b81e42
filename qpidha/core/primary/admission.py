"""What a primary may do with the backups that are connected: how many queues they allow, what their releases know."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from qpidha.core.keyed import OWN_NAMES, TABLE
from qpidha.core.local import LocalQueues
from qpidha.core.primary.session import BackupSession
from qpidha.errors import ArgumentError, BackupTooOld, CallerError
from qpidha.settings import Settings
from qpidha.types import Level, QueueId, QueueSpec
from qpidha.wire.version import DELETION_SINCE


class Admission:
    """Asked before a step of a commit. Every answer costs O(sessions)."""

    def __init__(
        self,
        settings: Settings,
        queues: Collection[QueueId],
        local: LocalQueues,
        sessions: Mapping[int, BackupSession],
    ) -> None:
        """``queues``: of the primary, the configuration among them."""
        self.settings = settings
        self._queues = queues
        self._local = local
        self._sessions = sessions

    def check_declaration(self, spec: QueueSpec, level: Level = Level.MESSAGES, *, more: int = 0) -> None:
        """Another queue may be declared, after ``more`` that are not there yet. Raises `CallerError`.

        Backups have all queues but those of level none.
        """
        if spec.kind.startswith("$") and spec.kind != TABLE:
            raise ArgumentError(f"kind {spec.kind!r} begins with '$': such kinds are reserved")
        if spec.name in OWN_NAMES:
            raise ArgumentError(
                f"name {spec.name!r} is that of a queue of the library itself: it is reserved"
            )
        count = len(self._queues) - 1 + self._local.declared + more
        if count >= (most := self.settings.queues_max):
            raise CallerError(f"there are {count} queues already; queues_max of this node is {most}")
        if level is Level.NONE:
            return
        count -= self._local.own
        for session in self._sessions.values():
            if session.limits is not None and count >= (most := session.limits.queues_max):
                raise CallerError(
                    f"there are {count} queues already; queues_max of backup {session.node!r} is {most}"
                )

    def check_deletion(self) -> None:
        """Every backup that is connected can be told of a deletion. Raises `BackupTooOld`."""
        for session in self._sessions.values():
            if session.version < DELETION_SINCE:
                raise BackupTooOld(
                    f"backup {session.node!r} runs a release that cannot delete queues: upgrade it first"
                )

    @property
    def backups_can_copy(self) -> bool:
        """Every backup that is connected understands copies without their content (U5)."""
        return all(session.version >= DELETION_SINCE for session in self._sessions.values())
