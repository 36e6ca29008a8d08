"""The owner's side of device groups: administration commands, one handler each, pure."""
