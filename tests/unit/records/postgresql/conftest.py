"""Servers of PostgreSQL that are played."""

from tests.unit.records.postgresql.fake import fake

__all__ = ["fake"]
