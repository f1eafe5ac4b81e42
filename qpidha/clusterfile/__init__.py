"""The cluster file: one small TOML file with the nodes, the record and the certificates of a cluster.

`ClusterFile` reads it and makes the parts of a `Node` from it; `find_cluster_file` looks for it in the usual places. The
commands ``qpidha`` read the same file, and ``qpidha init`` writes one. ``docs/cluster-file.md`` has its keys.
"""

from qpidha.clusterfile.errors import ClusterFileError
from qpidha.clusterfile.file import ClusterFile, NodeArguments, find_cluster_file
from qpidha.clusterfile.sections import ClusterNode

__all__ = ["ClusterFile", "ClusterFileError", "ClusterNode", "NodeArguments", "find_cluster_file"]
