"""Bugs in the calls that threads make: what they are told of a call that was not answered."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

THREADS: tuple[Mutant, ...] = (
    Mutant(
        name="withdrawn-call-is-made",
        rules="K1",
        why="a call of a thread that was told that nothing was changed is made when the event loop comes round",
        file="qpidha/node/sync/loopcalls.py",
        old="                self._waiting.remove(call)\n",
        new="",
        first="sync/test_loopcalls",
    ),
    Mutant(
        name="begun-call-is-certain",
        rules="K1",
        why="a thread is told that nothing was changed although the event loop had begun its call",
        file="qpidha/node/sync/loopcalls.py",
        old="            begun = not self._give_up(loop, call)\n",
        new="            begun = not self._give_up(loop, call) and waited is Waited.ENDED\n",
        first="sync/test_loopcalls",
    ),
    Mutant(
        name="pause-ends-calls",
        rules="T42 K1",
        why="a pause of the process counts for the time of calls, so all of them are over at its end",
        file="qpidha/node/sync/loopcalls.py",
        old="                if left_s <= 0 and not stood_still:\n",
        new="                if left_s <= 0:\n",
        first="sync/test_loopcalls",
    ),
    Mutant(
        name="demotion-not-told",
        rules="T42",
        why="a broker with plain methods is not told of a demotion that waits for a promotion which takes too long",
        file="qpidha/bridge/threadbroker.py",
        old="await asyncio.shield(asyncio.get_running_loop().run_in_executor(self._thread, work))",
        new="await asyncio.get_running_loop().run_in_executor(self._thread, work)",
        first="bridge/test_threadbroker",
    ),
)
