"""What adapters and nodes need to know of the operating system: forks of this process, and mounted file systems."""
