# Version 1
# Platform admins: people. They decide what each project may use and which namespaces of each cluster may use
# it, and set the members of the projects' groups. So they can make any person a reader or an admin of any
# project: audit it. This policy gives no access to credentials and upstream secrets, and no right to change
# policies.

path "${mount}/metadata/platform/*" {
  capabilities = ["list", "read", "delete"]
}

path "${mount}/data/platform/*" {
  capabilities = ["create", "update", "read"]
}

# Grants by project admins: to read them, and to delete unreadable ones.
path "${mount}/data/delegated/*" {
  capabilities = ["read"]
}

path "${mount}/metadata/delegated/*" {
  capabilities = ["list", "read", "delete"]
}

path "${mount}/metadata/registries" {
  capabilities = ["list"]
}

# To delete invalid names, as under "requests".
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

# To delete unreadable documents. The sync writes what it needs again.
path "${mount}/metadata/status/*" {
  capabilities = ["list", "read", "delete"]
}

path "${mount}/data/status/*" {
  capabilities = ["read"]
}

# The members of the projects' groups, but not their policies.
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

# To check how a project is set up.
path "sys/policies/acl/regcred-*" {
  capabilities = ["read"]
}

path "${mount}/data/history/*" {
  capabilities = ["read"]
}

# The cluster of each name. `regcred cluster reset` deletes it.
path "${mount}/metadata/identities" {
  capabilities = ["list"]
}

path "${mount}/metadata/identities/*" {
  capabilities = ["list", "read", "delete"]
}

path "${mount}/data/identities/*" {
  capabilities = ["read"]
}

# To sign in to the system registry: a token with the identity of its holder, and nothing else.
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

# To withdraw old versions. No other setting, because one of them makes keys exportable.
path "regcred-transit/keys/+/config" {
  capabilities = ["update"]
  allowed_parameters = {
    "min_encryption_version" = []
    "min_decryption_version" = []
  }
}
