# Version 1
# Platform operators run `regcred platform apply`, preferably in a pipeline with a short-lived token. An
# operator writes policies and sign-in methods, so it can take any identity within Regcred's mount and attach
# any policy of this server to a group. Protect such a token like a root token.

path "sys/mounts" {
  capabilities = ["read"]
}

path "sys/mounts/${mount}" {
  capabilities = ["create", "update", "read"]
}

path "${mount}/config" {
  capabilities = ["create", "update", "read"]
}

# The system registry's signing keys and identity tokens, without the right to sign.
path "sys/mounts/regcred-transit" {
  capabilities = ["create", "update", "read"]
}

path "regcred-transit/keys/+" {
  capabilities = ["create", "update", "read"]
}

path "identity/oidc/key/regcred-system" {
  capabilities = ["create", "update", "read"]
}

path "identity/oidc/role/regcred-system" {
  capabilities = ["create", "update", "read"]
}

path "sys/policies/acl" {
  capabilities = ["list"]
}

path "sys/policies/acl/regcred-*" {
  capabilities = ["create", "update", "read", "delete"]
}

path "sys/auth" {
  capabilities = ["read"]
}

path "sys/auth/regcred-*" {
  capabilities = ["create", "update", "read", "delete", "sudo"]
}

path "auth/regcred-*" {
  capabilities = ["create", "update", "read", "delete", "list"]
}

path "identity/entity/id" {
  capabilities = ["list"]
}

path "identity/entity/name" {
  capabilities = ["list"]
}

path "identity/entity/name/regcred-*" {
  capabilities = ["create", "update", "read", "delete"]
}

path "identity/entity-alias" {
  capabilities = ["create", "update"]
}

path "identity/entity-alias/id/*" {
  capabilities = ["read", "update", "delete"]
}

path "identity/group/name" {
  capabilities = ["list"]
}

path "identity/group/name/regcred-*" {
  capabilities = ["create", "update", "read", "delete"]
}

path "sys/quotas/rate-limit" {
  capabilities = ["list"]
}

path "sys/quotas/rate-limit/regcred-*" {
  capabilities = ["create", "update", "read", "delete"]
}

path "${mount}/metadata/platform/*" {
  capabilities = ["list", "read"]
}

path "${mount}/data/platform/*" {
  capabilities = ["read"]
}

# To sign all people out of the console after a leak of its sealing keys. The console creates new ones at its
# next request.
path "${mount}/metadata/console/sealing" {
  capabilities = ["delete"]
}
