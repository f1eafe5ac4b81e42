"""What tests need of a server program besides `qpidha.engines.server`: to be left out where it is not installed."""

from __future__ import annotations

import shutil

from qpidha.engines.server import Server, ServerFailed
from tests.support.missing import leave_out

__all__ = ["Server", "ServerFailed", "require"]


def require(program: str, package: str) -> None:
    """Skip the test if a program is missing; fail where nothing may be left out (CI)."""
    if shutil.which(program):
        return
    message = f"{program} is not installed. On Debian and Ubuntu: apt-get install {package}"
    leave_out(message)
