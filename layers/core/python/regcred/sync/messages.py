"""The messages of sync for owners of workloads and platform admins. Pure."""

from __future__ import annotations

from datetime import datetime, timedelta
from enum import StrEnum

from regcred.cluster.annotations import MODE
from regcred.cluster.model import Mode
from regcred.printable import command
from regcred.registry_reference import Reference


class Why(StrEnum):
    """Why a reference is not, or no longer, projected into a namespace. The ledger records it."""

    NOT_GRANTED = "not-granted"
    NO_SUCH_REGISTRY = "no-such-registry"
    NOT_READY = "not-ready"
    """The registry exists, but has no credential yet."""
    PUBLIC = "public"
    """The registry is public, so there is no credential to place."""
    UNREADABLE = "unreadable"
    """Vault refuses to answer, or can't be reached."""
    REVOKED = "revoked"
    REMOVED = "removed"
    CLASH = "clash"
    """A Secret with our name exists that is not ours."""
    NOT_WRITTEN = "not-written"
    """A quota, webhook or policy of the cluster forbids the Secret. The ledger's ``detail`` has the
    reason."""
    NOT_READ = "not-read"
    """Sync can't read the credential in Vault. The ledger's ``detail`` has the reason."""
    NOT_ATTACHED = "not-attached"
    """The Secret is in place, but the cluster does not allow a ServiceAccount to name it. The ledger's
    ``detail`` has the reason."""
    RESTART = "restart-needed"
    """The Secret is in place, but a workload is older than the admission policies. Its Pods don't name the
    Secret."""
    UNNEEDED = "unneeded"


UNWRITTEN = frozenset({Why.NOT_WRITTEN, Why.NOT_READ})
"""Refusals for which sync tries the write again."""

QUOTED = UNWRITTEN | {Why.NOT_ATTACHED}
"""Refusals whose detail is the message of the API server or Vault."""

LEFT_ALONE = UNWRITTEN | {Why.CLASH}
"""Refusals that only a successful write can end."""


class Reason(StrEnum):
    """The ``reason`` of an Event."""

    NOT_GRANTED = "NotGranted"
    NO_SUCH_REGISTRY = "NoSuchRegistry"
    NOT_READY = "NotReady"
    NOT_NEEDED = "NotNeeded"
    MALFORMED = "MalformedReference"
    EXPIRING = "CredentialExpiring"
    REVOKED = "CredentialRevoked"
    RESTART_NEEDED = "RestartNeeded"
    NAME_TAKEN = "SecretNameTaken"
    NOT_WRITTEN = "NotWritten"
    NOT_ATTACHED = "NotAttached"
    REMOVAL_HELD = "RemovalHeld"
    PLACED = "CredentialPlaced"
    NO_POD_TEMPLATE = "NoPodTemplate"
    MODE_NOT_ALLOWED = "ModeNotAllowed"


NORMAL_REASONS = frozenset({Reason.NOT_NEEDED, Reason.PLACED})
"""The reasons of Events that are not warnings."""


REASON_OF = {
    Why.NOT_GRANTED: Reason.NOT_GRANTED,
    Why.NO_SUCH_REGISTRY: Reason.NO_SUCH_REGISTRY,
    Why.NOT_READY: Reason.NOT_READY,
    Why.PUBLIC: Reason.NOT_NEEDED,
    Why.UNREADABLE: Reason.NOT_READY,
    Why.REVOKED: Reason.REVOKED,
    Why.REMOVED: Reason.NO_SUCH_REGISTRY,
    Why.CLASH: Reason.NAME_TAKEN,
    Why.NOT_WRITTEN: Reason.NOT_WRITTEN,
    Why.NOT_READ: Reason.NOT_WRITTEN,
    Why.NOT_ATTACHED: Reason.NOT_ATTACHED,
    Why.RESTART: Reason.RESTART_NEEDED,
}


_REFUSALS = {
    Why.NOT_GRANTED: (
        "Namespace {namespace} may not use project {project} in cluster {cluster}, so Regcred places no "
        "pull credential for {reference} here. A platform admin can grant it: {grant}"
    ),
    Why.NO_SUCH_REGISTRY: (
        "Project {project} has no registry named {registry} with a credential. Check the annotation. A "
        "project admin can add the registry: {add} . If it was just added, Regcred places its credential "
        "as soon as it exists."
    ),
    Why.NOT_READY: (
        "Registry {reference} has no credential yet. Regcred places it here as soon as it exists. {detail}"
    ),
    Why.PUBLIC: "Registry {reference} is public and needs no credential. Remove the annotation.",
    Why.UNREADABLE: (
        "Regcred can't read project {project} in Vault, so it places no pull credential for {reference} "
        "here yet. {detail}"
    ),
    Why.REVOKED: (
        "The project revoked the credential of {reference}, so Regcred removes its Secret. The next "
        "rotation creates it again."
    ),
    Why.REMOVED: "The project removed registry {reference}. Remove the annotation.",
    Why.CLASH: (
        "A Secret named {secret} exists in namespace {namespace} that Regcred did not create, so Regcred "
        "does not change it. Delete it, or create it again under another name, to receive the credential of "
        "{reference}. {detail}"
    ),
    Why.NOT_WRITTEN: (
        "The pull Secret {secret} could not be written in namespace {namespace}, and sync retries every "
        "half minute. The cluster's answer: {detail}"
    ),
    Why.NOT_READ: (
        "The pull Secret {secret} could not be written in namespace {namespace}, because sync can't read "
        "the credential of {reference} in Vault. Sync retries every half minute, and a Secret that is in "
        "place stays. Vault's answer: {detail}"
    ),
    Why.NOT_ATTACHED: (
        "The pull Secret {secret} is in place, but a ServiceAccount of namespace {namespace} could not be "
        "changed to name it, so new Pods don't use it. Sync retries every half minute. The cluster's answer: "
        "{detail}"
    ),
    Why.UNNEEDED: "Nothing in namespace {namespace} needs {reference} any longer.",
}


def refusal(why: Why, reference: Reference, namespace: str, *, cluster: str, detail: str = "") -> str:
    """One or two sentences for the workload's owner: what is wrong, and who can fix it."""
    text = _REFUSALS[why].format(
        reference=reference,
        project=reference.project,
        registry=reference.registry,
        secret=reference.secret_name,
        namespace=namespace,
        cluster=cluster,
        grant=command("regcred", "grant", "add", "--cluster", cluster, reference.project, namespace),
        add=command("regcred", "registry", "add", str(reference)),
        detail=detail if why in QUOTED or not detail else f"({detail})",
    )
    return text.strip()


def attached(reference: Reference, account: str) -> str:
    """For the owner of a workload whose ServiceAccount could not be changed before."""
    return f"ServiceAccount {account} now names the pull Secret {reference.secret_name}."


def not_removed(reference: Reference, namespace: str, answer: str) -> str:
    """For the owner of a workload whose Secret could not be removed."""
    return (
        f"The pull Secret {reference.secret_name} should no longer be in namespace {namespace}, but it "
        f"could not be removed. The cluster's answer: {answer}"
    )


def confirm_removals(cluster: str) -> str:
    """The command that confirms the removals that the brake holds."""
    return command("regcred", "cluster", "confirm-removals", cluster)


def removal_held(reference: Reference, namespace: str, why: Why, *, count: int, cluster: str) -> str:
    """For platform admins, about a removal that the brake holds."""
    cause = "nothing needs it any longer" if why is Why.UNNEEDED else "its registry was removed"
    return (
        f"The pull Secret {reference.secret_name} in namespace {namespace} would be removed because {cause}. "
        f"{count} removals at once may be a mistake, so sync holds them. "
        f"To confirm them, a platform admin runs: {confirm_removals(cluster)}"
    )


def placed(reference: Reference, namespace: str) -> str:
    """For an owner who has had an Event about the missing credential."""
    return (
        f"The pull credential of {reference} is in place in namespace {namespace} now: Secret "
        f"{reference.secret_name}."
    )


def expiring(reference: Reference, expires_at: datetime, now: datetime, error: str) -> str:
    """For the owner of a workload whose credential was not renewed in time."""
    left = expires_at - now
    when = f"expires in {duration(left)}" if left > timedelta(0) else f"expired {duration(-left)} ago"
    tail = f" Its last renewal failed: {error}" if error else " It was not renewed in time."
    return f"The pull credential of {reference} {when} ({expires_at:%Y-%m-%d %H:%M} UTC).{tail}"


def restart_needed(kind: str, name: str, namespace: str) -> str:
    """For the owner of a workload that is older than the admission policy."""
    if kind in {"Deployment", "StatefulSet", "DaemonSet"}:
        restart = ("kubectl", "-n", namespace, "rollout", "restart", f"{kind.lower()}/{name}")
        remedy = f"Restart it: {command(*restart)}"
    else:
        remedy = "Delete and create it again."
    return (
        f"No admission policy of Regcred has seen {kind} {name} since it was annotated, so its Pods don't "
        f"name their pull Secrets. {remedy}"
    )


def no_pod_template(kind: str, name: str, *, where: str, source: tuple[str, str]) -> str:
    """For the owner of a custom workload that takes its pod template from another object.

    Args:
        kind: The workload's kind.
        name: Its name.
        where: The path at which it would have a pod template.
        source: Kind and name of the object that has it, if the workload names one.
    """
    other = " ".join(filter(None, source)) or "another object"
    return (
        f"{kind} {name} has no pod template at {where}. Its Pods use the pod template of {other}, so they "
        f"don't get the names of the pull Secrets that {name} needs. Put the annotations on the pod "
        f"template of {other} instead."
    )


_ALLOWED_BY = {
    Mode.ADMISSION: "admissionPolicies.enabled=true",
    Mode.SERVICEACCOUNT: "serviceAccountMode.allowed=true",
    Mode.NONE: "mode=none",
}
"""The Helm value that enables a mode."""


def mode_not_allowed(mode: Mode, namespace: str, *, cluster: str, usual: Mode) -> str:
    """For the owner of a workload whose namespace has a mode that its cluster is not set up for."""
    remove = command("kubectl", "label", "namespace", namespace, f"{MODE}-")
    return (
        f"Namespace {namespace} chooses mode {mode} with its label {MODE}, but cluster {cluster} does not "
        "allow that mode. Regcred places pull Secrets here, but Pods don't get their names. To use the "
        f"cluster's mode {usual}, remove the label: {remove} . A platform admin can allow it in the chart: "
        f"{_ALLOWED_BY[mode]}"
    )


def duration(span: timedelta) -> str:
    """A duration in one unit.

    It is coarse, so that an Event that an earlier process has written has the same text and is not repeated.
    """
    if span < timedelta(minutes=1):
        return f"{max(int(span.total_seconds()), 0)} s"
    if span < timedelta(hours=2):
        return f"{span // timedelta(minutes=1)} min"
    return f"{span // timedelta(hours=1)} h"
