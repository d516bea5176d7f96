"""The shell that all commands share: parsers, exit statuses, and what is printed when a command ends."""
