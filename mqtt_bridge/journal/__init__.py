"""What was accepted and what is still to be done, in SQLite: nothing accepted is lost."""
