"""Record stores on engines that others run."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

STORE = "qpidha/records/etcd/store.py"
GATEWAY = "qpidha/records/etcd/gateway.py"
ZOOKEEPER = "qpidha/records/zookeeper/"

PG = "qpidha/records/postgresql/"

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
    # --- ZooKeeper
    Mutant(
        name="zookeeper-version-not-compared",
        rules="M1 F1",
        why="a compare-and-set in ZooKeeper overwrites whatever record is there",
        file=ZOOKEEPER + "store.py",
        old="self._layout.record, value, known.version, timeout_s",
        new="self._layout.record, value, -1, timeout_s",
        first="zookeeper/test_requests",
    ),
    Mutant(
        name="zookeeper-created-again-unnoticed",
        rules="M1",
        why="a record that was removed and created again is taken for the one before: its znode counts from 0 again",
        file=ZOOKEEPER + "store.py",
        old="            if known is None or known.mzxid != expected:\n",
        new="            if known is None:\n",
        first="zookeeper/test_requests",
    ),
    Mutant(
        name="zookeeper-own-write-refused",
        rules="M2",
        why="a write whose answer was lost is not recognised when it is repeated",
        file=ZOOKEEPER + "store.py",
        old="        if new.nonce and current.record == new:\n",
        new="        if new.nonce and current.record is new:\n",
        first="zookeeper/test_requests",
    ),
    Mutant(
        name="zookeeper-doubt-forgotten",
        rules="M2 M3",
        why="a write that was sent once is reported as surely not done, because the last attempt sent nothing",
        file=ZOOKEEPER + "requests.py",
        old="sent, why = sent or error.sent, str(error)",
        new="sent, why = error.sent, str(error)",
        first="zookeeper/test_requests",
    ),
    Mutant(
        name="zookeeper-refusal-speaks-for-all",
        rules="M2 M3",
        why="a refusal hides that an earlier attempt may have written",
        file=ZOOKEEPER + "requests.py",
        old="                if not (changes and sent):\n",
        new="                if error:\n",
        first="zookeeper/test_requests",
    ),
    Mutant(
        name="zookeeper-reset-believed",
        rules="M1 T31",
        why="a ZooKeeper that was reset is taken for a cluster without a record",
        file=ZOOKEEPER + "requests.py",
        old="if self._identity is not None and identity != self._identity:",
        new="if self._identity is not None and identity and identity[0] < self._identity[0]:",
        first="zookeeper/test_requests",
    ),
    Mutant(
        name="zookeeper-copy-believed",
        rules="M1 T31",
        why="a ZooKeeper that was restored from a copy is taken for a cluster whose record is older",
        file=ZOOKEEPER + "requests.py",
        old="        if link.zxid < self._zxid:\n",
        new="        if link.zxid < 0:\n",
        first="zookeeper/test_requests",
    ),
    Mutant(
        name="zookeeper-connection-not-checked",
        rules="M1 T31",
        why="a write goes over a new connection before it is known which ensemble is there",
        file=ZOOKEEPER + "requests.py",
        old="        if self._verified is not link:\n",
        new="        if self._verified is None:\n",
        first="zookeeper/test_requests",
    ),
    # --- PostgreSQL
    Mutant(
        name="postgresql-own-write-refused",
        rules="M2",
        why="a write whose connection broke is not recognised when it is repeated",
        file=PG + "store.py",
        old="        if new.nonce and current.record == new:\n",
        new="        if new.nonce and current.record is new:\n",
        first="postgresql/test_pool",
    ),
    Mutant(
        name="postgresql-doubt-hidden",
        rules="M2 M3",
        why="a write that was sent, and was not answered, is reported as surely not done",
        file=PG + "pool.py",
        old="                sent, why = sent or changes, str(error)\n",
        new="                sent, why = sent or False, str(error)\n",
        first="postgresql/test_pool",
    ),
    Mutant(
        name="postgresql-warning-ignored",
        rules="M2 D1",
        why="a write counts although PostgreSQL warns that no standby may have it",
        file=PG + "pool.py",
        old="        if error is None and connection in self._warned:\n",
        new="        if error is not None and connection in self._warned:\n",
        first="postgresql/test_pool",
    ),
    Mutant(
        name="postgresql-reset-believed",
        rules="M1 T31",
        why="a database that was reset is taken for a cluster whose record is older",
        file=PG + "store.py",
        old="        if version < known or (",
        new="        if version < 0 or (",
        first="postgresql/test_pool",
    ),
    Mutant(
        name="postgresql-watch-without-standby",
        rules="M1 D1",
        why="a watch reports a record that only the primary has, and a promotion takes back",
        file=PG + "store.py",
        old="        return await self._read_surely(timeout_s)\n",
        new="        return await self._read_surely(timeout_s) if not rows else Versioned(\n"
        '            decode_value(rows[0]["value"].encode(), self._what), rows[0]["version"]\n'
        "        )\n",
        first="postgresql/test_sessions",
    ),
    Mutant(
        name="postgresql-replaced-primary-used",
        rules="M1 F1",
        why="a primary that was replaced is used again although the newer one was seen",
        file=PG + "servers.py",
        old="        if newest < self._timeline and usable:\n",
        new="        if newest < 0 and usable:\n",
        first="postgresql/test_servers",
    ),
)
