"""Sessions, plans and flips: who is obeyed, what counts, what is sent."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

FLIP = "qpidha/core/backup/flip.py"
FOLLOWER = "qpidha/core/backup/follower.py"
SESSIONS = "qpidha/core/primary/sessions.py"
LINEAGE = "qpidha/core/lineage.py"
FOLLOWER_SESSION = "qpidha/core/backup/session.py"
DIFFERENCE = "qpidha/core/resync.py"
BACKUP_SESSION = "qpidha/core/primary/session.py"
PLANNING = "qpidha/core/primary/planning.py"
PLANNED = "qpidha/core/backup/planned.py"

RESYNC: tuple[Mutant, ...] = (
    # --- who is obeyed
    Mutant(
        name="two-sessions-at-once",
        rules="C1 C5 R-d",
        why="a backup that reconnects keeps what it staged in the earlier session, and that session's link",
        file=FOLLOWER,
        old="        state = self._state\n        self.leave()\n",
        new="        state = self._state\n",
        first="A14",
    ),
    Mutant(
        name="stale-primary-not-fenced",
        rules="C2 F2 T06",
        why="a backup does not tell a primary that its generation is over",
        file=FOLLOWER,
        old="                self._fence(frame)\n                return\n",
        new="                pass\n",
        first="T06",
    ),
    Mutant(
        name="fence-ignored",
        rules="C2 T06",
        why="a primary that hears of a higher generation does not look at the record",
        file=SESSIONS,
        old="        state.manager.ask(now)\n",
        new="",
        first="T06",
    ),
    Mutant(
        name="fence-believed",
        rules="F6 C2 T32",
        why="a primary steps down because a peer says that there is a higher generation",
        file="qpidha/core/replica.py",
        old="                return self.sessions.frame_from_backup(link, frame, now)\n",
        new=(
            "                if type(frame.event).__name__ == 'Fenced':\n"
            "                    self.step_down('a peer says so')\n"
            "                    return True\n"
            "                return self.sessions.frame_from_backup(link, frame, now)\n"
        ),
        first="T32",
    ),
    Mutant(
        name="anybody-is-obeyed",
        rules="F6 F2",
        why="a backup follows any node that welcomes it, also one that the record does not name as primary",
        file=FOLLOWER,
        old="if record is None or record.generation != generation or record.primary != (event.node, event.boot):",
        new="if record is None:",
        first="backup/test_follower",
    ),
    Mutant(
        name="other-generations-taken",
        rules="F2 C3",
        why="a primary takes what a backup says in another generation for its own",
        file=SESSIONS,
        old="if frame.generation != self._primary.generation:",
        new="if frame.generation > self._primary.generation + 1000:",
        first="primary/test_sessions",
    ),
    Mutant(
        name="other-cluster-followed",
        rules="D7",
        why="a backup follows the primary of another cluster",
        file=FOLLOWER,
        old="if event.cluster != record.cluster or state.cluster not in (None, event.cluster):",
        new="if event.cluster != record.cluster:",
        first="backup/test_follower",
    ),
    Mutant(
        name="other-cluster-served",
        rules="D7",
        why="a primary serves the store of another cluster",
        file=SESSIONS,
        old="if hello.cluster is not None and hello.cluster != state.cluster:",
        new="if hello.cluster is not None and hello.cluster == replica.node:",
        first="primary/test_sessions",
    ),
    Mutant(
        name="clone-takes-over",
        rules="T40",
        why="a second process with one node id replaces the session of the first",
        file=SESSIONS,
        old="if other.boot != hello.boot:",
        new="if other.boot is None:",
        first="T40",
    ),
    Mutant(
        name="name-not-proved",
        rules="Z1",
        why="a peer may speak for a node that its certificate does not name",
        file=SESSIONS,
        old="if names is not None and hello.node not in names:",
        new="if names is not None and not names:",
        first="primary/test_sessions",
    ),
    # --- what counts as acknowledged
    Mutant(
        name="old-session-counts",
        rules="C3 R-e T19",
        why="processes frames of an earlier session",
        file=SESSIONS,
        old="and frame.session != session.sid:",
        new="and frame.session > session.sid:",
        first="primary/test_sessions",
    ),
    Mutant(
        name="acknowledged-ahead",
        rules="C3 R-e",
        why="accepts an acknowledgement of operations that were never sent",
        file=BACKUP_SESSION,
        old="if not self.acked <= position <= self.sent or position < self.plan_position:",
        new="if not self.acked <= position or position < self.plan_position:",
        first="primary/test_session",
    ),
    Mutant(
        name="acknowledged-before-the-plan",
        rules="C5",
        why="accepts an acknowledgement below the end of the plan",
        file=BACKUP_SESSION,
        old="if not self.acked <= position <= self.sent or position < self.plan_position:",
        new="if not self.acked <= position <= self.sent:",
        first="primary/test_session",
    ),
    # --- the plan
    Mutant(
        name="ids-without-generations",
        rules="C4 N1 T01",
        why="takes equal ids for equal messages",
        file=DIFFERENCE,
        old="    return backup.held.slice(0, point - 1) if point else SequenceSet()",
        new="    return backup.held.slice(0, max(point, min(primary.next, backup.next)) - 1)",
        first="T01",
    ),
    Mutant(
        name="end-of-the-last-shared-generation",
        rules="G2 T02",
        why="takes the end of the last generation that both know for the common point",
        file=LINEAGE,
        old="            top = min(high, last)",
        new="            top = max(high, last)",
        first="T02",
    ),
    Mutant(
        name="absent-means-dequeued",
        rules="R-c C4 T14",
        why="takes what the backup lacks below its next id for dequeued, and does not send it",
        file=PLANNING,
        old="wanted = queue.held.slice(described.cursor, MESSAGE_ID_MAX) - described.keep",
        new="wanted = queue.held.slice(max(described.cursor, described.history.next), MESSAGE_ID_MAX)",
        first="T14",
    ),
    Mutant(
        name="staged-and-gone-stays",
        rules="C4",
        why="what was staged and dequeued since is not dropped by the plan",
        file=PLANNING,
        old="    if gone := staged - queue.held:",
        new="    if gone := SequenceSet():",
        first="A19",
    ),
    Mutant(
        name="held-and-gone-stays",
        rules="C4",
        why="drops only what was never shared, not what the primary dequeued during the catch-up",
        file=PLANNING,
        old="gone := held - (described.keep & queue.held)",
        new="gone := held - described.keep",
        first="test_a_plan_drops_what_the_backup_held",
    ),
    Mutant(
        name="own-next-kept",
        rules="C4 N1 A15",
        why="a flip does not lower the next id of what it rewinds",
        file=FLIP,
        old="        queue.next, queue.lineage = meta.next, meta.lineage\n",
        new="        queue.next, queue.lineage = max(queue.next, meta.next), meta.lineage\n",
        first="A15",
    ),
    Mutant(
        name="own-lineage-kept",
        rules="C4 N1 R-a I1",
        why="a flip does not take the primary's lineage over",
        file=FLIP,
        old="        queue.next, queue.lineage = meta.next, meta.lineage\n",
        new="        queue.next = meta.next\n",
        first="T02",
    ),
    Mutant(
        name="flip-keeps-the-old-next",
        rules="C4 N2",
        why="a flip changes no queue whose lineage is the primary's, although its next id is another",
        file=FLIP,
        old="(queue.next, queue.lineage, queue.spec) != (meta.next, meta.lineage, meta.spec)",
        new="(queue.lineage, queue.spec) != (meta.lineage, meta.spec)",
        first="backup/test_flip",
    ),
    Mutant(
        name="claims-are-kept",
        rules="G2 N1",
        why="keeps whatever a peer claims to hold if it claims the same as the primary has, given out or not",
        file="qpidha/core/resync.py",
        old="    return not held or bool(lineage and lineage[0][1] <= held.first and held.last < next)\n",
        new="    return True\n",
        first="core/test_resync",
    ),
    Mutant(
        name="plan-not-checked",
        rules="C4 Z2",
        why="a plan is taken over without comparing how many messages it leaves",
        file=PLANNED,
        old="if len(kept) + len(fresh) != meta.held:",
        new="if len(kept) + len(fresh) < 0:",
        first="backup/test_flip",
    ),
    Mutant(
        name="two-transactions",
        rules="C5 D1 X2",
        why="a flip reaches the disk without the generation that it makes true",
        file=FOLLOWER_SESSION,
        old="*result.changes, PutStatus(self.cluster, self.generation, primary=False))",
        new="*result.changes)",
        first="T33",
    ),
    Mutant(
        name="operations-out-of-order",
        rules="C6",
        why="applies operations without looking at their position",
        file=FOLLOWER_SESSION,
        old="if event.first != self.position + 1:",
        new="if event.first < 0:",
        first="backup/test_session",
    ),
    Mutant(
        name="laggard-not-told",
        rules="C7",
        why="stops sending to a backup that fell behind, and does not say so",
        file=BACKUP_SESSION,
        old="            self.state = SessionState.LAGGING\n            yield Resubscribe()\n\n    def leave_out",
        new="            self.state = SessionState.LAGGING\n\n    def leave_out",
        first="primary/test_session",
    ),
    Mutant(
        name="laggard-buffered-for",
        rules="C7 L5 T44",
        why="goes on sending to a backup however far it is behind",
        file=BACKUP_SESSION,
        old="if self.window_bytes > limits.window_bytes_max or len(self._window) > limits"
        ".window_operations_max:",
        new="if self.window_bytes < 0:",
        first="primary/test_session",
    ),
)
