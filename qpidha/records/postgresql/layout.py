"""The tables in PostgreSQL, and the statements on them.

    qpidha_records     one row for each cluster, by name; each write adds one to its version
    qpidha_sessions    one row for each live node of a cluster

Each statement is a transaction of its own. The clock is the server's.

A session is over when its row is removed, not when its time is over: until then its owner may renew it. Any
node removes it once its time is over, but only over a connection that is older than the TTL: then the owner could have
renewed it at this server for that long. So neither a restart of PostgreSQL nor a failover ends sessions.
"""

from __future__ import annotations

import re

from qpidha.checks import Rule

NAME_BYTES_MAX = 200
CHANNEL = "qpidha"
"""Of notifications; the payload is the name of the cluster."""
_NAME = re.compile(r"[A-Za-z0-9._-]+(/[A-Za-z0-9._-]+)*")
NAME = Rule(
    f"a name of letters, digits, '.', '_', '-' and '/', at most {NAME_BYTES_MAX} bytes",
    lambda value: (
        isinstance(value, str) and len(value) <= NAME_BYTES_MAX and _NAME.fullmatch(value) is not None
    ),
)

SCHEMA_SQL = """\
CREATE TABLE IF NOT EXISTS qpidha_records (
    name text PRIMARY KEY,
    version bigint NOT NULL,
    value text NOT NULL
);
CREATE TABLE IF NOT EXISTS qpidha_sessions (
    name text NOT NULL,
    node bytea NOT NULL,
    opener bytea NOT NULL,
    token bytea NOT NULL,
    serial bigint NOT NULL,
    info bytea NOT NULL,
    ttl_s double precision NOT NULL,
    expires_at timestamptz NOT NULL,
    PRIMARY KEY (name, node)
);
"""
"""The tables. A store makes them on first use if its user may; else run this as the owner of the schema, and grant the
user SELECT, INSERT, UPDATE and DELETE on both."""

MAKE_TABLES = f"""\
DO $$ BEGIN
    PERFORM pg_advisory_xact_lock(hashtext('qpidha_records'));
{SCHEMA_SQL}END $$"""
"""Two that create a table at the same time would otherwise fail."""

CHECK_SERVER = """\
SELECT pg_is_in_recovery() AS standby,
    pg_backend_pid() AS process,
    pg_postmaster_start_time() AS started,
    current_setting('server_version_num')::int AS version,
    current_setting('synchronous_commit') AS synchronous_commit,
    current_setting('fsync') AS fsync,
    (SELECT system_identifier FROM pg_control_system()) AS identity,
    CASE WHEN NOT pg_is_in_recovery() THEN substr(pg_walfile_name(pg_current_wal_insert_lsn()), 1, 8) END AS timeline,
    set_config('qpidha.connected', clock_timestamp()::text, false)"""

READ_RECORD = "SELECT version, value FROM qpidha_records WHERE name = $1"
READ_RECORD_SURELY = f"{READ_RECORD} FOR NO KEY UPDATE"
"""The lock is written to the log, so it is answered when a synchronous standby has all that was read. A primary that
was replaced, and does not know it, has no standby and gives no answer."""

CREATE_RECORD = """\
INSERT INTO qpidha_records (name, version, value) VALUES ($1, 1, $2) ON CONFLICT DO NOTHING RETURNING version"""

CHANGE_RECORD = """\
UPDATE qpidha_records SET version = version + 1, value = $2
WHERE name = $1 AND version = $3 AND ($4::text IS NULL OR value = $4) RETURNING version"""
"""The content is compared too, if it is known: a database that was reset counts its versions again."""

NOTIFY = "SELECT pg_notify('qpidha', $1)"
"""Of a changed record, after the change: a transaction that notifies holds a lock of the whole server until it has ended,
and the change may wait for a standby."""

_DEAD = """\
(expires_at < clock_timestamp() AND
    clock_timestamp() - current_setting('qpidha.connected')::timestamptz > ttl_s * interval '1 second')"""

READ_SESSIONS = f"""\
SELECT node, info, extract(epoch FROM expires_at - clock_timestamp())::float8 AS left_s, {_DEAD} AS dead
FROM qpidha_sessions WHERE name = $1"""  # noqa: S608 - constants only

REMOVE_DEAD = f"""\
WITH done AS (DELETE FROM qpidha_sessions WHERE name = $1 AND {_DEAD} RETURNING node)
SELECT pg_notify('qpidha', $1) FROM done LIMIT 1"""  # noqa: S608 - constants only

OPEN_SESSION = f"""\
WITH done AS (
    INSERT INTO qpidha_sessions AS held (name, node, opener, token, serial, info, ttl_s, expires_at)
    VALUES ($1, $2, $3, $4, 0, $5, $6, clock_timestamp() + $6 * interval '1 second')
    ON CONFLICT (name, node) DO UPDATE SET opener = excluded.opener, token = excluded.token, serial = 0,
        info = excluded.info, ttl_s = excluded.ttl_s, expires_at = clock_timestamp() + $6 * interval '1 second'
    WHERE held.opener = excluded.opener OR ($7 <> ''::bytea AND substring(held.opener FOR length($7)) = $7) OR
        {_DEAD.replace("expires_at", "held.expires_at").replace("ttl_s", "held.ttl_s")}
    RETURNING token
) SELECT token, pg_notify('qpidha', $1) FROM done"""  # noqa: S608 - constants only
"""A row of the same opener is that of an earlier call, whose answer did not come. $7: what the name of an opener begins
with whose process has ended."""

LOOK_AT_SESSION = "SELECT token, expires_at FROM qpidha_sessions WHERE name = $1 AND node = $2"

RENEW_SESSION = """\
UPDATE qpidha_sessions SET expires_at = clock_timestamp() + ttl_s * interval '1 second'
WHERE name = $1 AND node = $2 AND token = $3 RETURNING token"""

UPDATE_SESSION = """\
WITH done AS (
    UPDATE qpidha_sessions SET info = CASE WHEN serial < $4 THEN $5 ELSE info END, serial = greatest(serial, $4)
    WHERE name = $1 AND node = $2 AND token = $3 RETURNING token
) SELECT token, pg_notify('qpidha', $1) FROM done"""
"""An update without an answer that is done late does not undo a later one: its serial is lower."""

CLOSE_SESSION = """\
WITH done AS (DELETE FROM qpidha_sessions WHERE name = $1 AND node = $2 AND token = $3 RETURNING node)
SELECT pg_notify('qpidha', $1) FROM done"""
