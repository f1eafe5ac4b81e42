"""Random runs of a simulated cluster with every fault there is, drawn from a seed, counted and made short."""
