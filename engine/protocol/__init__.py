"""What the engine and its clients say to each other: events, commands, and the state that events add up to."""
