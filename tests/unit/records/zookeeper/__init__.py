"""`ZooKeeperRecordStore`, without a server."""
