"""Plans the names of Secrets in ServiceAccounts, and the eviction of stuck Pods that lack them. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta

from regcred.cluster.annotations import reference_of
from regcred.cluster.model import NAMESPACE, LedgerEntry, Namespace, Workload
from regcred.registry_reference import Reference
from regcred.sync.actions import EvictPod, UpdateServiceAccount, account_key
from regcred.sync.plan_input import PlanInput

SEEN_WITHIN = timedelta(seconds=10)
"""How long the API server may give new Pods the earlier list of a ServiceAccount."""


@dataclass(frozen=True, slots=True)
class AccountPlan:
    """The part of a plan for the ServiceAccounts of one namespace.

    Args:
        inputs: The observations and settings.
        namespace: The namespace.
        entries: Its entries in the ledger.
    """

    inputs: PlanInput
    namespace: Namespace
    entries: Mapping[Reference, LedgerEntry]

    def actions(
        self, wanted: Mapping[Reference, list[Workload]], named: set[Reference]
    ) -> Iterator[UpdateServiceAccount | EvictPod]:
        """Update the ServiceAccounts.

        A name that nothing needs is removed together with its Secret, not here.

        A name does not wait for its Secret: a Pod needs the name when it is created, and the Secret only when
        it pulls.

        Args:
            wanted: The workloads that request each reference.
            named: The references whose Secret is in place and stays, or is about to be created.
        """
        by_account: dict[str, set[str]] = {}
        everywhere: set[str] = set()
        for reference in named:
            for workload in wanted[reference]:
                if workload.kind is NAMESPACE:
                    everywhere.add(reference.secret_name)
                elif runs_as := account_of(self.inputs, workload):
                    by_account.setdefault(runs_as, set()).add(reference.secret_name)
        tied = {
            reference.secret_name
            for reference, entry in self.entries.items()
            if reference not in named and entry.version is not None
        }
        in_place = {reference.secret_name for reference, entry in self.entries.items() if entry.version}
        for name, account in self.inputs.inventory.accounts(self.namespace.name).items():
            if (self.namespace.name, account_key(name)) in self.inputs.busy:
                continue
            want = by_account.get(name, set()) | everywhere
            have = set(account.ours)
            surplus = sorted(other for other in have - want - tied if reference_of(other))
            if want - have or surplus:
                yield UpdateServiceAccount(
                    self.namespace.name, name, tuple(sorted(want - have)), tuple(surplus)
                )
            elif want & in_place:
                yield from self._evictions(name, want & in_place)

    def _evictions(self, account: str, names: set[str]) -> Iterator[EvictPod]:
        """Evict Pods that lack names which their ServiceAccount has, so that their replacements get them.

        A Pod that is younger than the first eviction has its own list of pull Secrets. Kubernetes adds no
        names of the ServiceAccount to such a list, so its replacement would lack them too.
        """
        since = self.inputs.evicting.get((self.namespace.name, account))
        until = f"{since + SEEN_WITHIN:%Y-%m-%dT%H:%M:%SZ}" if since else ""
        for pod in self.inputs.inventory.stuck_pods(self.namespace.name):
            lacks = pod.service_account == account and names - pod.pull_secrets
            is_older = not until or pod.created <= until
            if lacks and is_older and (self.namespace.name, pod.name) not in self.inputs.busy:
                yield EvictPod(self.namespace.name, pod.name, account, pod.version)


def is_unattached(
    inputs: PlanInput, namespace: Namespace, reference: Reference, workloads: Iterable[Workload]
) -> bool:
    """Whether a ServiceAccount lacks the name of a Secret that workloads request."""
    accounts = inputs.inventory.accounts(namespace.name)
    lacking = {name for name, account in accounts.items() if reference.secret_name not in account.ours}
    return any(
        lacking if workload.kind is NAMESPACE else account_of(inputs, workload) in lacking
        for workload in workloads
    )


def account_of(inputs: PlanInput, workload: Workload) -> str:
    """The ServiceAccount of a workload's Pods; empty if unknown."""
    source = inputs.inventory.template_source(workload) if workload.template_of else None
    return workload.service_account or (source.service_account if source else "")
