"""huey, a task queue with threads, on the replicated state of a cluster.

unit        changes that are stored together; what a primary knows besides the replicated state
storage     huey's storage on `Node.sync`, for the threads of the process with the node
consumer    huey's consumer: the outcome of a task is stored together with its removal
remote      the same storage for other processes, over TCP; and the port that serves them
__main__    the server: a node, the port, and the consumer where the node is primary
"""

from huey_ha.consumer import Consumer
from huey_ha.remote import ClusterStorage, Port
from huey_ha.storage import ReplicatedStorage

__all__ = ["ClusterStorage", "Consumer", "Port", "ReplicatedStorage"]
