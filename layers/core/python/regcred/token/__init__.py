"""The token server of the system registry: gives the registry short-lived tokens with each caller's access.

Contract: the token authentication specification of Distribution,
https://distribution.github.io/distribution/spec/auth/token/ and
https://distribution.github.io/distribution/spec/auth/oauth/
"""
