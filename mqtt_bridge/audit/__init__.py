"""What was done and by whom: a chain of lines that shows when one was changed."""
