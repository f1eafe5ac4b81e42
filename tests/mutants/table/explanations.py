"""What nodes say of single messages."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

EXPLAIN = "qpidha/core/explain.py"

EXPLANATIONS: tuple[Mutant, ...] = (
    Mutant(
        name="pending-explained-as-safe",
        rules="O4",
        why="says of a publish that members have not acknowledged that it is safe",
        file=EXPLAIN,
        old="        if found is not None:\n            return found.position\n",
        new="        if found is not None and not found.position:\n            return found.position\n",
        first="core/test_explain",
    ),
    Mutant(
        name="activation-explained-without-the-disk",
        rules="O4",
        why="a primary without backups says that an older message is safe, which its own disk does not have yet",
        file=EXPLAIN,
        old="ACTIVATION if declared and min(primary.safe, durable) < ACTIVATION else 0",
        new="ACTIVATION if declared and primary.safe < ACTIVATION else 0",
        first="core/test_explain",
    ),
    Mutant(
        name="id-explained-without-generation",
        rules="I1",
        why="says of a message that a failover undid what is true of the one that has its id now",
        file=EXPLAIN,
        old="        if id >= queue.next or asked not in (None, given_by):\n",
        new="        if id >= queue.next:\n",
        first="core/test_explain",
    ),
    Mutant(
        name="absence-explained-as-gone",
        rules="R-c",
        why="a backup says of a message that has not arrived yet that it was consumed",
        file=EXPLAIN,
        old="        nothing = Verdict.NOT_GIVEN if answer.as_primary else Verdict.NOT_HERE\n",
        new="        nothing = Verdict.NOT_GIVEN if answer.as_primary else Verdict.GONE\n",
        first="core/test_explain",
    ),
    Mutant(
        name="copy-of-another-message",
        rules="U4",
        why="takes the copy of a message that another generation gave the id to for the copy of this one",
        file="qpidha/core/origins.py",
        old="        return self._generation is None or origin[1] == self._generation\n",
        new="        return self._generation != 0 or origin[1] == self._generation\n",
        first="core/test_origins",
    ),
    Mutant(
        name="brought-back-unseen",
        rules="U4",
        why="a search does not look again where a flip brought messages back under the same lineage",
        file="qpidha/core/queue.py",
        old="        else:\n            self.fills += 1\n",
        new="",
        first="core/test_origins",
    ),
)
