# Version 1
# Readers of project ${project}: its clusters (members are derived from platform/projects/${project}), and any
# other tool that pulls. A token with this policy can pull whatever the project can pull, until each
# credential expires.

path "${mount}/data/credentials/${project}/*" {
  capabilities = ["read"]
}

path "${mount}/metadata/credentials/${project}/*" {
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
