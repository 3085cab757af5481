"""Writes the files of a declared fleet: a platform, clusters, projects, registries and grants."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import yaml

API = "regcred.dev/v1"


@dataclass(frozen=True)
class FleetSize:
    """How many objects of each kind a fleet has."""

    clusters: int = 100
    projects: int = 500
    registries: int = 20
    """Registries of each project."""

    @property
    def objects(self) -> int:
        """The number of declared objects, the Platform included."""
        return 1 + self.clusters + self.projects * (2 + self.registries)


def write_fleet(folder: Path, size: FleetSize, public_key: str) -> None:
    """Write one file per project, with its registries and its grant, and one per cluster.

    Args:
        folder: Where to write.
        size: How many objects of each kind.
        public_key: The key that signs the ServiceAccount tokens of all clusters, in PEM.
    """
    _write(
        folder / "platform.yaml", [_object("Platform", {"name": "main"}, {"tokens": {"ttl_seconds": 900}})]
    )
    for number in range(size.clusters):
        trust = {"public_keys": [public_key], "namespace": "regcred-system"}
        _write(
            folder / "clusters" / f"{cluster(number)}.yaml",
            [_object("Cluster", {"name": cluster(number)}, trust)],
        )
    for number in range(size.projects):
        _write(folder / "projects" / f"team-{number}.yaml", list(_project(number, size)))


def cluster(number: int) -> str:
    """The name of a cluster."""
    return f"edge-{number}"


def _project(number: int, size: FleetSize) -> Iterator[dict[str, object]]:
    name, where = f"team-{number}", cluster(number % size.clusters)
    account = f"{number:012d}"
    yield _object("Project", {"name": name}, {"accounts": [account], "clusters": [where]})
    for at in range(size.registries):
        spec = {
            "provider": "ecr",
            "account": account,
            "regions": ["eu-central-1"],
            "description": f"images of team {number}, part {at}",
        }
        yield _object("Registry", {"name": f"r-{at}", "project": name}, spec)
    namespaces = [f"{name}-{stage}" for stage in ("dev", "prod", "test")]
    yield _object("Grant", {"name": name, "cluster": where}, {"namespaces": namespaces})


def _object(kind: str, metadata: dict[str, str], spec: dict[str, object]) -> dict[str, object]:
    return {"apiVersion": API, "kind": kind, "metadata": metadata, "spec": spec}


def _write(path: Path, documents: list[dict[str, object]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    dumper = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
    path.write_text(yaml.dump_all(documents, Dumper=dumper, sort_keys=False))
