"""Sync's settings from its environment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from regcred.cluster.model import WORKLOADS, Kind, Mode, custom_kind
from regcred.registry_reference import check_label
from regcred.settings import PREFIX, malformed
from regcred.sync import Options, Pace
from regcred.sync.plan_input import Rules

TOKEN_FILE = "/var/run/secrets/regcred/vault-token"  # noqa: S105 - where the chart projects it
"""The projected ServiceAccount token that signs in to Vault."""


def _words(value: Any) -> Any:
    return tuple(value.replace(",", " ").split()) if isinstance(value, str) else value


class SyncSettings(BaseModel):
    """Sync's settings. Each field is the variable ``REGCRED_<FIELD>``. None of them is a secret."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    cluster: str
    """The cluster's name in Vault, a DNS label."""
    vault_addr: str = Field(pattern=r"^https?://")
    """The address of Vault or OpenBao. If it is not set, ``VAULT_ADDR`` is used."""
    vault_namespace: str = ""
    vault_mount: str = "regcred"
    vault_auth_mount: str = ""
    """The mount of the cluster's JWT auth method. Default: ``regcred-cluster-<cluster>``."""
    vault_role: str = "sync"
    vault_token_file: Path = Path(TOKEN_FILE)
    """A file with the JWT for the sign-in. Sync reads it again at each sign-in."""
    vault_ca_file: str = ""
    mode: Mode = Mode.ADMISSION
    allowed_modes: Annotated[tuple[Mode, ...], BeforeValidator(_words)] = tuple(Mode)
    """The modes that a namespace may choose by its label, in addition to ``mode``. The default is every
    mode."""
    workload_kinds: Annotated[tuple[str, ...], BeforeValidator(_words)] = ()
    """Custom workload kinds, as ``<group>/<version>/<plural>/<Kind>``, separated by spaces or commas."""
    excluded_namespaces: Annotated[tuple[str, ...], BeforeValidator(_words)] = ()
    """Namespaces that the admission policies exclude."""
    evict_stuck_pods: bool = False
    prepare_granted: bool = False
    """In mode serviceaccount: place the Secrets of exact grants before a workload needs them. Then the first
    Pod does not have to wait."""
    grace_seconds: float = Field(default=600, ge=0)
    """How long no workload may need a Secret before sync removes it."""
    max_removal_share: float = Field(default=0.2, ge=0, le=1)
    """The brake: a run that would remove more than this share of the Secrets in place removes none."""
    confirm_removals: bool = False
    repair: bool = False
    """In the next run: write all Secrets again."""
    poll_seconds: float = Field(default=30, ge=1)
    """How often the index of a project in use is read."""
    relist_seconds: float = Field(default=3600, ge=60)
    """How often each kind is listed completely."""
    metrics_port: int = Field(default=8080, ge=0, le=65535)
    """The port of /metrics, /healthz and /readyz; 0 for no server."""
    log_level: str = Field(default="info", pattern=r"^(debug|info|warning|error)$")

    @classmethod
    def load(cls, environment: Mapping[str, str]) -> Self:
        """Read the settings.

        Args:
            environment: Such as ``os.environ``. Empty variables count as not set.

        Raises:
            MalformedError: names each missing or wrong variable, and its required form.
        """
        given = {name: environment.get(PREFIX + name.upper()) for name in cls.model_fields}
        given["vault_addr"] = given["vault_addr"] or environment.get("VAULT_ADDR")
        try:
            settings = cls.model_validate({name: value for name, value in given.items() if value})
        except ValidationError as error:
            raise malformed(error) from None
        check_label(settings.cluster, field=f"{PREFIX}CLUSTER")
        settings.kinds()
        return settings

    def kinds(self) -> tuple[Kind, ...]:
        """All workload kinds."""
        return (*WORKLOADS, *(custom_kind(text) for text in self.workload_kinds))

    @property
    def whole_pods(self) -> bool:
        """Whether to read whole Pods. Their metadata does not contain the ServiceAccount and the status."""
        return self.evict_stuck_pods or self.options().rules.allows(Mode.SERVICEACCOUNT)

    def options(self) -> Options:
        """The settings of the engine."""
        rules = Rules(
            cluster=self.cluster,
            mode=self.mode,
            allowed=frozenset(self.allowed_modes),
            excluded=frozenset(self.excluded_namespaces),
            grace=timedelta(seconds=self.grace_seconds),
            max_removal_share=self.max_removal_share,
            prepare=self.prepare_granted,
            removals_confirmed=self.confirm_removals,
        )
        return Options(rules, self.kinds())

    def pace(self) -> Pace:
        """The intervals of the loop."""
        return replace(
            Pace(), poll=timedelta(seconds=self.poll_seconds), relist=timedelta(seconds=self.relist_seconds)
        )
