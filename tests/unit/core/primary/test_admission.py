"""What a primary may do with the backups that are connected: their limits, and what their releases know."""

from __future__ import annotations

from uuid import UUID

import pytest

from qpidha import Settings
from qpidha.core.births import born, own_id
from qpidha.core.keyed import CONFIGURATION, OBJECTS, TABLE
from qpidha.core.local import LocalQueues
from qpidha.core.primary.admission import Admission
from qpidha.core.primary.session import BackupSession
from qpidha.core.queues import Queues
from qpidha.errors import ArgumentError, BackupTooOld, CallerError
from qpidha.types import Level, QueueSpec
from qpidha.wire.events import Limits

SETTINGS = Settings(queues_max=3)
QUEUES = [UUID(int=n) for n in range(3)]
"""The configuration, and two more."""


def session(name: str, version: int = 3, queues_max: int | None = None) -> BackupSession:
    limits = None
    if queues_max is not None:
        limits = Limits(
            frame_bytes_max=1 << 24,
            message_bytes_max=1 << 23,
            queues_max=queues_max,
            ids_runs_per_chunk_max=99,
        )
    return BackupSession(1, name, UUID(int=9), SETTINGS, limits, version)


def local_queues(*ids: UUID) -> LocalQueues:
    made = LocalQueues(Queues().make)
    for id in ids:
        made.add(Queues().make(id, QueueSpec(name="own"), ((1, 1),), 1))
    return made


def admission(*sessions: BackupSession, local: LocalQueues | None = None) -> Admission:
    return Admission(SETTINGS, QUEUES, local or local_queues(), dict(enumerate(sessions)))


def test_a_queue_fits_as_long_as_every_backup_allows_it() -> None:
    spec = QueueSpec(name="q")
    admission().check_declaration(spec)
    admission(session("b", queues_max=3), session("c")).check_declaration(spec)
    with pytest.raises(CallerError, match="queues_max of this node is 3"):
        admission().check_declaration(spec, more=1)
    with pytest.raises(CallerError, match="queues_max of backup 'b' is 2"):
        admission(session("c", queues_max=3), session("b", queues_max=2)).check_declaration(spec)


def test_backups_count_the_queues_that_they_have_and_a_node_all_of_its_own() -> None:
    """A queue of level none is on this node only; one of level configuration is everywhere."""
    spec, own, shared = QueueSpec(name="q"), own_id(1, 1), born(1, 9, Level.CONFIGURATION)
    backup = session("b", queues_max=3)
    for id, more in ((own, 0), (shared, 0)):
        local = local_queues(id)
        for level in Level:
            with pytest.raises(CallerError, match="there are 3 queues already; queues_max of this node is 3"):
                admission(backup, local=local).check_declaration(spec, level, more=more)
    small, roomy = session("b", queues_max=2), Settings(queues_max=9)
    one = local_queues(own)
    Admission(roomy, QUEUES, one, {1: small}).check_declaration(spec, Level.NONE)
    with pytest.raises(CallerError, match="there are 2 queues already; queues_max of backup 'b' is 2"):
        Admission(roomy, QUEUES, one, {1: small}).check_declaration(spec, Level.CONFIGURATION)
    Admission(roomy, QUEUES, one, {1: session("b", queues_max=3)}).check_declaration(spec)


def test_kinds_of_the_library_are_reserved_but_tables_are_declared() -> None:
    admission().check_declaration(QueueSpec(name="t", kind=TABLE))
    for kind in (CONFIGURATION, "$other"):
        with pytest.raises(ArgumentError, match="reserved"):
            admission().check_declaration(QueueSpec(name="q", kind=kind))
    for name in (CONFIGURATION, OBJECTS):
        with pytest.raises(ArgumentError, match="reserved"):
            admission().check_declaration(QueueSpec(name=name))


def test_an_older_backup_can_be_told_of_no_deletion_and_no_copy() -> None:
    new, old = session("b", 3), session("c", 2)
    admission(new).check_deletion()
    assert admission(new).backups_can_copy and admission().backups_can_copy
    assert not admission(new, old).backups_can_copy
    with pytest.raises(BackupTooOld, match="backup 'c'"):
        admission(new, old).check_deletion()
