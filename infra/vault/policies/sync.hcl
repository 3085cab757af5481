# Version 1
# sync of a cluster. One policy for all: `cluster` is metadata of the entity, which platform operators set.
# Never use metadata of aliases here: it is filled from claims, which a cluster signs for itself.
# The projects that a cluster may read come from its membership in their reader groups, not from here.

path "${mount}/data/platform/clusters/{{identity.entity.metadata.cluster}}" {
  capabilities = ["read"]
}

path "${mount}/metadata/platform/clusters/{{identity.entity.metadata.cluster}}" {
  capabilities = ["read"]
}

# Grants by project admins. Only those within the limits of platform/clusters count.
path "${mount}/data/delegated/{{identity.entity.metadata.cluster}}/*" {
  capabilities = ["read"]
}

path "${mount}/metadata/delegated/{{identity.entity.metadata.cluster}}/*" {
  capabilities = ["read"]
}

path "${mount}/data/status/{{identity.entity.metadata.cluster}}/*" {
  capabilities = ["create", "update", "read"]
}

path "${mount}/metadata/status/{{identity.entity.metadata.cluster}}/*" {
  capabilities = ["read", "list"]
}

# The cluster of the name. It is pinned once (no update), so that another cluster is refused.
path "${mount}/data/identities/{{identity.entity.metadata.cluster}}" {
  capabilities = ["create", "read"]
}

# The projects in which a credential was ended, without their names.
path "${mount}/data/signals/ended" {
  capabilities = ["read"]
}

path "${mount}/metadata/signals/ended" {
  capabilities = ["read"]
}
