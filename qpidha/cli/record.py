"""Commands about the record of a cluster: ``qpidha record show`` and ``rebuild``."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qpidha.cli.cluster import WRITE_TIMEOUT_S, Place, is_store, live_in, peek, put
from qpidha.cli.console import (
    OK,
    PARTLY,
    PROBLEM,
    UNREACHABLE,
    about,
    complain,
    deliver,
    lines_of_place,
    lines_of_record,
    why,
    words,
)
from qpidha.cli.inspection import inspect_all
from qpidha.cli.text import name, names
from qpidha.cli.work import TimeUp, gather, one, require_directory
from qpidha.errors import CallerError, ClusterError, Conflict, OutcomeUnknown, StoreLocked

if TYPE_CHECKING:
    from qpidha.recovery.rebuild import Rebuilt
    from qpidha.stores.report import StoreReport
    from qpidha.types import Versioned

DISK_TIMEOUT_S = 10.0
"""For what is small: the record, who is alive, and locks."""


def run_show(args: argparse.Namespace) -> int:
    """Run ``qpidha record show``; returns the exit code."""
    try:
        found = one(partial(peek, args.cluster), args.timeout)
    except (ClusterError, OSError, TimeUp) as error:
        deliver(args, UNREACHABLE, {"record": None, "error": words(error)}, ())
        complain(f"cannot read the record: {about(args.cluster, error)}")
        return UNREACHABLE
    if found is None:
        hint = ", but a store: give the directory of the record" if is_store(args.cluster) else ""
        return deliver(args, PROBLEM, {"record": None}, [f"there is no record in {name(args.cluster)}{hint}"])
    return deliver(args, OK, {"record": found}, lines_of_record(found))


# --- rebuild -------------------------------------------------------------------------------------


@dataclass(slots=True)
class Rebuild:
    """What is known so far."""

    errors: dict[Path, BaseException] = field(default_factory=dict)
    reports: list[StoreReport] = field(default_factory=list)
    found: Rebuilt | None = None
    written: bool = False

    def document(self, error: str | None) -> dict[str, Any]:
        """For JSON."""
        document: dict[str, Any] = {
            "record": self.found.record if self.found else None,
            "ranked": self.found.ranked if self.found else [],
            "written": self.written,
            "errors": {str(directory): words(error) for directory, error in self.errors.items()},
        }
        return document if error is None else {**document, "error": error}


class Refused(Exception):
    """The command ends with this exit code and reason."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code


def run_rebuild(args: argparse.Namespace) -> int:
    """After the record was lost or went back: compare the stores, say what would be written, write it if told to."""
    state, refusal = Rebuild(), None
    with ExitStack() as held:
        try:
            rebuild(args, state, held)
        except Refused as refused:
            refusal = refused
    code = refusal.code if refusal else PARTLY if state.errors else OK
    lines = lines_of_rebuilt(state.found, written=state.written) if state.found else []
    deliver(args, code, state.document(str(refusal) if refusal else None), lines)
    for directory, error in state.errors.items():
        complain(about(directory, error))
    if refusal:
        complain(str(refusal))
    return code


def rebuild(args: argparse.Namespace, state: Rebuild, held: ExitStack) -> None:
    """Each step in its turn. Raises `Refused`."""
    require_nobody_runs(args.cluster)
    directories = list(dict.fromkeys(args.directory))
    usable = lock_all(directories, state, held)
    for directory, answer in inspect_all(usable, args.timeout):
        if isinstance(answer, BaseException):
            state.errors[directory] = answer
        else:
            state.reports.append(answer)
    if not state.reports:
        raise Refused(UNREACHABLE, "nothing was written: none of the stores can be read")
    current = state_of(args.cluster)
    state.found = compared(args, state, current)
    if not args.write:
        return
    if state.errors:
        raise Refused(
            PARTLY,
            f"nothing was written: {len(state.errors)} of the stores cannot be read. Repair them, or leave them out of"
            " the command if they are lost for good; messages that only they hold are then lost",
        )
    write(args, state, current)


def require_nobody_runs(cluster: Place) -> None:
    """Refuse to go on while a node of the cluster has a live session."""
    try:
        live = one(partial(live_in, cluster), DISK_TIMEOUT_S)
    except (ClusterError, OSError, TimeUp) as error:
        raise Refused(UNREACHABLE, f"cannot look at the record: {about(cluster, error)}") from error
    if live:
        raise Refused(PROBLEM, f"still running: {names(live)}. Stop all nodes first")


def lock_all(directories: list[Path], state: Rebuild, held: ExitStack) -> list[Path]:
    """The directories whose stores are not in use; they stay locked until ``held`` is closed."""
    answers = gather([partial(lock_one, directory) for directory in directories], DISK_TIMEOUT_S)
    in_use, usable = [], []
    for directory, answer in zip(directories, answers, strict=True):
        if isinstance(answer, StoreLocked):
            in_use.append(why(answer))
        elif isinstance(answer, BaseException):
            state.errors[directory] = answer
        else:
            held.callback(answer)
            usable.append(directory)
    if in_use:
        raise Refused(PROBLEM, f"nothing was written: {'; '.join(in_use)}")
    return usable


def lock_one(directory: Path) -> Callable[[], None]:
    """Hold the lock of one store; returns what releases it."""
    from qpidha.cli.work import is_cluster_directory
    from qpidha.stores.offline import unused

    require_directory(directory, "store")
    stack = ExitStack()
    if not is_cluster_directory(directory):  # Inspecting it says so.
        stack.enter_context(unused([directory]))
    return stack.close


def state_of(cluster: Place) -> Versioned | None:
    """The record as it is."""
    try:
        return one(partial(peek, cluster), DISK_TIMEOUT_S)
    except FileNotFoundError:
        return None
    except (ClusterError, OSError, TimeUp) as error:
        raise Refused(UNREACHABLE, f"cannot read the record: {about(cluster, error)}") from error


def compared(args: argparse.Namespace, state: Rebuild, current: Versioned | None) -> Rebuilt:
    """The rebuilt record, checked against the one that is there."""
    from qpidha.recovery.rebuild import rebuilt

    try:
        return rebuilt(
            state.reports,
            current.record if current else None,
            nonce=os.urandom(16),
            best=args.best,
            members_lost=args.members_lost,
        )
    except CallerError as error:
        raise Refused(PROBLEM, f"nothing was written: {why(error)}") from error


def write(args: argparse.Namespace, state: Rebuild, current: Versioned | None) -> None:
    """Put the record in the place of the current one, if that is still the current one."""
    found, expected = state.found, current.version if current else None
    assert found is not None
    stores = [Path(report.name) for report in state.reports]
    try:
        one(partial(put, args.cluster, stores, expected, found.record), WRITE_TIMEOUT_S + 1.0)
    except (CallerError, Conflict) as error:
        raise Refused(PROBLEM, f"nothing was written: {why(error)}") from error
    except (OutcomeUnknown, TimeUp) as error:
        raise Refused(
            UNREACHABLE,
            f"it is not known whether the record was written: {why(error)}. See `qpidha record show`",
        ) from error
    except (ClusterError, OSError) as error:
        raise Refused(UNREACHABLE, f"nothing was written: {why(error)}") from error
    state.written = True


def lines_of_rebuilt(found: Rebuilt, *, written: bool) -> list[str]:
    """The lines that show a rebuilt record."""
    (member,) = found.record.members
    is_now = "is now" if written else "would be"
    return [
        *(line for place in found.ranked for line in lines_of_place(place)),
        f"the record {is_now} at generation {found.record.generation}, with node {name(member.node)} alone in sync",
        "messages that only other stores hold are quarantined when their nodes join, and handed to their brokers",
        "start the nodes"
        if written
        else "nothing was written: add --write to do it. The generation is drawn anew then",
    ]
