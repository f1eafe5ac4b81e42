"""An executable model of the replication of all of a broker's state: see docs/state-protocol.md.

It extends the model of message replication (tests/model/model.py): a store has a keyed queue C of configuration objects,
queues that are declared, updated, deleted and declared again, operations of several parts, messages that are updated or
moved by COPY, publishers whose repeated publishes are recognised, a ring, a least number of members, and queues whose
messages are not replicated.

    python -m tests.model.state bfs  [OPTION=N ...] [-RULE ...]   every state within the budgets, breadth first
    python -m tests.model.state walk [OPTION=N ...] [-RULE ...]   random walks with larger budgets, shrunk when they fail
    python -m tests.model.state full [limit=SECONDS] [NAME ...]   all searches of docs/state-protocol.md
    python -m tests.model.state                                   usage: every option, every rule

`-RULE` removes one rule; the search must then find a violation. Python 3.9 or later, no dependencies. The
exit status is 0 if nothing was found, 1 if something was, 2 after the usage text.
"""
