# Version 1
# Admins of project ${project}: people. They define registries, write upstream secrets that they can't read
# back, request rotations, and see the outcomes. They can't read credentials, and can't change what the
# project may use.

path "${mount}/metadata/registries/${project}" {
  capabilities = ["list"]
}

path "${mount}/data/registries/${project}/*" {
  capabilities = ["create", "update", "read"]
}

path "${mount}/metadata/registries/${project}/*" {
  capabilities = ["read", "delete"]
}

path "${mount}/data/upstream/${project}/*" {
  capabilities = ["create", "update"]
}

path "${mount}/metadata/upstream/${project}/*" {
  capabilities = ["read", "delete"]
}

path "${mount}/data/requests/${project}/*" {
  capabilities = ["create", "update", "read"]
}

path "${mount}/metadata/requests/${project}/*" {
  capabilities = ["read", "delete"]
}

path "${mount}/data/credentials/${project}/_index" {
  capabilities = ["read"]
}

path "${mount}/metadata/credentials/${project}/_index" {
  capabilities = ["read"]
}

# To grant the project to namespaces, within the limits that platform admins set for each cluster.
path "${mount}/data/delegated/+/${project}" {
  capabilities = ["create", "update", "read"]
}

path "${mount}/metadata/delegated/+/${project}" {
  capabilities = ["read"]
}

path "${mount}/data/status/+/${project}" {
  capabilities = ["read"]
}

path "${mount}/metadata/status/+/${project}" {
  capabilities = ["read"]
}

# The additional documents of a large status.
path "${mount}/data/status/+/${project}/*" {
  capabilities = ["read"]
}

path "${mount}/data/platform/projects/${project}" {
  capabilities = ["read"]
}

path "${mount}/data/history/${project}" {
  capabilities = ["read"]
}

# To sign in to the system registry: a token with the identity of its holder, and nothing else.
path "identity/oidc/token/regcred-system" {
  capabilities = ["read"]
}

# The addresses of the system registry.
path "${mount}/data/system/config" {
  capabilities = ["read"]
}
