"""The place *vault*: the records of the ``regcred/`` mount, their store, HashiCorp Vault and OpenBao."""
