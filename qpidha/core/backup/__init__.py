"""What a backup does: follows its primary over one session, and becomes equal to it by a plan."""
