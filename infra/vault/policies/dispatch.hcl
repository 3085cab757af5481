# Version 1
# dispatch (Lambda): finds what is due. It lists names, and reads indexes and versions. It sees no secret and
# writes nothing.

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
