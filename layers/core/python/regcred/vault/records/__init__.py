"""The documents of the ``regcred/`` mount as values; pure: text in, record out, and back."""
