"""Texts for people, derived from observations. The command line and the console share them. Pure."""
