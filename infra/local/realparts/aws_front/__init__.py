"""What `AWS_ENDPOINT_URL` points to: checks every request as AWS does, answers STS and ECR itself, and passes
the rest to moto.

moto checks no signature, no trust policy and no expiry, and its ECR token expired in 2015, so these are done
here:

- Signature Version 4 of every request is computed again with botocore's own signer.
- STS AssumeRole checks the role's trust policy (principal, ExternalId, session tags), durations and policy
  sizes.
- STS GetWebIdentityToken gives a JWT with the claims that AWS documents; its keys are at the issuer's JWKS
  address.
- ECR GetAuthorizationToken gives a login that the local registry honours until it expires.

On a second port, for this machine's tests: roles, faults, the lifetime of ECR logins, and the list of calls.
"""
