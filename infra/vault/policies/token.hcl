# Version 1
# token server of the system registry: it signs, and reads who may do what. It reads no credential and no
# upstream secret.

path "regcred-transit/sign/access/sha2-256" {
  capabilities = ["update"]
}

path "regcred-transit/sign/logins/sha2-256" {
  capabilities = ["update"]
}

path "${mount}/data/system/config" {
  capabilities = ["read"]
}

path "${mount}/data/system/keys" {
  capabilities = ["read"]
}

path "${mount}/data/system/ended/*" {
  capabilities = ["create", "update", "read"]
}

path "${mount}/metadata/system/ended/*" {
  capabilities = ["read"]
}

path "${mount}/data/system/used/*" {
  capabilities = ["create", "update", "read"]
}

path "${mount}/metadata/system/used/*" {
  capabilities = ["read"]
}

path "${mount}/data/platform/projects/*" {
  capabilities = ["read"]
}

# To check whether a document was never written. Its version is then 0.
path "${mount}/metadata/platform/projects/*" {
  capabilities = ["read"]
}

path "${mount}/metadata/system/*" {
  capabilities = ["read"]
}

path "identity/oidc/introspect" {
  capabilities = ["update"]
}

# The groups of people, and their names.
path "identity/entity/id/*" {
  capabilities = ["read"]
}

path "identity/group/id/*" {
  capabilities = ["read"]
}
