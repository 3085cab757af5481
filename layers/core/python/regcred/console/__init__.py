"""The console: a server-rendered web application over the records in Vault.

It has no rights. Every read and every write goes to Vault with the token of the person who signed in.
"""
