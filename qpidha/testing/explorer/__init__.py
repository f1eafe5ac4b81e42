"""All interleavings of a small cluster over the real core, each state checked: ``python -m`` this package.

scope         the size of the cluster, and how often things happen   tables  numbers for values
cluster       the actions that are possible in a state               trace   a counterexample as text
transition    one action in a state          clients       what they published and were told
nodes         steps of single nodes          running_node  the real core and driver for one step
invariants, node_invariants  checks          keys          canonical forms of nodes
search        the order of the states
"""

from qpidha.testing.explorer.search import Explorer, SearchResult

__all__ = ["Explorer", "SearchResult"]
