"""Tools for testing what is built on this library: for its own tests, and for those of embedders.

Nothing in the library imports this package.
"""
