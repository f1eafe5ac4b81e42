"""Installs the resource agent for Pacemaker: ``qpidha ocf install``."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path

from qpidha.cli.console import OK, PROBLEM, deliver, fail
from qpidha.cli.text import name
from qpidha.system.texts import plain_text

RESOURCE_AGENTS = "/usr/lib/ocf/resource.d/qpidha"
"""Where Pacemaker looks for ``ocf:qpidha:qpidha``."""
SYSTEM_PYTHON = "/usr/bin/python3"
NEW_ENOUGH = "import sys; sys.exit(sys.version_info < (3, 10))"
SHEBANG_CHARS_MAX = 120
CHECK_TIMEOUT_S = 20.0


def run_install(args: argparse.Namespace) -> int:
    """Run ``qpidha ocf install``; returns the exit code."""
    from qpidha.ocf import agent

    python = args.python or (SYSTEM_PYTHON if runs_agent(SYSTEM_PYTHON) else os.path.realpath(sys.executable))
    if not fits_shebang(python) or not runs_agent(python):
        return fail(
            f"{name(python)} cannot run the agent: give the path of a Python 3.10 or later, in UTF-8, without spaces "
            f"and of at most {SHEBANG_CHARS_MAX} characters",
            PROBLEM,
        )
    _, _, program = Path(agent.__file__).read_text(encoding="utf-8").partition("\n")
    goal = args.to / "qpidha"
    try:
        args.to.mkdir(mode=0o755, parents=True, exist_ok=True)
        written = (
            args.to / ".qpidha.new"
        )  # Pacemaker takes no file for an agent whose name begins with a dot.
        written.write_text(f"#!{python} -IS\n{program}", encoding="utf-8")
        written.chmod(0o755)
        os.replace(written, goal)
    except OSError as error:
        return fail(f"the agent cannot be installed as {name(goal)}: {error.strerror}", PROBLEM)
    return deliver(args, OK, {"agent": goal, "python": python}, [f"installed {name(goal)}, run by {python}"])


def fits_shebang(python: str) -> bool:
    """Whether this can be in the first line of a program. Python takes no source that is not UTF-8."""
    return len(python.split()) == 1 and len(python) <= SHEBANG_CHARS_MAX and plain_text(python) == python


def runs_agent(python: str) -> bool:
    """Whether this is a Python that the agent can use."""
    try:
        done = subprocess.run(  # noqa: S603 - the user's own choice
            [python, "-IS", "-c", NEW_ENOUGH], check=False, capture_output=True, timeout=CHECK_TIMEOUT_S
        )
    except (OSError, subprocess.SubprocessError):
        return False
    return done.returncode == 0
