"""The place *registry*: definitions, the provider interface, one file per provider, and verification."""
