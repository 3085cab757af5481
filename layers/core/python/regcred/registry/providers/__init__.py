"""One file per vendor: each turns a definition into a credential."""
