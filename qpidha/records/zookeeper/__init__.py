"""The record store on a ZooKeeper ensemble."""

from qpidha.records.zookeeper.store import ZooKeeperRecordStore

__all__ = ["ZooKeeperRecordStore"]
