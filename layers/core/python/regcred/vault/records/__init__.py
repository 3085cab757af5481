"""The documents of the ``regcred/`` mount as values. Pure: converts text to records, and back."""
