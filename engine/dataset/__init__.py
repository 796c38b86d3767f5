"""What rows of data mean: their format, which column is what, and the example that each row becomes.

The one home of these rules, for the terminal's look at a file and for the engine alike. It reads no file and
imports nothing heavy.
"""
