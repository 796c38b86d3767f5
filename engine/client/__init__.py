"""How a terminal or a script launches an engine, follows it and asks it for things. No torch here."""
