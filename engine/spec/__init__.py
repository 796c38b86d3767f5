"""What the engine and the terminal agree on: the run spec, events, commands, folders, presets.

Nothing here imports torch or anything else that is slow to load.
"""
