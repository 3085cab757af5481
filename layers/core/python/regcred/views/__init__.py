"""What people are shown on every surface, from what was observed. Pure: the command line and the console share it."""
