"""Decisions about stores that nobody serves: whether to start with one, which is best, and what record they make."""
