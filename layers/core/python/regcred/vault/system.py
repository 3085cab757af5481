"""The documents of the system registry in Vault, and the people who sign in to it."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

import hvac
from hvac.exceptions import InvalidPath

from regcred.errors import ConflictError, MalformedError, MissingError, TransientError
from regcred.registry_reference import check_label
from regcred.vault.records.declared import ProjectPolicy
from regcred.vault.records.document import Record
from regcred.vault.records.paths import project_path
from regcred.vault.records.system import EndedLogins, Person, SystemConfig, SystemKeys, UsedTokens
from regcred.vault.store.base import TypedRecords

R = TypeVar("R", bound=Record)

CONFIG = "system/config"
KEYS = "system/keys"
NAME_SECONDS = 60.0
"""How long the name of a group is cached. Its members are always read."""

NAMES_MAX = 10_000
"""The maximum number of names in that cache."""

GROUPS_MAX = 1000
"""The maximum number of one person's groups that are checked."""


def ended_path(owner: str) -> str:
    """The path of the ended logins of a project, or of people (``_people``)."""
    return f"system/ended/{owner if owner.startswith('_') else check_label(owner, field='project')}"


def used_path(project: str) -> str:
    """The path of a project's used identity tokens."""
    return f"system/used/{check_label(project, field='project')}"


class SystemRecords(TypedRecords):
    """The documents of the system registry in a KV v2 mount."""

    def config(self) -> SystemConfig:
        """The configuration of the system registry.

        Raises:
            MissingError: it has not been set up.
        """
        found = self._value(CONFIG, SystemConfig)
        if found is None:
            raise MissingError("the system registry is not set up; run: regcred system init")
        return found

    def keys(self) -> SystemKeys:
        """The public keys; empty if there are none."""
        return self._value(KEYS, SystemKeys) or SystemKeys()

    def project(self, project: str) -> ProjectPolicy | None:
        """What a project may use; None if the project does not exist."""
        return self._value(project_path(project), ProjectPolicy)

    def ended(self, owner: str) -> EndedLogins:
        """The logins that were ended early."""
        return self._value(ended_path(owner), EndedLogins) or EndedLogins()

    def change_ended(self, owner: str, change: Callable[[EndedLogins], EndedLogins]) -> None:
        """Change the ended logins with check-and-set.

        Raises:
            TransientError: other writers won every time.
        """
        self._change(ended_path(owner), EndedLogins, lambda old: change(old or EndedLogins()))

    def remember_once(self, owner: str, digest: str, *, until: float, now: float) -> bool:
        """Remember a used identity token.

        Return False if it was used before. Times are seconds since the epoch.

        Raises:
            TransientError: too many tokens are remembered, or other writers won every time.
        """
        first = True

        def change(old: UsedTokens | None) -> UsedTokens:
            nonlocal first
            used = old or UsedTokens()
            first = digest not in used.tokens
            return used.with_token(digest, until=until, now=now) if first else used

        self._change(used_path(owner), UsedTokens, change)
        return first

    def read(self, path: str, model: type[R]) -> tuple[R | None, int]:
        """A document and its version. If there is none: None, and the version for a first write."""
        found = self._current(path, model)
        return found.value, found.version

    def write(self, path: str, record: Record, *, cas: int) -> int:
        """Write a document over a version."""
        return self._kv.write(path, record.fields(), cas=cas)

    def _value(self, path: str, model: type[R]) -> R | None:
        found = self._record(path, model)
        return found.value if found else None

    def _change(self, path: str, model: type[R], change: Callable[[R | None], R]) -> None:
        try:
            self._update(path, model, change)
        except ConflictError as error:
            raise TransientError(str(error)) from None


def _subject(identity_token: str) -> str:
    """The subject of an identity token that Vault has verified: the ID of an entity."""
    claims = identity_token.split(".")[1]
    try:
        return str(json.loads(base64.urlsafe_b64decode(claims + "=" * (-len(claims) % 4)))["sub"])
    except (ValueError, KeyError, TypeError, RecursionError):
        raise MalformedError("Vault's identity token has no subject") from None


def _name(entity: Mapping[str, Any]) -> str:
    """The name with which a person signs in, or the entity's name, which Vault may have generated."""
    aliases = entity.get("aliases") or [{}]
    return str(aliases[0].get("name") or entity.get("name") or "")


@dataclass(frozen=True, slots=True)
class VaultPeople:
    """:class:`regcred.token.interface.People` over Vault's identity engine.

    Contracts: https://developer.hashicorp.com/vault/api-docs/secret/identity/tokens (introspect),
    https://developer.hashicorp.com/vault/api-docs/secret/identity/entity, .../group.
    """

    client: hvac.Client
    client_id: str
    """The ``aud`` of identity tokens for the token server."""
    _names: dict[str, tuple[float, str]] = field(default_factory=dict, repr=False)
    """By the ID of a group: when its name was read (monotonic seconds), and the name."""

    def introspect(self, identity_token: str) -> Person | None:
        """The person of this identity token, or None if Vault does not confirm it."""
        answer = self.client.adapter.post(
            "/v1/identity/oidc/introspect", json={"token": identity_token, "client_id": self.client_id}
        )
        if not isinstance(answer, Mapping) or answer.get("active") is not True:
            return None
        entity = self._entity(_subject(identity_token))
        return None if entity is None else Person(str(entity["id"]), _name(entity))

    def groups(self, entity: str) -> frozenset[str] | None:
        """The names of an entity's groups, including inherited ones; None if it is deleted or disabled."""
        found = self._entity(entity)
        if found is None:
            return None
        ids = found.get("group_ids") or []
        if not isinstance(ids, list) or len(ids) > GROUPS_MAX:
            raise MalformedError(f"the identity entity {entity} has more than {GROUPS_MAX} groups")
        return frozenset(name for identifier in ids if (name := self._group_name(str(identifier))))

    def _entity(self, entity: str) -> Mapping[str, Any] | None:
        found = self._read(f"/v1/identity/entity/id/{entity}")
        return None if found is None or found.get("disabled") else found

    def _group_name(self, identifier: str) -> str:
        read_at, name = self._names.get(identifier, (float("-inf"), ""))
        if time.monotonic() - read_at < NAME_SECONDS:
            return name
        found = self._read(f"/v1/identity/group/id/{identifier}")
        name = str(found["name"]) if found else ""
        if len(self._names) >= NAMES_MAX:
            self._names.clear()
        self._names[identifier] = time.monotonic(), name
        return name

    def _read(self, path: str) -> Mapping[str, Any] | None:
        try:
            answer = self.client.adapter.get(path)
        except InvalidPath:
            return None
        data = answer.get("data") if isinstance(answer, Mapping) else None
        return data if isinstance(data, Mapping) else None
