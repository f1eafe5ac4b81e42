"""Runs of a simulated cluster written as text, with the expected result under each command."""
