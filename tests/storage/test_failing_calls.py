"""E01, E09–E13, E26: the n-th call fails, for every n and every error, or the process dies before it.

By default a part of the faults, chosen by number; with --full all of them.
"""

from __future__ import annotations

import errno
import shutil
import signal
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from qpidha.errors import StoreDamaged
from qpidha.stores.wal import HEADER
from tests.storage.crash import Effort, crash_states
from tests.storage.disk import Disk
from tests.storage.oracle import CHECKS, Broken, promised
from tests.storage.shim import Action, Bench, Call, Fault, Op
from tests.storage.test_crash_states import broken

ERRORS: dict[Op, tuple[int, ...]] = {
    Op.OPEN: (errno.EIO, errno.EMFILE, errno.EACCES, errno.ENOSPC, errno.EROFS),
    Op.CLOSE: (errno.EIO,),
    Op.READ: (errno.EIO,),
    Op.WRITE: (errno.EIO, errno.ENOSPC, errno.EDQUOT, errno.EFBIG),
    Op.TRUNCATE: (errno.EIO, errno.EROFS),
    Op.SYNC: (errno.EIO, errno.ENOSPC),
    Op.UNLINK: (errno.EIO, errno.EACCES),
    Op.RENAME: (errno.EIO, errno.ENOSPC),
    Op.MKDIR: (errno.EIO, errno.ENOSPC),
    Op.STAT: (errno.EIO, errno.EACCES),
    Op.LOCK: (errno.ENOLCK, errno.EIO),
    Op.MAP: (errno.ENOMEM,),
}
CHANGING = {Op.WRITE, Op.SYNC, Op.RENAME, Op.MKDIR, Op.TRUNCATE, Op.UNLINK}
STRIDE = {op: 19 if op in CHANGING else 83 for op in Op} | {Op.READ: 3}
"""By default, one in this number of faults is tried, by kind of call."""
TYPED = {
    "live": {"StoreFailed"},
    "elect": {"Unavailable", "OutcomeUnknown", "SettingsError"},
}
AFTER_FAILED_SYNC = Effort(exhaustive=3, last=2, samples=4, cuts=0)


def faults(calls: list[Call]) -> Iterator[tuple[Op, Fault]]:
    """Yield each fault of each call: for this call only, or from this call on."""
    for number, call in enumerate((call for call in calls if call.op is not Op.SAY), 1):
        for error in ERRORS[call.op]:
            yield call.op, Fault(Action.FAIL, error, number, number)
        if call.op in (Op.READ, Op.WRITE, Op.SYNC):
            yield call.op, Fault(Action.FAIL, errno.EIO, number)
        if call.op is Op.READ:
            yield call.op, Fault(Action.FAIL, errno.EIO, number, ops=(Op.READ,))
        if call.op is Op.WRITE:
            full = (Op.WRITE, Op.MKDIR, Op.RENAME)
            yield call.op, Fault(Action.SHORT, errno.ENOSPC, number, number)
            yield call.op, Fault(Action.FAIL, errno.ENOSPC, number, ops=full)
            yield call.op, Fault(Action.FAIL, errno.EINTR, number, number)
        if call.op in CHANGING:
            yield call.op, Fault(Action.KILL, 0, number, number)


def chosen(calls: list[Call], full: bool) -> Iterator[Fault]:
    seen = Counter[Op]()
    for op, fault in faults(calls):
        seen[op] += 1
        if full or seen[op] % STRIDE[op] == 1:
            yield fault


def verdict(bench: Bench, workload: str, place: Path, fault: Fault) -> list[str]:
    """Run the workload with this fault; return what is wrong with its results and with its files."""
    shutil.rmtree(place)
    place.mkdir()
    calls = bench.run(workload, place, fault)
    said = [call.name for call in calls if call.op is Op.SAY]
    wrong = [line for line in said if line.startswith("failed") and not _typed(line, workload, place)]
    if fault.action is Action.KILL:
        wrong += ["it was not killed"] if bench.signal != signal.SIGKILL else []
    elif bench.signal or said[-1:] != ["end"]:
        wrong.append(f"it ended by signal {bench.signal}, after {said[-1:]}")
    failed = next((at for at, line in enumerate(said) if line.startswith("failed commit ")), len(said))
    wrong += [f"after a failed commit: {line}" for line in said[failed:] if line.startswith("committed")]
    try:
        CHECKS[workload](place, promised(calls))
    except Exception as error:
        wrong.append(f"{type(error).__name__}: {error}")
    return [f"{line} [{fault.action.name} {fault.error} at {fault.at}, {_hit(calls)}]" for line in wrong]


def _typed(line: str, workload: str, place: Path) -> bool:
    """Whether the error is one of the library's, and names the file or directory."""
    _, _, what = line.split(" ", 2)
    return what.split(":")[0] in TYPED[workload] and (
        str(place) in what or "an earlier commit failed" in what
    )


def _hit(calls: list[Call]) -> str:
    return next((f"{call.op.name} {call.name} at {call.offset}" for call in calls if call.hit), "nothing")


@pytest.mark.timeout(7200)
@pytest.mark.parametrize("workload", ["live", "elect"])
def test_every_call_fails_with_every_error(bench: Bench, place: Path, full: bool, workload: str) -> None:
    """What was confirmed is stored, nothing is stored in part, errors are typed, and a failed store refuses all calls."""
    work = list(chosen(bench.run(workload, place), full))
    wrong = [line for fault in work for line in verdict(bench, workload, place, fault)]
    print(f"{workload}: {len(work)} faults")
    assert not wrong, f"{len(wrong)} of {len(work)}:\n" + "\n".join(wrong[:20])


@pytest.mark.timeout(3600)
def test_a_full_disk_takes_half_of_the_header_of_a_log(bench: Bench, place: Path) -> None:
    """The log restarts at its beginning and overwrites frames that are already in the database."""
    calls = [call for call in bench.run("live", place) if call.op is not Op.SAY]
    headers = [n for n, c in enumerate(calls, 1) if c.op is Op.WRITE and len(c.data) == HEADER.size]
    assert len(headers) > 3, "a log header is written with a new file, and after checkpoints"
    faults = [Fault(Action.SHORT, errno.ENOSPC, number, number) for number in headers]
    wrong = [line for fault in faults for line in verdict(bench, "live", place, fault)]
    assert not wrong, "\n".join(wrong)


@pytest.mark.timeout(7200)
@pytest.mark.parametrize("workload", ["live", "elect"])
def test_a_power_cut_after_a_failed_fsync(
    bench: Bench, place: Path, memory: Path, full: bool, workload: str
) -> None:
    """After a failed fsync its writes are lost: no later fsync recovers them, and the store must not rely on one."""
    calls = [call for call in bench.run(workload, place) if call.op is not Op.SAY]
    syncs = [number for number, call in enumerate(calls, 1) if call.op is Op.SYNC]
    tried = 0
    for number in syncs if full else syncs[:: 11 if workload == "live" else 1]:
        shutil.rmtree(place)
        place.mkdir()
        calls = bench.run(workload, place, Fault(Action.FAIL, errno.EIO, number, number))
        states = crash_states(calls, Disk(), AFTER_FAILED_SYNC)
        wrong, _ = broken(workload, states, memory)
        assert not wrong, f"fsync {number}, {_hit(calls)}: {len(wrong)} of {len(states)}: {wrong[0]}"
        tried += len(states)
    print(f"{workload}: {tried} crash states after {len(syncs)} failed syncs")


@pytest.mark.timeout(3600)
def test_a_write_that_never_reaches_the_disk(bench: Bench, place: Path, full: bool) -> None:
    """E14: a write reports success and is lost. The next start detects it, unless the data is complete anyway."""
    calls = [call for call in bench.run("live", place) if call.op is not Op.SAY]
    writes = [n for n, c in enumerate(calls, 1) if c.op is Op.WRITE and not c.name.endswith(("-shm", "lock"))]
    found = Counter[str]()
    for number in writes if full else writes[1::5]:
        shutil.rmtree(place)
        place.mkdir()
        told = promised(bench.run("live", place, Fault(Action.LOSE, 0, number, number)))
        try:
            CHECKS["live"](place, told)  # Broken means that lost data went undetected.
            found["harmless"] += 1
        except StoreDamaged:
            found["damage"] += 1
    print(f"lost writes: {dict(found)}")
    assert found["damage"], "no lost write was detected"


@pytest.mark.parametrize("sabotage", ["immortal"])
def test_a_store_that_ignores_a_failed_fsync_is_caught(bench: Bench, place: Path, sabotage: str) -> None:
    """The check of the first test finds a store that goes on after a failed fsync."""
    calls = bench.run("live", place)
    begun = next(at for at, call in enumerate(calls) if call.words == ("commit", "2"))
    before = sum(call.op is not Op.SAY for call in calls[:begun])
    at = before + next(n for n, call in enumerate(calls[begun:]) if call.op is Op.SYNC)
    shutil.rmtree(place)
    place.mkdir()
    found = bench.run("live", place, Fault(Action.FAIL, errno.EIO, at, at), sabotage=sabotage)
    with pytest.raises((Broken, StoreDamaged)):
        CHECKS["live"](place, promised(found))
