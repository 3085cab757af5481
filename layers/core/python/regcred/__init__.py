"""Regcred: short-lived, pull-only registry credentials for the namespaces that request them.

The folders in the order of the data: ``registry`` creates a credential, ``rotate`` writes it to ``vault``,
and ``sync`` copies it to the ``cluster``.
"""

__version__ = "0.1.0"
