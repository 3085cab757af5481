"""In front of the Distribution registry: its token server, and the Basic authentication of ECR host names.

- `GET|POST /auth/token`: the token server (distribution spec: 401 only for bad credentials, else what is
  asked cut down to what is allowed). A credential that has expired or was revoked is refused at once; an
  access token lives for 60 s, or for what its credential has left.
- An ECR host name asks for Basic, as the real one does, and takes `AWS:` logins of the ECR stand-in until
  they expire.
- Everything else goes to Distribution as it is, which checks the access token itself.
- On a second port, for this machine's tests: users, revocation and the list of what was request_fields.
"""
