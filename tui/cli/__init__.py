"""The command `loris`: one module a command."""
