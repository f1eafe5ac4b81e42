"""The huey server is not part of the library: these tests need huey, which brings its own tests along."""

import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

if find_spec("huey") is None:
    raise pytest.UsageError("tests/huey need huey: pip install -e '.[huey]', or make setup")

sys.path.insert(0, str(Path(__file__).parents[2] / "examples" / "huey"))
