# Version 1
# Readers of project ${project} on HashiCorp Vault Enterprise, in addition to the policy project-reader. An
# event notifies them that a credential was written, and the other policy lets them read it. An event contains
# no secret.

path "${mount}/data/credentials/${project}/*" {
  capabilities          = ["list", "subscribe"]
  subscribe_event_types = ["kv-v2/*"]
}

path "${mount}/metadata/credentials/${project}/*" {
  capabilities          = ["list", "subscribe"]
  subscribe_event_types = ["kv-v2/*"]
}
