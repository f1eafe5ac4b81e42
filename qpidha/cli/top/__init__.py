"""``qpidha top``: all nodes of a cluster on one live screen, or once as plain text.

places    where the nodes are, by the arguments of the command
watch     asks each node again and again, in a thread for each
samples   what a node has answered of late, and what follows from two answers: rates, latencies, lag
cluster   all nodes together: which of them to believe
cells     numbers and names of a width
view      the cluster in, lines out; knows no terminal
orders    what keys ask of a node, in words
app       the live screen: the only module that needs textual
"""
