"""What all tests share: how hard hypothesis tries, and a header that says which build is tested.

HYPOTHESIS_PROFILE=quick | default | ci | thorough chooses the effort. CI repeats the same examples at every
run, so that a red run is the change's doing; elsewhere each run tries new ones.
"""

import os
from importlib.util import find_spec

from hypothesis import HealthCheck, settings

# A busy machine is no reason to fail: a test has a time limit, its examples have none.
_PATIENT = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

settings.register_profile("quick", _PATIENT, max_examples=20)
settings.register_profile("default", _PATIENT, max_examples=100)
settings.register_profile("ci", _PATIENT, max_examples=200, derandomize=True, print_blob=True)
settings.register_profile("thorough", _PATIENT, max_examples=5000)

_PROFILE = os.environ.get("HYPOTHESIS_PROFILE") or ("ci" if os.environ.get("CI") else "default")
settings.load_profile(_PROFILE)


def pytest_report_header() -> str:
    """Name the extension in use: a stale or missing one is the first thing to suspect."""
    extension = find_spec("qpidha._seq")
    built = extension.origin if extension else "extensions not built (`make test` builds them)"
    return f"qpidha: {built}, hypothesis profile: {_PROFILE}"
