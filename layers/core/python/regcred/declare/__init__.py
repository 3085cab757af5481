"""Declared state: reads files, compares them with Vault, and writes the differences.

``files`` reads files, ``live_objects`` reads Vault, ``plan`` compares (pure), and ``apply`` writes.
``export`` writes files from Vault. ``migration`` plans files from the pull secrets of a cluster.
"""
