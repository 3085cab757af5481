# Version 1
# rotate (Lambda): mints, verifies and writes credentials. The only identity that may read upstream secrets.
# It never soft-deletes or undeletes, and never removes a credential's metadata, because the numbering must
# continue.

path "${mount}/data/platform/projects/*" {
  capabilities = ["read"]
}

path "${mount}/metadata/registries/*" {
  capabilities = ["read"]
}

path "${mount}/data/registries/*" {
  capabilities = ["read"]
}

path "${mount}/data/upstream/*" {
  capabilities = ["read"]
}

path "${mount}/metadata/upstream/*" {
  capabilities = ["read"]
}

path "${mount}/data/requests/*" {
  capabilities = ["read"]
}

# It deletes a request after handling it.
path "${mount}/metadata/requests/*" {
  capabilities = ["read", "delete"]
}

# Claims and A/B slots. They are deleted after the registry.
path "${mount}/data/rotations/*" {
  capabilities = ["create", "update", "read"]
}

path "${mount}/metadata/rotations/*" {
  capabilities = ["read", "delete"]
}

path "${mount}/data/credentials/*" {
  capabilities = ["create", "update", "read"]
}

path "${mount}/metadata/credentials/*" {
  capabilities = ["read"]
}

path "${mount}/destroy/credentials/*" {
  capabilities = ["update"]
}

path "${mount}/data/history/*" {
  capabilities = ["create", "update", "read"]
}

# To replace an unreadable history.
path "${mount}/metadata/history/*" {
  capabilities = ["read"]
}

# Notifies clusters that a project's index has changed.
path "${mount}/data/signals/ended" {
  capabilities = ["create", "update", "read"]
}

path "${mount}/metadata/signals/ended" {
  capabilities = ["read"]
}
