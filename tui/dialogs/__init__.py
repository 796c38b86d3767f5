"""Modal dialogs. Each returns what was chosen; what follows is the caller's."""
