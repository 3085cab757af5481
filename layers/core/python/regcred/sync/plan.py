"""Decides what to do in a cluster. Pure: from observations to a list of actions.

Its rules: A missing document is not a revocation. A Secret is removed only on positive proof. Nothing is done twice. Actions
that Pods may be waiting for go first. Too many removals at once wait until somebody confirms them, unless a person asked for
them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from regcred.cluster.annotations import reference_of
from regcred.cluster.model import NAMESPACE, UID_DIGITS, LedgerEntry, Mode, Namespace, Workload
from regcred.reference import Reference
from regcred.sync.actions import (
    Action,
    EmitEvent,
    EvictPod,
    Plan,
    Remove,
    UpdateLedger,
    UpdateServiceAccount,
    WriteSecret,
    account_key,
)
from regcred.sync.brake import ACCIDENTS, brake, held_events, held_notes
from regcred.sync.messages import (
    REASON_OF,
    Reason,
    Why,
    expiring,
    mode_not_allowed,
    no_pod_template,
    refusal,
    restart_needed,
)
from regcred.sync.view import UNREAD, Knowledge, ProjectView, Registry, RegistryState, View

NOTHING = LedgerEntry()
GONE = {RegistryState.REVOKED: Why.REVOKED, RegistryState.REMOVED: Why.REMOVED}
"""The states of a registry that prove that a Secret must be removed."""
LEFT_ALONE = frozenset({Why.CLASH, Why.NOT_WRITTEN})
"""Refusals that only a successful write can end."""
SEEN_WITHIN = timedelta(seconds=10)
"""How long the API server may give new Pods the earlier list of a ServiceAccount."""

WARN_BEFORE = timedelta(hours=1)
"""How long before its expiry sync warns about a credential that has no refresh time."""


@dataclass(slots=True)
class _Draft:
    notes: list[Action] = field(default_factory=list)
    firsts: list[Action] = field(default_factory=list)
    accounts: list[Action] = field(default_factory=list)
    refreshes: list[Action] = field(default_factory=list)
    removals: list[Remove] = field(default_factory=list)
    tells: list[Action] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Decision:
    """The decision about one reference in one namespace that asks for it."""

    version: int | None = None
    """The version to have in place. None keeps the current one."""
    why: Why | None = None
    """Why no newer version is written."""
    remove: bool = False
    detail: str = ""


def make_plan(view: View, scope: Iterable[str] | None = None) -> Plan:
    """Decide what to do.

    Args:
        view: The observations.
        scope: The namespaces that changed; None for all. Only a plan for all namespaces warns about expiries, and removes
            Secrets that are unneeded or whose registry is gone. There the brake can compare all removals.
    """
    draft = _Draft()
    everything = scope is None
    names = sorted({*view.inventory.namespaces, *view.places}) if scope is None else sorted(set(scope))
    steady = _steady(view)
    for name in names:
        _plan_namespace(view, name, draft, steady, everything=everything)
    allowed, held = brake(view, draft.removals) if everything else (draft.removals, [])
    if everything:
        draft.notes += held_notes(view, held)
        draft.tells += held_events(view, held)
    # Without a document of grants, the name may be misspelt. Then owners must not read a wrong reason.
    tells = [] if view.grants.knowledge is Knowledge.ABSENT else draft.tells
    actions = (*draft.notes, *draft.firsts, *draft.accounts, *draft.refreshes, *allowed, *tells)
    return Plan(actions, tuple(held), view.in_place, view.rules.cluster)


def _steady(view: View) -> dict[Reference, int]:
    """The registries that need nothing but this version in place."""
    return {
        Reference(project, name): registry.version
        for project, known in view.projects.items()
        for name, registry in known.registries.items()
        if registry.state not in GONE and registry.version and not is_expiring(registry, view.now)
    }


def is_expiring(registry: Registry, now: datetime) -> bool:
    """Whether a renewal is so late that the owners of workloads must know."""
    if registry.expires_at is None:
        return False
    refresh_at = registry.refresh_at or registry.expires_at - 2 * WARN_BEFORE
    return now >= refresh_at + (registry.expires_at - refresh_at) / 2


def _is_settled(
    view: View, namespace: Namespace, places: Mapping[Reference, LedgerEntry], steady: Mapping[Reference, int]
) -> bool:
    """A fast check whether a namespace clearly needs no work. Most namespaces need none most of the time."""
    if namespace.mode and not view.rules.allows(namespace.mode):
        return False
    mode = view.rules.mode_of(namespace)
    if mode is Mode.SERVICEACCOUNT or view.grants.knowledge is not Knowledge.KNOWN:
        return False
    uid = namespace.uid[:UID_DIGITS]
    wanted: set[Reference] = set()
    for workload in view.inventory.requests(namespace.name):
        if workload.malformed or workload.template_of or not (workload.admitted or mode is Mode.NONE):
            return False
        wanted.update(workload.references)
    return len(wanted) == len(places) and all(
        reference in places
        and places[reference] == LedgerEntry(steady.get(reference, 0) or None, uid)
        and view.grants.allow(reference.project, namespace.name)
        for reference in wanted
    )


def _plan_namespace(
    view: View, name: str, draft: _Draft, steady: Mapping[Reference, int], *, everything: bool
) -> None:
    namespace = view.inventory.namespaces.get(name)
    places = view.places.get(name, {})
    if namespace is not None and not namespace.terminating:
        if _is_settled(view, namespace, places, steady):
            return
        _NamespacePlan(view, namespace, places, draft, everything=everything).make()
    elif namespace is None and view.inventory.complete:
        draft.notes += [UpdateLedger(name, reference, forget=True) for reference in places]


def decide(view: View, namespace: Namespace, reference: Reference, place: LedgerEntry) -> Decision:
    """The decision about a reference in a namespace that asks for it."""
    grants = view.grants
    if grants.knowledge is Knowledge.UNREADABLE and not place.version:
        return Decision(why=Why.UNREADABLE, detail="the grants of this cluster can't be read")
    if grants.knowledge is not Knowledge.UNREADABLE and not grants.allow(reference.project, namespace.name):
        return Decision(why=Why.NOT_GRANTED, remove=grants.knowledge is Knowledge.KNOWN)
    project = view.projects.get(reference.project, UNREAD)
    registry = project.registries.get(reference.registry)
    if registry is None:
        return _decide_unlisted(project, reference, place)
    if registry.state in GONE:
        return Decision(why=GONE[registry.state], remove=True)
    if registry.version == 0:
        why = Why.PUBLIC if registry.state is RegistryState.OK else Why.NOT_READY
        return Decision(why=why, detail=registry.error)
    return Decision(version=registry.version)


def _decide_unlisted(project: ProjectView, reference: Reference, place: LedgerEntry) -> Decision:
    """There is no index, or it lacks the registry. That is a reason to refuse, but never a reason to remove."""
    if problem := project.unreadable.get(reference.registry):
        return Decision(why=Why.UNREADABLE, detail=problem)
    if project.knowledge is Knowledge.KNOWN or (
        project.knowledge is Knowledge.ABSENT and place.version is None
    ):
        return Decision(why=Why.NO_SUCH_REGISTRY)
    return Decision(why=Why.UNREADABLE, detail=project.problem)


@dataclass(frozen=True, slots=True)
class _NamespacePlan:
    """The part of a plan for one namespace that exists and is not being deleted."""

    view: View
    namespace: Namespace
    places: Mapping[Reference, LedgerEntry]
    draft: _Draft
    everything: bool

    def make(self) -> None:
        wanted: dict[Reference, list[Workload]] = {}
        for workload in self.view.inventory.requests(self.namespace.name):
            for reference in workload.references:
                wanted.setdefault(reference, []).append(workload)
            self._tell_about_itself(workload)
        kept = {
            reference for reference, workloads in wanted.items() if self._plan_wanted(reference, workloads)
        }
        for reference, place in self.places.items():
            if reference not in wanted:
                self._plan_unneeded(reference, place)
        if self._mode is Mode.SERVICEACCOUNT and self.view.inventory.complete:
            self._plan_accounts(wanted, kept)

    @property
    def _mode(self) -> Mode:
        return self.view.rules.mode_of(self.namespace)

    def _current(self, place: LedgerEntry) -> LedgerEntry:
        """What is in place in this namespace, but not in an earlier one with the same name."""
        return place if place.version is None or place.uid == self.namespace.uid[:UID_DIGITS] else NOTHING

    def _is_busy(self, reference: Reference) -> bool:
        return (self.namespace.name, reference) in self.view.busy

    def _registry(self, reference: Reference) -> Registry | None:
        return self.view.projects.get(reference.project, UNREAD).registries.get(reference.registry)

    def _plan_wanted(self, reference: Reference, workloads: list[Workload]) -> bool:
        """Plan a reference that something asks for. Return whether its Secret is in place and stays."""
        place = self._current(self.places.get(reference, NOTHING))
        verdict = decide(self.view, self.namespace, reference, place)
        if verdict.why is not None:
            self._refuse(reference, place, verdict, workloads)
            if verdict.remove and place.version is not None:
                self._remove(reference, verdict.why)
        elif verdict.version is not None:
            self._provide(reference, place, verdict.version)
            self._note_health(reference, place, workloads)
        if not verdict.remove and place.version:
            self._warn_of_expiry(reference, workloads)
        return verdict.why is None and bool(place.version)

    def _provide(self, reference: Reference, place: LedgerEntry, version: int) -> None:
        if self._is_busy(reference):
            return
        project = WriteSecret(self.namespace.name, self.namespace.uid, reference, version, place.version)
        if project.first:
            self.draft.firsts.append(project)
        elif self._is_newer(reference, version, project.old or 0) or place.refused == Why.NOT_WRITTEN:
            self.draft.refreshes.append(project)

    def _note_health(self, reference: Reference, place: LedgerEntry, workloads: list[Workload]) -> None:
        """Clear old refusals, and record what still prevents Pods from using the Secret."""
        older = [workload for workload in workloads if self._mode is Mode.ADMISSION and not workload.admitted]
        self.draft.tells += [self._restart(workload, reference) for workload in older]
        refused = Why.RESTART if older else None
        if place.refused not in LEFT_ALONE and (place.unused_since or place.refused != (refused or "")):
            self.draft.notes.append(UpdateLedger(self.namespace.name, reference, refused=refused))

    def _is_newer(self, reference: Reference, version: int, placed: int) -> bool:
        """Whether to write. A lower version in the index is a stale read, unless Vault is known to be restored."""
        registry = self._registry(reference)
        return version > placed or (registry is not None and registry.rewound and version != placed)

    def _refuse(
        self, reference: Reference, place: LedgerEntry, verdict: Decision, workloads: list[Workload]
    ) -> None:
        why = verdict.why
        if why is None or (why is Why.UNREADABLE and place.version is not None):
            return
        if place.refused != why:
            self.draft.notes.append(UpdateLedger(self.namespace.name, reference, refused=why))
        if why is not Why.UNREADABLE:
            cluster = self.view.rules.cluster
            note = refusal(why, reference, self.namespace.name, cluster=cluster, detail=verdict.detail)
            self.draft.tells += [
                EmitEvent(workload, REASON_OF[why], note, reference, why) for workload in workloads
            ]

    def _plan_unneeded(self, reference: Reference, place: LedgerEntry) -> None:
        current = self._current(place)
        if current.version is None:
            self.draft.notes.append(UpdateLedger(self.namespace.name, reference, forget=True))
            return
        grants = self.view.grants
        if grants.knowledge is Knowledge.KNOWN and not grants.allow(reference.project, self.namespace.name):
            self._remove(reference, Why.NOT_GRANTED)
            return
        if not self.view.inventory.complete:
            return
        registry = self._registry(reference)
        if registry is not None and registry.state in GONE:
            self._remove(reference, GONE[registry.state])
            return
        now = self.view.now
        since = datetime.fromisoformat(current.unused_since) if current.unused_since else now
        if not current.unused_since:
            self.draft.notes.append(UpdateLedger(self.namespace.name, reference, unused_since=now))
        if now >= since + self.view.rules.grace and self._can_be_detached():
            self._remove(reference, Why.UNNEEDED)

    def _can_be_detached(self) -> bool:
        """Whether it is known which ServiceAccounts name the Secret. Until then, the Secret does no harm."""
        return self._mode is not Mode.SERVICEACCOUNT or self.view.inventory.accounts_known

    def _remove(self, reference: Reference, why: Why) -> None:
        if not self.everything and why in ACCIDENTS:
            return  # only a plan for all namespaces can judge it
        if (self.namespace.name, reference) in self.view.blocked_removals:
            return
        accounts = self.view.inventory.accounts(self.namespace.name)
        naming = [name for name, account in accounts.items() if reference.secret_name in account.ours]
        self.draft.removals.append(Remove(self.namespace.name, reference, why, tuple(naming)))

    def _plan_accounts(self, wanted: Mapping[Reference, list[Workload]], kept: set[Reference]) -> None:
        """Update the ServiceAccounts. A name that nothing needs is removed together with its Secret, not here."""
        by_account: dict[str, set[str]] = {}
        everywhere: set[str] = set()
        for reference in kept:
            for workload in wanted[reference]:
                if workload.kind is NAMESPACE:
                    everywhere.add(reference.secret_name)
                elif runs_as := self._account(workload):
                    by_account.setdefault(runs_as, set()).add(reference.secret_name)
        tied = {
            reference.secret_name
            for reference, place in self.places.items()
            if reference not in kept and place.version is not None
        }
        for name, account in self.view.inventory.accounts(self.namespace.name).items():
            if (self.namespace.name, account_key(name)) in self.view.busy:
                continue
            want = by_account.get(name, set()) | everywhere
            have = set(account.ours)
            surplus = sorted(other for other in have - want - tied if reference_of(other))
            if want - have or surplus:
                change = UpdateServiceAccount(
                    self.namespace.name, name, tuple(sorted(want - have)), tuple(surplus)
                )
                self.draft.accounts.append(change)
            elif want:
                self._evict_stuck(name, want)

    def _evict_stuck(self, account: str, names: set[str]) -> None:
        """Evict Pods that lack the names. The ServiceAccount has them, so only a replacement Pod can get them.

        A Pod that is younger than the first eviction has its own list. The ServiceAccount's list is never added to it, and a
        replacement would be the same.
        """
        since = self.view.evicting.get((self.namespace.name, account))
        until = f"{since + SEEN_WITHIN:%Y-%m-%dT%H:%M:%SZ}" if since else ""
        for pod in self.view.inventory.stuck_pods(self.namespace.name):
            lacks = pod.service_account == account and names - pod.pull_secrets
            is_older = not until or pod.created <= until
            if lacks and is_older and (self.namespace.name, pod.name) not in self.view.busy:
                self.draft.accounts.append(EvictPod(self.namespace.name, pod.name, account))

    def _tell_about_itself(self, workload: Workload) -> None:
        self.draft.tells += [
            EmitEvent(workload, Reason.MALFORMED, f"{line}.", topic=line) for line in workload.malformed
        ]
        if workload.template_of and self._mode is not Mode.NONE and not self._is_asked_by_template(workload):
            kind, source = workload.kind, workload.template_of
            note = no_pod_template(kind.name, workload.name, where=".".join(kind.template), source=source)
            self.draft.tells.append(EmitEvent(workload, Reason.NO_POD_TEMPLATE, note))
        mode, rules = self.namespace.mode, self.view.rules
        if workload.references and mode and not rules.allows(mode):
            note = mode_not_allowed(mode, self.namespace.name, cluster=rules.cluster, usual=rules.mode)
            self.draft.tells.append(EmitEvent(workload, Reason.MODE_NOT_ALLOWED, note, topic=mode))

    def _account(self, workload: Workload) -> str:
        """The ServiceAccount of a workload's Pods; empty if unknown."""
        source = self._source(workload) if workload.template_of else None
        return workload.service_account or (source.service_account if source else "")

    def _source(self, workload: Workload) -> Workload | None:
        """The annotated object that holds the pod template of a custom workload."""
        requests = self.view.inventory.requests(self.namespace.name)
        return next((it for it in requests if (it.kind.name, it.name) == workload.template_of), None)

    def _is_asked_by_template(self, workload: Workload) -> bool:
        """Whether the object that holds the pod template asks for the same reference, so that Pods get the names."""
        source = self._source(workload)
        return source is not None and set(workload.references) <= set(source.references)

    def _restart(self, workload: Workload, reference: Reference) -> EmitEvent:
        note = restart_needed(workload.kind.name, workload.name, self.namespace.name)
        return EmitEvent(workload, Reason.RESTART_NEEDED, note, reference, Why.RESTART)

    def _warn_of_expiry(self, reference: Reference, workloads: list[Workload]) -> None:
        registry = self._registry(reference)
        if not self.everything or registry is None or registry.expires_at is None:
            return
        if is_expiring(registry, self.view.now):
            note = expiring(reference, registry.expires_at, self.view.now, registry.error)
            topic = registry.expires_at.isoformat()
            self.draft.tells += [
                EmitEvent(workload, Reason.EXPIRING, note, reference, topic=topic) for workload in workloads
            ]
