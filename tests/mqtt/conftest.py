"""The MQTT broker is not part of the library: it is amqtt, and these tests need a client."""

import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

if find_spec("amqtt") is None or find_spec("paho") is None:
    raise pytest.UsageError("tests/mqtt need amqtt and paho-mqtt: pip install -e '.[mqtt]', or make setup")

sys.path.insert(0, str(Path(__file__).parents[2] / "examples" / "amqtt"))
