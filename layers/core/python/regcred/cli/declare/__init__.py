"""``regcred diff``, ``apply``, ``export`` and ``schema``: the fleet as files."""
