"""A simulated cluster in virtual time: real cores and drivers on simulated disks, networks and managers."""
