"""Runs of a simulated cluster written as text, with the expected output under each command.

scenario    the interpreter               commands   what commands share
cluster, clients, faults, checks          the commands, by subject
"""
