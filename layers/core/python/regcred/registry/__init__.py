"""The place *registry*: definitions, the minter interface, one file per provider, verification."""
