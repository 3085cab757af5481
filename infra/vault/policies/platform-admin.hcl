# Version 1
# Platform admins: people. They decide what each project may use and which namespaces of each cluster may use it, and set who is
# in the projects' groups. Who sets members can make anybody a reader or an admin of any project: audit it.
# They see no credential and no upstream secret by this policy, and can change no policy.

path "${mount}/metadata/platform/*" {
  capabilities = ["list", "read", "delete"]
}

path "${mount}/data/platform/*" {
  capabilities = ["create", "update", "read"]
}

# What project admins have granted by themselves, to read it and to delete what nobody can read.
path "${mount}/data/delegated/*" {
  capabilities = ["read"]
}

path "${mount}/metadata/delegated/*" {
  capabilities = ["list", "read", "delete"]
}

path "${mount}/metadata/registries" {
  capabilities = ["list"]
}

# To delete names that nobody can use, as below "requests".
path "${mount}/metadata/registries/*" {
  capabilities = ["list", "read", "delete"]
}

path "${mount}/metadata/requests" {
  capabilities = ["list"]
}

path "${mount}/metadata/requests/*" {
  capabilities = ["list", "read", "delete"]
}

path "${mount}/data/registries/*" {
  capabilities = ["read"]
}

path "${mount}/metadata/credentials" {
  capabilities = ["list"]
}

path "${mount}/metadata/credentials/+/_index" {
  capabilities = ["read"]
}

path "${mount}/data/credentials/+/_index" {
  capabilities = ["read"]
}

path "${mount}/metadata/status" {
  capabilities = ["list"]
}

# To delete what nobody can read; the sync writes again what it needs.
path "${mount}/metadata/status/*" {
  capabilities = ["list", "read", "delete"]
}

path "${mount}/data/status/*" {
  capabilities = ["read"]
}

# Members of the projects' groups, and nothing else of a group: not its policies.
path "identity/group/name/regcred-*" {
  capabilities = ["read", "update"]
  allowed_parameters = {
    "member_entity_ids" = []
    "member_group_ids"  = []
  }
}

path "identity/group/name" {
  capabilities = ["list"]
}

path "identity/entity/id" {
  capabilities = ["list"]
}

# The names of groups that are members of a project's groups.
path "identity/group/id" {
  capabilities = ["list"]
}

# To see whether a project is set up as it should be.
path "sys/policies/acl/regcred-*" {
  capabilities = ["read"]
}

path "${mount}/data/history/*" {
  capabilities = ["read"]
}

# Which cluster has which name; `regcred cluster reset` deletes it.
path "${mount}/metadata/identities" {
  capabilities = ["list"]
}

path "${mount}/metadata/identities/*" {
  capabilities = ["list", "read", "delete"]
}

path "${mount}/data/identities/*" {
  capabilities = ["read"]
}

# To sign in to the system registry: a token that says who its holder is, and nothing else.
path "identity/oidc/token/regcred-system" {
  capabilities = ["read"]
}

path "${mount}/data/system/config" {
  capabilities = ["create", "update", "read"]
}

path "${mount}/data/system/keys" {
  capabilities = ["create", "update", "read"]
}

path "${mount}/metadata/system/*" {
  capabilities = ["read", "list"]
}

path "${mount}/data/system/ended/*" {
  capabilities = ["create", "update", "read"]
}

path "regcred-transit/keys/*" {
  capabilities = ["read", "list"]
}

path "regcred-transit/keys/+/rotate" {
  capabilities = ["update"]
}

# To withdraw old versions. No other setting: one of them would let the keys out of Vault.
path "regcred-transit/keys/+/config" {
  capabilities = ["update"]
  allowed_parameters = {
    "min_encryption_version" = []
    "min_decryption_version" = []
  }
}
