"""The Prometheus metrics of sync."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

PREFIX = "regcred_"
FAST = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)

GAUGES = {
    "credential_expiry_timestamp_seconds": ("When a credential in use expires.", ("project", "registry")),
    "credential_last_quarter_timestamp_seconds": (
        "When the last quarter of the life of a credential in use begins.",
        ("project", "registry"),
    ),
    "inventory_complete": (
        "1 if every kind of workload has been listed; 0 delays the removal of unused Secrets.",
        (),
    ),
    "refusals": ("References that are not projected, by reason.", ("reason",)),
    "removals_held": ("Removals that the brake holds until they are confirmed.", ()),
    "secrets_in_place": ("Secrets in place, according to the ledger.", ()),
    "vault_document_known": ("1 if the grants, or a project's index, could be read.", ("document",)),
    "vault_events_connected": ("1 if Vault sends events about changes; 0 if sync only polls.", ()),
    "vault_index_entries_skipped": ("Entries of a project's index that can't be read.", ("project",)),
    "watch_heartbeat_timestamp_seconds": (
        "When a watch last received anything, such as a bookmark.",
        ("kind",),
    ),
}
COUNTERS = {
    "cluster_list_pages_total": ("Pages of lists that were read.", ("kind",)),
    "documents_skipped_total": ("Documents in Vault, or entries of them, that can't be read.", ("kind",)),
    "drift_repairs_total": ("Secrets written again because a Pod may miss them.", ()),
    "events_dropped_total": ("Events dropped for newer ones, because too many of a namespace waited.", ()),
    "events_total": ("Events written about workloads.", ("reason",)),
    "kubernetes_requests_total": (
        "Requests to the API server; code 0 means no response.",
        ("verb", "resource", "code"),
    ),
    "ledger_writes_total": ("Writes of status documents.", ("project", "outcome")),
    "pods_evicted_total": ("Stuck Pods that were evicted, or left to a disruption budget.", ("outcome",)),
    "secrets_removed_total": ("Secrets removed.", ("why",)),
    "secrets_written_total": ("Secrets created or updated.", ("kind",)),
    "vault_credential_reads_total": ("Credentials read from Vault.", ("project",)),
    "vault_requests_total": ("Calls to Vault.", ("operation", "outcome")),
    "watch_failures_total": ("Watches that failed and were started again.", ("kind", "reason")),
    "writes_failed_total": ("Writes to the cluster that failed after several tries.", ("kind",)),
}
HISTOGRAMS = {
    "kubernetes_request_seconds": ("How long the API server took.", ("verb",)),
    "reconcile_seconds": ("How long it took to plan and to queue the actions.", ("scope",)),
    "vault_request_seconds": ("How long calls to Vault took.", ("operation",)),
}


class Metrics:
    """:class:`regcred.sync.metrics.Meter` for Prometheus."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._gauges = {
            name: Gauge(PREFIX + name, *about, registry=self._registry) for name, about in GAUGES.items()
        }
        self._counters = {
            name: Counter(PREFIX + name, *about, registry=self._registry) for name, about in COUNTERS.items()
        }
        self._histograms = {
            name: Histogram(PREFIX + name, *about, registry=self._registry, buckets=FAST)
            for name, about in HISTOGRAMS.items()
        }

    def count(self, name: str, amount: float = 1, **labels: str) -> None:
        """See :class:`Meter`."""
        counter = self._counters[name]
        (counter.labels(**labels) if labels else counter).inc(amount)

    def set(self, name: str, value: float, **labels: str) -> None:
        """See :class:`Meter`."""
        gauge = self._gauges[name]
        (gauge.labels(**labels) if labels else gauge).set(value)

    def time(self, name: str, seconds: float, **labels: str) -> None:
        """See :class:`Meter`."""
        histogram = self._histograms[name]
        (histogram.labels(**labels) if labels else histogram).observe(seconds)

    def replace(self, name: str, samples: Sequence[tuple[Mapping[str, str], float]]) -> None:
        """See :class:`Meter`."""
        gauge = self._gauges[name]
        gauge.clear()
        for labels, value in samples:
            gauge.labels(**labels).set(value)

    def text(self) -> bytes:
        """All metrics in the Prometheus text format."""
        return generate_latest(self._registry)
