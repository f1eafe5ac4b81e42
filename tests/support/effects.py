"""Every input and effect of each node in walks of the simulator, digested: for `tests.integration.test_compiled`.

usage: python -m tests.support.effects FIRST RUNS

Prints JSON: whether compiled modules ran, and for each walk a digest, how often the core was called, and what came of it.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from functools import wraps
from hashlib import blake2b
from importlib import import_module
from inspect import isfunction
from typing import Any

from qpidha import compiled
from qpidha.core.replica import Replica
from qpidha.testing import Walk
from qpidha.testing.walks.profile import PROFILES

ADDRESS = re.compile(r" at 0x[0-9a-f]+")
"""Where an object lies in memory differs from process to process."""


class Diary:
    """What was asked of the replicas of one walk, and what they answered."""

    def __init__(self) -> None:
        self._digest = blake2b(digest_size=16)
        self.calls = 0

    def write(self, *facts: object) -> None:
        self.calls += 1
        self._digest.update(ADDRESS.sub("", repr(facts)).encode())

    def __str__(self) -> str:
        return self._digest.hexdigest()


diary = Diary()


def recorded(name: str, method: Callable[..., Any]) -> Callable[..., Any]:
    """The method, which writes down its arguments, and its result or error."""

    @wraps(method)
    def call(replica: Replica, *given: Any, **named: Any) -> Any:
        before = replica.node if hasattr(replica, "manager") else ""
        asked = ADDRESS.sub("", repr((before, name, given, named)))
        try:
            result = method(replica, *given, **named)
        except Exception as error:
            diary.write(asked, type(error), str(error))
            raise
        diary.write(asked, result)
        return result

    return call


def watch() -> None:
    """Record every public method of the core. None of them is compiled: `Replica` is what brokers call."""
    for name, method in list(vars(Replica).items()):
        if isfunction(method) and not name.startswith("_"):
            setattr(Replica, name, recorded(name, method))


def walk(seed: int, profile: str) -> dict[str, object]:
    """One walk, digested. Its error is part of what is compared."""
    global diary  # noqa: PLW0603 - one at a time
    diary = Diary()
    made, error = Walk(seed, profile=PROFILES[profile]), ""
    try:
        made.run()
    except Exception as found:
        error = f"{type(found).__name__}: {found}"
    world = made.world
    for host, node in sorted(world.nodes.items()):
        diary.write(host, node.disk.image())
    return {
        "seed": seed,
        "profile": profile,
        "digest": str(diary),
        "calls": diary.calls,
        "hash": world.hash,
        "events": world.scheduler.steps,
        "acknowledged": len(world.checker.acked),
        "error": error,
    }


def files() -> dict[str, bool]:
    """Of each module of the list, whether it runs compiled."""
    return {module: not str(import_module(module).__file__).endswith(".py") for module in compiled.MODULES}


def main(first: int, runs: int) -> None:
    watch()
    walks = [walk(seed, profile) for profile in PROFILES for seed in range(first, first + runs)]
    print(json.dumps({"running": compiled.RUNNING, "compiled": files(), "walks": walks}))


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
