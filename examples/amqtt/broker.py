#!/usr/bin/env python3
"""Starts one node of the MQTT broker: see `mqtt_broker.__main__`."""

import sys

try:
    import amqtt  # noqa: F401
except ImportError:
    sys.exit("mqtt: the broker needs amqtt: pip install 'amqtt==0.12.1'")

from mqtt_broker.__main__ import main

main()
