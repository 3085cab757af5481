# Version 1
# The console: the keys that seal its cookies, and nothing else. People see and change only what their own
# tokens allow.

path "${mount}/data/console/sealing" {
  capabilities = ["create", "update", "read"]
}

path "${mount}/metadata/console/sealing" {
  capabilities = ["read"]
}
