"""The terminal: a Textual wizard, live panes and chat, and the `loris` command. No torch here."""
