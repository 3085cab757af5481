"""Declared state: files are read, compared with what lies in Vault, and the difference is written.

``files`` reads, ``live`` looks, ``plan`` compares (pure), ``apply`` writes. ``export`` is the way back.
"""
