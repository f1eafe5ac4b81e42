"""Tests of a node's files after power cuts, disk failures and flipped bits. See docs/stores.md."""
