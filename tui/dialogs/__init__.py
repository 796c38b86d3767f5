"""Modal dialogs. Each returns the user's choice; the caller acts on it."""
