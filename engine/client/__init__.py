"""What terminal and command line use to start, follow, ask, stop and resume engines. No torch."""
