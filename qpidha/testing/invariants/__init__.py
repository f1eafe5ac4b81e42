"""The invariants of a cluster, checked on simulated disks, on the wire and at simulated clients.

checker      calls the others          generations  F1, F2: one primary in each, none falls
explanations what nodes explain        order        S4: the order of messages
positions    R-a: acknowledgements     facts        contents, comparable
fates        W1, W2: discarded ones    removals     J1: removed members were late
ledger       what clients were told    peers        peer: honest ones are not refused
commits      TX1, TX5, Q1, Q2, Q4      identities   I1, U1, U4: identities and places
violation    how a run ends
"""
