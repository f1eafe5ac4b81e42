"""``python -m qpidha``: the same as the command ``qpidha``."""

import sys

from qpidha.cli import main

if __name__ == "__main__":
    sys.exit(main())
