"""The protocol between the engine and its clients: events, commands, and the run state built from events."""
