"""Pacemaker as promoter: the resource agent that ``qpidha ocf install`` installs, and its installation.

`qpidha.ocf.agent` is a program of one file that imports nothing but the standard library: Pacemaker runs it every
second, and the interpreter starts in a fraction of the time that the library takes to import.
"""
