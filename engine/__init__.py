"""The engine: a process that loads, trains, exports and answers; and what the terminal uses to reach it."""
