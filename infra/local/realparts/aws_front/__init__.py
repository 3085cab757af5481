"""The server behind `AWS_ENDPOINT_URL`. It checks requests as AWS does, and answers STS and ECR itself.

moto answers the other services. moto does not check signatures, trust policies and expiry, and its ECR token
expired in 2015. So this server does it:

- It checks Signature Version 4 of every request with botocore's signer.
- STS AssumeRole checks the role's trust policy (principal, ExternalId, session tags), durations and policy
  sizes.
- STS GetWebIdentityToken issues a JWT with the claims that AWS documents. Its keys are at the issuer's JWKS
  address.
- ECR GetAuthorizationToken issues a login that the local registry accepts until it expires.

A second port is for tests: it has roles, faults, the lifetime of ECR logins, and the list of calls.
"""
