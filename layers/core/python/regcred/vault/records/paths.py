"""Where each document of the mount lies; paths are relative to the mount."""

from __future__ import annotations

from regcred.reference import Reference, check_label

INDEX = "_index"
"""The name of a project's index beside its credentials; no registry can have it (not a DNS label)."""

SIGNAL = "signals/ended"
"""Where rotate says of which projects a credential was ended."""


def project_path(project: str) -> str:
    """Where platform admins say what a project may use."""
    return f"platform/projects/{check_label(project, field='project')}"


def cluster_path(cluster: str) -> str:
    """Where platform admins say which namespaces of a cluster may use which projects."""
    return f"platform/clusters/{check_label(cluster, field='cluster')}"


def identity_path(cluster: str) -> str:
    """Where it is pinned which cluster has this name."""
    return f"identities/{check_label(cluster, field='cluster')}"


def registry_path(reference: Reference) -> str:
    """Where a registry's definition lies."""
    return f"registries/{reference}"


def upstream_path(reference: Reference) -> str:
    """Where the upstream secret lies; its owner may write it, only rotate may read it."""
    return f"upstream/{reference}"


def request_path(reference: Reference) -> str:
    """Where a user asks for something to be done now."""
    return f"requests/{reference}"


def revocation_path(reference: Reference) -> str:
    """Where a user asks for a credential to be ended: apart from all other requests, so that these are found first."""
    return f"requests/{reference.project}/revoke/{reference.registry}"


def rotation_path(reference: Reference) -> str:
    """Where rotate keeps its claim and its A/B slots."""
    return f"rotations/{reference}"


def credential_path(reference: Reference) -> str:
    """Where the credential lies, ready to project."""
    return f"credentials/{reference}"


def index_path(project: str) -> str:
    """Where a project's index lies."""
    return f"credentials/{check_label(project, field='project')}/{INDEX}"


def history_path(project: str) -> str:
    """Where the last outcomes of a project's registries lie."""
    return f"history/{check_label(project, field='project')}"


def status_path(cluster: str, project: str) -> str:
    """Where the sync of a cluster says what is in place, and keeps its ledger."""
    return f"status/{check_label(cluster, field='cluster')}/{check_label(project, field='project')}"
