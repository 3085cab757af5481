# Version 1
# rotate (Lambda): mints, verifies and writes credentials. The only identity that may read upstream secrets.
# It never soft-deletes or undeletes, and never removes a credential's metadata: its numbering must go on.

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

# A request is taken away once it was acted on.
path "${mount}/metadata/requests/*" {
  capabilities = ["read", "delete"]
}

# Claims and A/B slots; forgotten when the registry is gone.
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

# To begin a history anew that can't be read.
path "${mount}/metadata/history/*" {
  capabilities = ["read"]
}

# Tells clusters to look at a project's index at once.
path "${mount}/data/signals/ended" {
  capabilities = ["create", "update", "read"]
}

path "${mount}/metadata/signals/ended" {
  capabilities = ["read"]
}
