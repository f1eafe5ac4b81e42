"""A deterministic simulation of whole clusters, and checkers of what must hold in them.

Public: use it to test a fork of the protocol, another queue type or another sequence of failures. Nothing
here imports a test framework.
"""
