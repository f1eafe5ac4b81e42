"""All interleavings of a small cluster over the real core, judged in every state: ``python -m`` this package.

scope       what may happen, and how often       cluster    the states of a cluster, and its actions
nodes       the real core and driver as steps    tables     each step taken once, then looked up
search      the order in which states come       trace      a counterexample in words
invariants  what must hold in each of them       keys, draft, life    canonical forms
"""

from qpidha.testing.explorer.search import Explorer, Found

__all__ = ["Explorer", "Found"]
