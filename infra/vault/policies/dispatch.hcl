# Version 1
# dispatch (Lambda): decides what is due. Lists names, reads indexes and versions; sees no secret and writes nothing.

path "${mount}/data/platform/projects/*" {
  capabilities = ["read"]
}

path "${mount}/metadata/registries" {
  capabilities = ["list"]
}

path "${mount}/metadata/registries/*" {
  capabilities = ["list", "read"]
}

path "${mount}/metadata/requests/*" {
  capabilities = ["list"]
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
