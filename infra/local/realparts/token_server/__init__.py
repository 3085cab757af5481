"""The server in front of the Distribution registry: its token server, and Basic authentication as in ECR.

- `GET|POST /auth/token` is the token server. By the distribution spec, it responds with 401 only to bad
  credentials, and otherwise grants those of the requested actions that are allowed. It refuses an expired or
  revoked credential at once. An access token lives for 60 s, but not longer than its credential.
- An ECR host name requires Basic authentication, and accepts `AWS:` logins of the ECR stand-in until they
  expire.
- All other requests go unchanged to Distribution, which checks the access token.
- A second port is for tests: it has users, revocation and the list of requests.
"""
