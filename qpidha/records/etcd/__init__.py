"""The record store for the nodes of several machines: etcd 3.4 or later, through its JSON gateway."""

from qpidha.records.etcd.store import EtcdRecordStore

__all__ = ["EtcdRecordStore"]
