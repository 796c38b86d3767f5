"""Messages and errors that a person reads, written in English and translated where they are shown."""
