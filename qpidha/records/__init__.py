"""Record stores: where a cluster keeps its record, which names the primary, the generation and the members."""

from qpidha.records.etcd import EtcdRecordStore
from qpidha.records.file import FileRecordStore
from qpidha.records.memory import MemoryRecordStore
from qpidha.records.postgresql import PostgreSqlRecordStore
from qpidha.records.tls import TlsFiles
from qpidha.records.url import open_records
from qpidha.records.zookeeper import ZooKeeperRecordStore

__all__ = [
    "EtcdRecordStore",
    "FileRecordStore",
    "MemoryRecordStore",
    "PostgreSqlRecordStore",
    "TlsFiles",
    "ZooKeeperRecordStore",
    "open_records",
]
