# Version 1
# sync of a cluster on HashiCorp Vault Enterprise, in addition to the policy sync (events: true in
# platform.yaml). It may open the subscription, and gets events about its own grants. The policy
# project-reader-events has the events about projects. Each path has the same form as in the policy that lets
# sync read it: of two matching patterns, Vault uses only the longer one.

path "sys/events/subscribe/kv-v2/*" {
  capabilities = ["read"]
}

path "${mount}/data/platform/clusters/{{identity.entity.metadata.cluster}}" {
  capabilities          = ["list", "subscribe"]
  subscribe_event_types = ["kv-v2/*"]
}

path "${mount}/metadata/platform/clusters/{{identity.entity.metadata.cluster}}" {
  capabilities          = ["list", "subscribe"]
  subscribe_event_types = ["kv-v2/*"]
}
