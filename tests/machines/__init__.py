"""Machines made of network namespaces: each has a cable, an IPv4 and an IPv6 address; a switch connects them.

    requirements.py   what this machine lacks for it
    runs.py           the name of a run, and the removal of what dead runs left
    host.py           a machine: its namespace, its processes
    network.py        the switch, and the faults between machines
    forwarder.py      a cable with delay, jitter, reordering and duplication
    site.py           brokers, members of etcd and clients, each on a machine
    pacemaker.py      Corosync and Pacemaker on machines
    managed.py        a site whose brokers Pacemaker manages

It needs root and Linux. Nothing is made in the namespace of the test itself, so parallel runs do not meet.
"""
