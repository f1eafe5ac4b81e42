"""What must hold in every run, watched on simulated disks and at simulated clients."""
