#!/usr/bin/env python3
"""Starts one node of the AMQP broker: see `amqp_broker.__main__`."""

import sys

try:
    import proton  # noqa: F401
except ImportError:
    sys.exit("amqp: the broker needs Proton's engine: pip install 'python-qpid-proton>=0.39'")

from amqp_broker.__main__ import main

main()
