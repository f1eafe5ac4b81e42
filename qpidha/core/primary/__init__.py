"""What the primary of one generation does: gives out ids, serves its backups, completes what is safe."""
