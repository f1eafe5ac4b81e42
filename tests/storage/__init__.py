"""What a power cut, a failing disk or a flipped bit does to the files of a node. See docs/stores.md."""
