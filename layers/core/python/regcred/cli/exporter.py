"""``regcred exporter``: serves the metrics of the whole fleet for Prometheus."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import TYPE_CHECKING, NoReturn

import click

from regcred import __version__
from regcred.cli import lookup
from regcred.cli.failures import Failed
from regcred.cli.output import say, write_document
from regcred.cli.parameters import WholeNumber
from regcred.cli.session import CliSession, pass_session
from regcred.errors import MalformedError, RefusedError, RegcredError
from regcred.vault.store import Store
from regcred.views.fleet_metrics import HELP, PREFIX, Sample, SeenProject, by_name, samples
from regcred.wiring.exporter import serving

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry
    from prometheus_client.core import GaugeMetricFamily

WORKERS = 8
"""The number of projects that are read in parallel."""


@click.command(
    help="""Serve the metrics of the whole fleet for Prometheus.

    The exporter reads the indexes of all projects that your token may read, and the statuses that the sync of
    each cluster writes. It needs no access to a cluster. It serves the last state that it could read. The
    metric regcred_fleet_read_timestamp_seconds is the time of that state. Press Ctrl-C to stop the exporter.

    \b
    Examples:
      regcred exporter --listen 0.0.0.0 --port 9464
      regcred exporter --once > /var/lib/node_exporter/regcred.prom
    """
)
@click.option(
    "--listen", default="127.0.0.1", show_default=True, metavar="ADDRESS", help="The address to listen on."
)
@click.option(
    "--port",
    type=WholeNumber(0, 65535),
    default=9464,
    show_default=True,
    help="The port to listen on; 0 for any free port.",
)
@click.option(
    "--every",
    type=WholeNumber(10, 3600),
    default=60,
    show_default=True,
    metavar="SECONDS",
    help="How often to read Vault.",
)
@click.option("--once", is_flag=True, help="Print the metrics and exit.")
@pass_session
def exporter(session: CliSession, listen: str, port: int, every: int, once: bool) -> None:
    """Run ``regcred exporter``."""
    from prometheus_client import generate_latest

    fleet = FleetCollector()
    fleet.read(session)
    if once:
        write_document(generate_latest(fleet.registry()).decode())
        return
    with ExitStack() as stack:
        try:
            used = stack.enter_context(serving(fleet.registry(), listen, port))
        except OSError as error:
            reason = (error.strerror or "unknown error").lower()
            raise Failed(f"{address(listen, port)} can't be used: {reason}; try another --port") from None
        say(f"the metrics are at http://{address(listen, used)}/metrics; press Ctrl-C to stop the exporter")
        _refresh(fleet, session, every)


def address(host: str, port: int) -> str:
    """Host and port as in a URL, with an IPv6 address in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _refresh(fleet: FleetCollector, session: CliSession, every: int) -> NoReturn:
    while True:
        session.sleep(every)
        try:
            fleet.read(session)
        except RegcredError as error:
            say(f"note: the fleet can't be read, so the metrics are not updated: {error}")


class FleetCollector:
    """A Prometheus collector for the last state of the fleet that could be read."""

    def __init__(self) -> None:
        self._found: list[Sample] = []

    def read(self, session: CliSession) -> None:
        """Read all projects.

        Raises:
            RegcredError: Vault can't be reached, or the token may not list projects. The last state stays.
        """
        projects = lookup.projects(session.store, ())
        with ThreadPoolExecutor(WORKERS) as pool:
            seen = list(pool.map(lambda name: _project(session.store, name), projects))
        self._found = samples(seen, session.now(), __version__)

    def registry(self) -> CollectorRegistry:
        """A Prometheus registry with only these metrics."""
        from prometheus_client import CollectorRegistry

        made = CollectorRegistry()
        made.register(self)
        return made

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """See ``prometheus_client.registry.Collector``."""
        from prometheus_client.core import GaugeMetricFamily

        for name, rows in by_name(self._found).items():
            if rows:
                labels = list(rows[0].labels)
                family = GaugeMetricFamily(f"{PREFIX}{name}", HELP[name], labels=labels)
                for row in rows:
                    family.add_metric([row.labels[label] for label in labels], row.value)
                yield family


def _project(store: Store, name: str) -> SeenProject:
    """Read a project as far as possible. A document that can't be read does not stop the others."""
    try:
        index = lookup.index(store, name)
    except (MalformedError, RefusedError):
        return SeenProject(name, None)
    try:
        policy = store.project(name)
    except (MalformedError, RefusedError):
        policy = None
    clusters = policy.value.clusters if policy else ()
    return SeenProject(name, index, lookup.statuses(store, name, clusters, lambda *_: None))
