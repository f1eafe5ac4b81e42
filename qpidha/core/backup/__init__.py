"""What a backup does: it follows its primary over one session, and a plan makes it equal to the primary."""
