"""The controller process: its command line, its lock, and its parts put together."""
