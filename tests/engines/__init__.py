"""Real servers that keep a cluster's record, on loopback ports and in temporary folders, with faults.

    engine.py         what a test may do to an engine, whichever it is
    etcd.py           an etcd ensemble of three members
    zookeeper.py      a ZooKeeper ensemble of three members
    postgresql.py     a primary of PostgreSQL and a standby
    case.py           one test of a record store on an engine
    server.py         free ports, and one process of a server: start, kill, pause, stop
    wire.py           a TCP proxy in front of a server: slow, cut, refused or silent connections
    certificates.py   an authority and certificates, as files

`test_members`, `test_network`, `test_access`, `test_sessions`, `test_contents` and `test_nodes` are the list of
faults: each is run with each engine. What only one of them has is in `test_etcd`, `test_zookeeper` and `test_postgresql`.

Whatever is started here ends with the test that started it: in order at its end, and by the kernel's
``PR_SET_PDEATHSIG`` if the test's process dies.
"""
