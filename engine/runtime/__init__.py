"""What the engine's process consists of besides its work: events, control, socket server, recovery, the end."""
