"""The AMQP broker is not part of the library: it needs Proton's engine, and these tests its client."""

import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

if find_spec("proton") is None:
    raise pytest.UsageError("tests/amqp need Proton: pip install -e '.[amqp]', or make setup")

sys.path.insert(0, str(Path(__file__).parents[2] / "examples" / "amqp"))
