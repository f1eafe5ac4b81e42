"""Close the stores that a test leaves open to imitate a killed process."""

from tests.support.stores import release_stores

__all__ = ["release_stores"]
