"""The engine process apart from training and export: events, control, socket server, recovery, after the run."""
