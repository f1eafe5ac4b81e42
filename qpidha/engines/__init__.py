"""Engines that keep a record, started for a demonstration or a test and removed afterwards.

`ENGINES` has an entry for each, and `Ensemble` is its servers as one thing. The programs must be installed. Tests share
`server`, which is one process, and the command lines of `etcd` and `zookeeper`.
"""

from qpidha.engines.ensemble import ENGINES, EngineMissing, Ensemble

__all__ = ["ENGINES", "EngineMissing", "Ensemble"]
