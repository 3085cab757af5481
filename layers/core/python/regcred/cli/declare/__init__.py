"""``regcred diff``, ``apply``, ``export`` and ``schema``: manage the state of Vault as files."""
