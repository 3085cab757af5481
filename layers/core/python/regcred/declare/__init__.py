"""Declared state: reads files, compares them with Vault, and writes the difference.

``files`` reads the files, ``live`` reads Vault, ``plan`` compares (pure), ``apply`` writes. ``export`` writes
files from Vault.
"""
