"""The paths of the documents, relative to the mount."""

from __future__ import annotations

from regcred.registry_reference import Reference, check_label

INDEX = "_index"
"""The name of a project's index in the folder of its credentials. No registry can have this name, because it
is not a DNS label."""

SIGNAL = "signals/ended"
"""Rotate's signal: the projects that have ended a credential."""


def project_path(project: str) -> str:
    """The platform admins' settings of a project: what it may use."""
    return f"platform/projects/{check_label(project, field='project')}"


def cluster_path(cluster: str) -> str:
    """The platform admins' grants of a cluster: which namespaces may use which projects."""
    return f"platform/clusters/{check_label(cluster, field='cluster')}"


def delegated_path(cluster: str, project: str) -> str:
    """The grants of a cluster that a project's admins have made within their bounds."""
    return f"delegated/{check_label(cluster, field='cluster')}/{check_label(project, field='project')}"


def identity_path(cluster: str) -> str:
    """The cluster that is pinned to this name."""
    return f"identities/{check_label(cluster, field='cluster')}"


def registry_path(reference: Reference) -> str:
    """A registry's definition."""
    return f"registries/{reference}"


def upstream_path(reference: Reference) -> str:
    """The upstream secret. Its owner may write it, but only rotate may read it."""
    return f"upstream/{reference}"


def request_path(reference: Reference) -> str:
    """A user's request."""
    return f"requests/{reference}"


def revocation_path(reference: Reference) -> str:
    """A user's request to end a credential. It is separate from other requests, so that it is found first."""
    return f"requests/{reference.project}/revoke/{reference.registry}"


def rotation_path(reference: Reference) -> str:
    """Rotate's claim and its A/B slots."""
    return f"rotations/{reference}"


def credential_path(reference: Reference) -> str:
    """The credential, ready to project."""
    return f"credentials/{reference}"


def index_path(project: str) -> str:
    """A project's index."""
    return f"credentials/{check_label(project, field='project')}/{INDEX}"


def history_path(project: str) -> str:
    """The last outcomes of a project's registries."""
    return f"history/{check_label(project, field='project')}"


def status_path(cluster: str, project: str, part: int = 0) -> str:
    """The status of a cluster's sync: what is in place, and its ledger.

    The additional parts of a large status are in the folder of the first.
    """
    path = f"status/{check_label(cluster, field='cluster')}/{check_label(project, field='project')}"
    return f"{path}/{part}" if part else path
