"""Messages and errors for the user, written in English and translated where they are shown."""
