"""The MQTT broker is not part of the library: it is amqtt, and these tests need a client."""

from importlib.util import find_spec

import pytest

if find_spec("amqtt") is None or find_spec("paho") is None:
    raise pytest.UsageError("tests/mqtt need amqtt and paho-mqtt: pip install -e '.[mqtt]', or make setup")
