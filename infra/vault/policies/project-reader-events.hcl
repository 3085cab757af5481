# Version 1
# Readers of project ${project} on HashiCorp Vault Enterprise, beside the policy project-reader: they hear that a credential
# was written, and read it by the other policy. An event holds no secret.

path "${mount}/data/credentials/${project}/*" {
  capabilities          = ["list", "subscribe"]
  subscribe_event_types = ["kv-v2/*"]
}

path "${mount}/metadata/credentials/${project}/*" {
  capabilities          = ["list", "subscribe"]
  subscribe_event_types = ["kv-v2/*"]
}
