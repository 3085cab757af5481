# Version 1
# sync of a cluster on HashiCorp Vault Enterprise, beside the policy sync (events: true in platform.yaml): it may open the
# subscription, and hears of its own grants. What it may hear of projects is in project-reader-events.
# Each path is written as in the policy that lets it be read: of two patterns that fit, Vault looks at the longer one only.

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
