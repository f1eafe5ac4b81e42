"""Real servers that keep a cluster's record, on loopback ports and in temporary folders, with faults.

    server.py         free ports, and one process of a server: start, kill, pause, stop
    wire.py           a TCP proxy in front of a server: slow, cut, refused or silent connections
    certificates.py   an authority and certificates, as files
    etcd.py           an etcd ensemble of three members
    zookeeper.py      a ZooKeeper ensemble of three members
    postgresql.py     a primary of PostgreSQL and a standby

Whatever is started here ends with the test that started it: in order at its end, and by the kernel's
``PR_SET_PDEATHSIG`` if the test's process dies.
"""
