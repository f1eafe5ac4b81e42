"""Record stores on engines that others run."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

STORE = "qpidha/records/etcd/store.py"
GATEWAY = "qpidha/records/etcd/gateway.py"

ENGINES: tuple[Mutant, ...] = (
    # --- etcd
    Mutant(
        name="etcd-revision-not-compared",
        rules="M1 F1",
        why="a compare-and-set in etcd overwrites whatever record is there",
        file=STORE,
        old="        return [revision_is(expected), exists, *",
        new="        return [exists, *",
        first="etcd/test_gateway",
    ),
    Mutant(
        name="etcd-own-write-refused",
        rules="M2",
        why="a write whose answer was lost is not recognised when it is asked of another member",
        file=STORE,
        old="        if new.nonce and current.record == new:\n",
        new="        if new.nonce and current.record is new:\n",
        first="etcd/test_gateway",
    ),
    Mutant(
        name="etcd-doubt-hidden",
        rules="M2 M3",
        why="a write that was sent, and was not answered, is reported as surely not done",
        file="qpidha/records/etcd/failures.py",
        old='    return AttemptFailed(f"{endpoint}: {what}", sent=connected)\n',
        new='    return AttemptFailed(f"{endpoint}: {what}", sent=False)\n',
        first="etcd/test_gateway",
    ),
    Mutant(
        name="etcd-refusal-speaks-for-all",
        rules="M2 M3",
        why="the refusal of one member hides that another one may have written",
        file=GATEWAY,
        old="        if asking.changes and (asking.sent or any(attempt.connected for attempt in pending)):\n",
        new="        if asking.changes and asking.sent and any(attempt.connected for attempt in pending):\n",
        first="etcd/test_gateway",
    ),
    Mutant(
        name="etcd-reset-believed",
        rules="M1 T31",
        why="an etcd that was reset is taken for a cluster whose record is older",
        file=GATEWAY,
        old="        if revision < known:\n",
        new="        if revision < 0:\n",
        first="etcd/test_gateway",
    ),
)
