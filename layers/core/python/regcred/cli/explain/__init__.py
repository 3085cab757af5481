"""``regcred explain``: reads the cluster and Vault, and explains why images can or can't be pulled."""
