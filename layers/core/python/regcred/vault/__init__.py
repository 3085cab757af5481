"""The place *vault*: the records of the ``regcred/`` mount, the store over them, HashiCorp Vault and OpenBao."""
