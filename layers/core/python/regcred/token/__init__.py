"""The token server of the system registry: who may pull and push what, told to the registry in short-lived tokens.

Contract: the token authentication specification of Distribution,
https://distribution.github.io/distribution/spec/auth/token/ and https://distribution.github.io/distribution/spec/auth/oauth/
"""
