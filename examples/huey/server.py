#!/usr/bin/env python3
"""Starts one node of the huey server: see `huey_ha.__main__`."""

import sys

try:
    import huey  # noqa: F401
except ImportError:
    sys.exit("huey: it is not installed: pip install 'huey>=3'")

from huey_ha.__main__ import main

main()
