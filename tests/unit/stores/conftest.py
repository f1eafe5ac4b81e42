"""Stores that a test here leaves open, as a killed process does, are closed after it."""

from tests.support.stores import release_stores

__all__ = ["release_stores"]
