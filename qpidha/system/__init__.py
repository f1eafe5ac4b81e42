"""The operating system, as adapters and nodes need to know it: forks, mounts, and who owns created files."""
