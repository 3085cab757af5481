"""Regcred: short-lived, pull-only registry credentials, from Vault to the namespaces that ask for them.

Follow the data by folder: ``registry`` (mint) → ``rotate`` → ``vault`` (keep) → ``sync`` → ``cluster``
(project).
"""

__version__ = "0.1.0"
