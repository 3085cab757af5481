# Version 1
# The console: the keys that its cookies are sealed with, and nothing else. What people see and do there, they do by their own tokens.

path "${mount}/data/console/sealing" {
  capabilities = ["create", "update", "read"]
}

path "${mount}/metadata/console/sealing" {
  capabilities = ["read"]
}
