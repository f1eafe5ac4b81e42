"""What is raised when an engine's programs are not installed."""

from __future__ import annotations

import shutil
from pathlib import Path

DEBIAN = "on Debian and Ubuntu: apt-get install"


class EngineMissing(Exception):
    """A program of an engine is not installed. The message says what to install."""


def require_program(program: str, package: str) -> None:
    """Raise `EngineMissing` if a program is not found."""
    if shutil.which(program) is None:
        raise EngineMissing(f"{program} is not installed; {DEBIAN} {package}")


def require_file(path: Path, package: str) -> None:
    """Raise `EngineMissing` if a file is not there."""
    if not path.exists():
        raise EngineMissing(f"{path} is not there; {DEBIAN} {package}")
