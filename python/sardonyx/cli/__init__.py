"""The command line: its commands, what they share, and `main`."""
