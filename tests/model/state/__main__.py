"""The command: see the docstring of the package."""

from __future__ import annotations

import sys
from typing import Any

from tests.model import state
from tests.model.state.options import OPTIONS, configure
from tests.model.state.rules import RULES
from tests.model.state.search import bfs, shortest, walk

SEARCHES = (
    "bfs only:   limit=STATES tlimit=SECONDS he=N want=WORD",
    "walk only:  walks=N steps=120 tlimit=120 seed0=0 tries=4 want=WORD",
)


def usage() -> str:
    lines = [(state.__doc__ or "").rstrip(), "", "Options, with their defaults:"]
    lines += [f"  {name + '=' + str(default):14} {text}" for name, (default, text) in OPTIONS.items()]
    lines += ["", *SEARCHES, "", "Rules that -RULE removes:"]
    return "\n".join(lines + [f"  {'-' + name:14} {code:4} {text}" for name, (code, text) in RULES.items()])


def show(result: dict[str, Any]) -> None:
    print({name: value for name, value in result.items() if name != "trace"})
    if result.get("trace"):
        print("  trace: " + " ; ".join(" ".join(str(a) for a in label) for label in result["trace"]))
    sys.stdout.flush()


def main(args: list[str]) -> int:
    if not args or args[0] not in ("bfs", "walk", "full"):
        print(usage())
        return 2
    if args[0] == "full":
        from tests.model.state.full import full

        return full(args[1:])
    off: list[str] = []
    options: dict[str, Any] = {}
    more: dict[str, Any] = {}
    for arg in args[1:]:
        if arg.startswith("-"):
            off.append(arg[1:])
            continue
        name, value = arg.split("=")
        (options if name in OPTIONS else more)[name] = int(value) if value.isdigit() else value
    configure(off, **options)
    if args[0] == "bfs":
        result = bfs(
            more.get("limit", 1_500_000), more.get("tlimit", 600), more.get("he", 20), more.get("want")
        )
    else:
        steps = more.get("steps", 120)
        result = walk(
            more.get("walks", 1_000_000),
            steps,
            more.get("tlimit", 120),
            more.get("seed0", 0),
            more.get("want"),
        )
        if result["err"]:
            result = shortest(result, steps, more.get("tries", 4))
    show(result)
    return 1 if result["err"] else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
