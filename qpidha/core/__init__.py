"""The replication protocol, sans-I/O: no sockets, clock, threads, randomness, logging or broker calls.

Time comes in as ``now``, ids and random values as arguments; effects go out as a `Ready`. Rules are
named where the code keeps them (C5, J2, …) and explained in ``docs/protocol.md``.
"""
