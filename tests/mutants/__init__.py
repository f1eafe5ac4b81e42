"""Planted bugs: small patches, each of which breaks one rule, and what in the tests notices each of them.

    python -m tests.mutants                     all of them; exit status 1 if one is not noticed
    python -m tests.mutants completes-too-early M2     some, by name or by rule

A suite that stays green whatever is broken says nothing about code that is whole.
"""
