"""What a test needs and the machine lacks."""

from __future__ import annotations

import os
from typing import NoReturn

import pytest


def leave_out(message: str) -> NoReturn:
    """Skip the test; fail where nothing may be left out (CI).

    Args:
        message: What is missing, and how to get it.
    """
    if os.environ.get("CI"):
        pytest.fail(message)
    pytest.skip(message)
