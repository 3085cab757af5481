"""Texts for people on every surface, derived from observations.

Pure: the command line and the console share it.
"""
