"""Levels of replication: messages that are not replicated are sent, compared, judged or answered as if they were."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

CLIENTS = "qpidha/core/primary/clients.py"
DRAFT = "qpidha/core/primary/draft.py"
DRAFTED = "qpidha/core/primary/drafted.py"
LOCAL = "qpidha/core/local.py"
OPERATIONS = "qpidha/core/backup/operations.py"
RANKING = "qpidha/recovery/ranking.py"
STATE = "qpidha/core/state.py"
WORK = "qpidha/core/primary/localwork.py"

LEVELS: tuple[Mutant, ...] = (
    Mutant(
        name="local-queue-described",
        rules="LV1",
        why="a queue that is loaded with the store counts as replicated: it is described, planned and compared",
        file=STATE,
        old="            if queue.local:\n",
        new="            if queue.local and False:\n",
        first="core/test_state",
    ),
    Mutant(
        name="local-queue-planned",
        rules="LV1",
        why="a backup takes the plan or the declaration of a queue whose messages are not replicated",
        file=OPERATIONS,
        old="    if level_of(queue.queue) is not Level.MESSAGES:\n",
        new="    if level_of(queue.queue) is Level.NONE:\n",
        first="backup/test_session",
    ),
    Mutant(
        name="local-messages-ranked",
        rules="LV1",
        why="compares stores by messages of which each has its own",
        file=RANKING,
        old="        return [q for q in self.queues if level_of(q.queue) is Level.MESSAGES]\n",
        new="        return list(self.queues)\n",
        first="unit/recovery",
    ),
    Mutant(
        name="local-parts-sent",
        rules="LV2",
        why="sends backups the parts of a commit about messages that are not replicated",
        file=DRAFTED,
        old="        return [action.part for action in self.actions if not action.draft.queue.local]\n",
        new="        return [action.part for action in self.actions]\n",
        first="primary/test_localwork",
    ),
    Mutant(
        name="local-publish-sent",
        rules="LV2",
        why="sends backups a publish to a queue whose messages are not replicated",
        file=CLIENTS,
        old="        if held.local:\n            return self.local.publish(held, batch)\n",
        new="",
        first="primary/test_localwork",
    ),
    Mutant(
        name="copied-from-what-backups-lack",
        rules="LV2 LV3 U5",
        why="backups are told to copy from a queue whose messages they do not have",
        file=DRAFT,
        old="copy_of is not None and not copy_of[0].queue.local and",
        new="copy_of is not None and",
        first="primary/test_localwork",
    ),
    Mutant(
        name="replacement-across-levels",
        rules="LV3",
        why="a message that is moved into the replicated state is a copy, with an origin",
        file=DRAFT,
        old="source.queue.local or target.queue.local\n",
        new="target.queue.local\n",
        first="primary/test_localwork",
    ),
    Mutant(
        name="move-out-completes-a-publish",
        rules="LV3 TX6",
        why="a message that is moved out of the replicated state is accepted as the queue says, also immediately",
        file=CLIENTS,
        old="        committed = committed or draft.crosses\n",
        new="",
        first="primary/test_localwork",
    ),
    Mutant(
        name="own-queue-judged",
        rules="LV4",
        why="a flip drops a queue of level none whose name the objects do not have",
        file=LOCAL,
        old="            before = self.named(name, Level.CONFIGURATION)\n",
        new="            before = self.named(name, Level.CONFIGURATION) or self.named(name, Level.NONE)\n",
        first="core/test_local",
    ),
    Mutant(
        name="own-queue-has-an-object",
        rules="LV4 Q2",
        why="a queue of level none is declared in the configuration, too",
        file=DRAFT,
        old="            self._own[step.spec.name] = queue\n",
        new="            self._own[step.spec.name] = queue\n            self._declare_object(step, key)\n",
        first="primary/test_localwork",
    ),
    Mutant(
        name="name-of-an-own-queue",
        rules="LV4",
        why="a queue of the cluster is declared with the name of one that this node has alone",
        file=DRAFT,
        old="self._local.queues.named(name, Level.NONE)) is not None:\n",
        new="None) is not None:\n",
        first="primary/test_localwork",
    ),
    Mutant(
        name="local-queue-outlives-its-object",
        rules="LV1 Q2",
        why="a backup keeps a queue of level configuration whose object is gone",
        file=LOCAL,
        old="            if before is not None and (now is None or now.queue != before.queue):\n",
        new="            if before is not None and now is not None and now.queue != before.queue:\n",
        first="core/test_local",
    ),
    Mutant(
        name="answered-before-the-declaration",
        rules="LV5",
        why="an answer waits for this disk only, not for the declaration of the queue",
        file=WORK,
        old="        return 0 if level_of(queue) is Level.NONE else self._covers.get(queue, ACTIVATION)\n",
        new="        return 0\n",
        first="primary/test_localwork",
    ),
    Mutant(
        name="answered-before-the-plan",
        rules="LV5",
        why="after a promotion an answer does not wait until the plan is acknowledged",
        file=WORK,
        old="self._covers.get(queue, ACTIVATION)\n",
        new="self._covers.get(queue, 0)\n",
        first="primary/test_localwork",
    ),
    Mutant(
        name="local-answer-waits-for-members",
        rules="LV5",
        why="an operation about messages that are not replicated waits for all operations before it",
        file=CLIENTS,
        old="            position = local.cover(draft.named) if draft.is_local else self.position\n",
        new="            position = self.position\n",
        first="primary/test_localwork",
    ),
    Mutant(
        name="other-patterns-followed",
        rules="LV4",
        why="a backup follows a primary that gives names other levels",
        file="qpidha/core/policy.py",
        old="    if theirs != encoded(replicate):\n",
        new="    if theirs is None and replicate:\n",
        first="core/test_policy",
    ),
)
