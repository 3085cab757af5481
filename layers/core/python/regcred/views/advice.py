"""Advice about an image: what to do so that it can be pulled. Pure.

Where the observations prove nothing, the advice is a question.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from regcred.printable import command
from regcred.registry_reference import Reference
from regcred.vault.records.index import IndexEntry, State
from regcred.views.observed import Fact, Image, ReferenceFacts, Subject, World
from regcred.wording import duration

PULL_FAILURES = frozenset(
    {
        "ErrImagePull",
        "ImagePullBackOff",
        "ImageInspectError",
        "InvalidImageName",
        "RegistryUnavailable",
        "SignatureValidationFailed",
    }
)
"""The waiting reasons of a container whose image is the problem (kubelet, pkg/kubelet/images, and the errors
of the CRI)."""

SYNC_SILENT = timedelta(hours=1)
"""The age at which a status is too old. Sync writes a status on change, and as a heartbeat every ten
minutes."""

_RESTARTABLE = frozenset({"Deployment", "StatefulSet", "DaemonSet"})


def todo(  # noqa: C901, PLR0911 - a list of independent checks
    image: Image, reference: Reference, known: ReferenceFacts, subject: Subject, world: World, now: datetime
) -> str:
    """The advice for an image with a reference; empty if there is none."""
    entry = known.entry
    if known.defined is Fact.NO and (entry is None or entry.state is State.REMOVED):
        return (
            f"there is no registry {reference}: correct the annotation, or add the registry: regcred "
            f"registry add {reference}"
        )
    if known.granted is Fact.NO:
        words = (
            "grant",
            "add",
            "--cluster",
            world.cluster or "CLUSTER",
            reference.project,
            subject.namespace,
        )
        return f"ask a platform admin: {command('regcred', *words)}"
    if entry and entry.state is State.REVOKED:
        return f"it was revoked; a project admin can get a new one: regcred rotate {reference}"
    if entry and entry.state is State.FAILING and not _usable(entry, now):
        return (
            f"its rotation fails: {entry.error} (for details, a project admin runs: regcred registry show "
            f"{reference})"
        )
    if entry and not _usable(entry, now):
        return (
            "it has expired and was not renewed; is the rotate function running? (regcred status "
            f"{reference})"
        )
    if entry is None and known.no_room:
        return f"it is not rotated: {known.no_room}"
    if entry is None and known.defined is Fact.YES:
        return (
            f"it was added and has no credential yet; wait some minutes, or run: regcred rotate {reference}"
        )
    if prevented := _prevented(reference, known, world):
        return prevented
    if known.present is Fact.NO:
        return _missing(known, world, now)
    if subject.is_pod and reference.secret_name not in subject.named and not image.pulled:
        return unnamed(reference, subject)
    if image.reason in PULL_FAILURES:
        return _after_failure(image, reference, subject)
    return ""


def _prevented(reference: Reference, known: ReferenceFacts, world: World) -> str:
    """The advice if something prevents the write of the Secret; empty if nothing does."""
    why = known.detail or "its reason is unknown"
    match known.refused:
        case "clash":
            return (
                f"a Secret named {reference.secret_name} exists that Regcred did not create; "
                "delete it, or create it again under another name"
            )
        case "not-written":
            return f"the cluster denies the Secret ({why}): fix the cause; sync retries automatically"
        case "not-read":
            return (
                f"sync can't read the credential in Vault ({why}): ask a platform admin whether cluster"
                f" {world.cluster or 'CLUSTER'} may read it; sync retries automatically"
            )
        case "not-attached":
            return (
                f"the cluster denies the Secret's name in a ServiceAccount ({why}): fix the cause; sync "
                "retries automatically"
            )
    return ""


def _usable(entry: IndexEntry, now: datetime) -> bool:
    return entry.version > 0 and (entry.expires_at is None or entry.expires_at > now)


def _missing(known: ReferenceFacts, world: World, now: datetime) -> str:
    if known.ledger:
        words = ("sync", "--cluster", world.cluster or "CLUSTER", "--once", "--repair")
        return (
            f"sync placed version {known.ledger} but the Secret no longer exists, because somebody deleted "
            "it. Sync restores it automatically (docs/sync.md says when); to restore it at once, the "
            f"operator of this cluster runs: {command('regcred', *words)}"
        )
    if known.entry is None:
        return (
            "the Secret does not exist; the cause is unknown, because Vault could not be read: ask a "
            "project admin, or check the log of sync"
        )
    if known.sync_seen is None:
        return (
            "sync has not placed the Secret: is sync running in this cluster, and can it read Vault? Check "
            "its log"
        )
    since = duration(now - known.sync_seen)
    if now - known.sync_seen > SYNC_SILENT:
        return f"sync last wrote its status {since} ago: it does not run, or it can't reach Vault"
    return (
        f"sync of cluster {world.cluster} wrote its status {since} ago but has not placed the Secret: see "
        "its log and its Events (if it has none, is sync running in this cluster?)"
    )


def unnamed(reference: Reference, subject: Subject) -> str:
    """The advice for a Pod whose imagePullSecrets lack the Secret of a requested reference."""
    naming, name = subject.naming, reference.secret_name
    add = f"add '- name: {name}' to imagePullSecrets in the pod template"
    if naming.mode == "none":
        return f"this namespace is in mode none, so you must name the Secret yourself: {add}"
    listed = naming.account_names is not None and name in naming.account_names
    if naming.own_list is Fact.YES and (listed or naming.mode == "serviceaccount"):
        return (
            "the pod template has its own imagePullSecrets list, so Kubernetes ignores the "
            f"ServiceAccount's list: {add} (a restart alone changes nothing)"
        )
    if listed:
        return (
            f"the Pod is older than the entry in ServiceAccount {naming.account}; replace the Pod: "
            f"{restart(subject)}"
        )
    if naming.mode == "serviceaccount":
        return (
            f"ServiceAccount {naming.account} does not list the Secret yet; sync adds it. If it does not, "
            "check the log of sync"
            if naming.account_names is not None
            else "the Pod is older than the entry in its ServiceAccount, or sync has not added the entry; "
            f"replace the Pod: {restart(subject)}"
        )
    if reference in naming.marked and reference in naming.admitted:
        return (
            "the Pod was created with the annotation, but the admission policy on Pods did not add the "
            "name: ask a platform admin whether that policy is installed and applies to this namespace "
            f"and Pod; until then, {add}"
        )
    return (
        f"the Pod is older than its annotation or the admission policy; replace the Pod: {restart(subject)}"
        f" (if the new Pod does not name the Secret either, no policy applies to it: {add})"
    )


def _after_failure(image: Image, reference: Reference, subject: Subject) -> str:
    check = (
        "if the registry refuses this image, check that the repository is within the credential's scope "
        f"(a project admin runs: regcred verify {reference}); otherwise check the image's name and tag"
    )
    match image.reason:
        case "ImagePullBackOff":
            return (
                f"the kubelet retries within 5 minutes; to retry at once: {restart(subject)}. If it fails "
                f"again: {check}"
            )
        case "ErrImagePull":
            return f"the kubelet's message says why: {check}, and whether the node can reach the registry"
    return other_advice(image)


def other_advice(image: Image) -> str:
    """The advice for a pull failure that no credential can fix; empty if there is no such failure."""
    match image.reason:
        case "InvalidImageName":
            return "correct the image's name"
        case "RegistryUnavailable":
            return "check whether the node reaches the registry"
        case "SignatureValidationFailed":
            return "check the image's signature and the node's signature policy"
        case reason if reason in PULL_FAILURES:
            return "check the image's name and tag, and whether the node can reach the registry"
    return ""


def restart(subject: Subject) -> str:
    """The command that replaces this Pod, or advice if no command can do it."""
    if subject.controller and subject.controller[0] in _RESTARTABLE:
        kind, name = subject.controller
        return command("kubectl", "-n", subject.namespace, "rollout", "restart", f"{kind.lower()}/{name}")
    if subject.controller:
        return command("kubectl", "-n", subject.namespace, "delete", "pod", subject.name)
    return f"delete and recreate Pod {subject.namespace}/{subject.name}"
