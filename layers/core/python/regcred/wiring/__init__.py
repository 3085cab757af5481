"""Connects the verbs to the real classes. Each module loads only what its own edge needs."""
