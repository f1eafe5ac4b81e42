"""The record store for the nodes of several machines: PostgreSQL 14 or later, through asyncpg."""

from qpidha.records.postgresql.layout import SCHEMA_SQL
from qpidha.records.postgresql.store import PostgreSqlRecordStore

__all__ = ["SCHEMA_SQL", "PostgreSqlRecordStore"]
