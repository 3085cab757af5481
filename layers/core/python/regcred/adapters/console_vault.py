"""Vault for the console: signs people in, and reports what their tokens may do."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from datetime import timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import hvac
from hvac.exceptions import InvalidPath
from pydantic import SecretStr

from regcred.clock import utc_now
from regcred.console.interface import (
    Member,
    Method,
    ProjectGroup,
    Who,
    WrongPasswordError,
    project_groups,
)
from regcred.errors import MalformedError, MissingError, RefusedError, RegcredError
from regcred.vault.http import Server, VaultSession, client
from regcred.vault.kv2 import VaultKeyValue
from regcred.vault.login import TokenLogin, Tokens, signed_in_token

if TYPE_CHECKING:
    from regcred.vault.store import Store

NAME_MAX = 120
"""The maximum length of a person's name that is kept and shown."""

ATTEMPTS = 2
"""How often a request is tried. A person is waiting for the page."""


class ConsoleVault:
    """:class:`regcred.console.interface.Vault` over HTTP."""

    def __init__(self, server: Server, mount: str) -> None:
        self._server = server
        self._mount = mount

    @cached_property
    def _anonymous(self) -> hvac.Client:
        return client(self._server, VaultSession(self._server, attempts=ATTEMPTS))

    def with_token(self, token: SecretStr) -> VaultAccess:
        """See :class:`Vault`. Nothing is sent yet."""
        tokens = Tokens(TokenLogin(lambda: token), self._anonymous, utc_now)
        session = VaultSession(self._server, tokens, attempts=ATTEMPTS, sleep=time.sleep)
        return VaultAccess(client(self._server, session), self._mount)

    def by_password(self, method: Method, username: str, password: SecretStr) -> SecretStr:
        """See :class:`Vault`.

        Contract: https://developer.hashicorp.com/vault/api-docs/auth/userpass#login, and the same for LDAP.
        """
        path = f"/v1/auth/{quote(method.path)}/login/{quote(username, safe='')}"
        try:
            answer = self._anonymous.adapter.post(path, json={"password": password.get_secret_value()})
        except (InvalidPath, MalformedError, RefusedError):
            raise WrongPasswordError("the user name or the password is wrong") from None
        return signed_in_token(answer, utc_now()).value

    def oidc_url(self, method: Method, redirect_uri: str, nonce: str) -> str:
        """See :class:`Vault`.

        Contract: https://developer.hashicorp.com/vault/api-docs/auth/jwt#oidc-authorization-url-request.
        """
        body = {"role": method.role, "redirect_uri": redirect_uri, "client_nonce": nonce}
        try:
            answer = self._anonymous.adapter.post(f"/v1/auth/{quote(method.path)}/oidc/auth_url", json=body)
        except (InvalidPath, MalformedError):
            answer = {}
        url = str(((_mapping(answer)).get("data") or {}).get("auth_url") or "")
        if not url.startswith(("https://", "http://")):
            raise RefusedError(
                f"Vault does not let people sign in from {redirect_uri}: name it in allowed_redirect_uris "
                f"of the role {method.role or '(the default one)'} of auth/{method.path}"
            )
        return url

    def by_oidc(self, method: Method, *, state: str, code: str, nonce: str) -> SecretStr:
        """See :class:`Vault`.

        Contract: https://developer.hashicorp.com/vault/api-docs/auth/jwt#oidc-callback.
        """
        params = {"state": state, "code": code, "client_nonce": nonce}
        try:
            answer = self._anonymous.adapter.get(
                f"/v1/auth/{quote(method.path)}/oidc/callback", params=params
            )
        except (InvalidPath, MalformedError, RefusedError):
            raise RefusedError(
                "Vault does not accept the response of the identity provider; try again"
            ) from None
        return signed_in_token(answer, utc_now()).value


class VaultAccess:
    """:class:`regcred.console.interface.ConsoleAccess` over HTTP."""

    def __init__(self, vault: hvac.Client, mount: str) -> None:
        self._vault = vault
        self._mount = mount
        self._documents = VaultKeyValue(vault, mount=mount)
        from regcred.vault.store import Store  # noqa: PLC0415 - a cold start does not need it

        self._store = Store(self._documents)

    @property
    def store(self) -> Store:
        """See :class:`ConsoleAccess`."""
        return self._store

    def who(self) -> Who:
        """See :class:`ConsoleAccess`.

        Contract: https://developer.hashicorp.com/vault/api-docs/auth/token#lookup-a-token-self.
        """
        data = _data(self._vault.adapter.get("/v1/auth/token/lookup-self"))
        ttl, created = int(data.get("ttl") or 0), int(data.get("creation_ttl") or 0)
        endless = not created and not data.get("expire_time")
        policies = {*(data.get("policies") or ()), *(data.get("identity_policies") or ())}
        return Who(
            name=str((data.get("meta") or {}).get("username") or data.get("display_name") or "token")[
                :NAME_MAX
            ],
            entity=str(data.get("entity_id") or ""),
            policies=frozenset(map(str, policies)),
            ttl=None if endless else timedelta(seconds=ttl),
            created_ttl=timedelta(seconds=created) if created else None,
            renewable=bool(data.get("renewable")),
        )

    def renew(self) -> None:
        """See :class:`ConsoleAccess`."""
        self._vault.adapter.post("/v1/auth/token/renew-self", json={})

    def revoke(self) -> None:
        """See :class:`ConsoleAccess`."""
        self._vault.adapter.post("/v1/auth/token/revoke-self")

    def may(self, paths: Sequence[str]) -> Mapping[str, frozenset[str]]:
        """See :class:`ConsoleAccess`. Empty if the token may not read its capabilities."""
        full = {f"{self._mount}/{path}": path for path in paths}
        try:
            answer = self._vault.adapter.post("/v1/sys/capabilities-self", json={"paths": list(full)})
        except RefusedError:
            return {}
        data = _data(answer)
        return {path: frozenset(map(str, data.get(name) or ())) for name, path in full.items()}

    def groups(self, project: str) -> Sequence[ProjectGroup]:
        """See :class:`ConsoleAccess`."""
        found = []
        names: dict[Member, dict[str, str]] = {}
        for name in project_groups(project):
            try:
                data = _data(self._vault.adapter.get(f"{_GROUP}/{name}"))
            except (InvalidPath, RefusedError):
                continue  # the group does not exist, or the token may not read it
            members = {}
            for kind, field in _MEMBERS.items():
                ids = data.get(field) or ()
                if ids and kind not in names:
                    names[kind] = self._names(kind)
                members[kind] = sorted(names[kind].get(one, one) for one in ids)
            found.append(ProjectGroup(name, members[Member.PERSON], members[Member.GROUP]))
        return found

    def system_registry(self) -> str:
        """See :class:`ConsoleAccess`."""
        from regcred.vault.system import SystemRecords  # noqa: PLC0415 - a cold start does not need it

        try:
            return SystemRecords(self._documents).config().host
        except RegcredError:
            return ""  # a page about something else must not fail for it

    def _names(self, kind: Member) -> dict[str, str]:
        """By ID, the names of all persons or groups that the token may list."""
        try:
            answer = self._vault.adapter.list(f"/v1/identity/{_KINDS[kind]}/id")
        except (InvalidPath, RefusedError):
            return {}
        info = _data(answer).get("key_info") or {}
        return {identifier: str(about.get("name") or identifier) for identifier, about in info.items()}

    def _id(self, kind: Member, name: str) -> str:
        """The ID of the person or group with this name, or with this ID."""
        ids = {label: identifier for identifier, label in self._names(kind).items()}
        return ids.get(name, name if name in ids.values() else "")

    def may_change_groups(self, project: str) -> bool:
        """See :class:`ConsoleAccess`."""
        paths = [f"{_GROUP.removeprefix('/v1/')}/{name}" for name in project_groups(project)]
        try:
            data = _data(self._vault.adapter.post("/v1/sys/capabilities-self", json={"paths": paths}))
        except RefusedError:
            return False
        return all({"update", "root", "sudo"} & {*map(str, data.get(path) or ())} for path in paths)

    def change_group(self, group: str, kind: Member, name: str, *, take: bool) -> None:
        """See :class:`ConsoleAccess`.

        Vault has no check-and-set for groups: of two changes at the same moment, one may be lost.

        Contract: https://developer.hashicorp.com/vault/api-docs/secret/identity/group#update-group-by-name
        """
        try:
            data = _data(self._vault.adapter.get(f"{_GROUP}/{quote(group, safe='')}"))
        except InvalidPath:
            raise MissingError("the group does not exist") from None
        if not data:
            raise MissingError("the group does not exist")
        identifier, field = self._id(kind, name), _MEMBERS[kind]
        members = {*map(str, data.get(field) or ())}
        if take:
            members -= {identifier, name}
        elif not identifier:
            raise MalformedError(_UNKNOWN[kind], field="member")
        else:
            members.add(identifier)
        self._vault.adapter.post(f"{_GROUP}/{quote(group, safe='')}", json={field: sorted(members)})


_GROUP = "/v1/identity/group/name"
_MEMBERS = {Member.PERSON: "member_entity_ids", Member.GROUP: "member_group_ids"}
_KINDS = {Member.PERSON: "entity", Member.GROUP: "group"}
_UNKNOWN = {
    Member.PERSON: (
        "Vault has no person with this name; it knows a person after the first sign-in, by the name of the "
        "entity"
    ),
    Member.GROUP: (
        "Vault has no group with this name; an operator creates it for a group of your identity provider"
    ),
}


def _mapping(answer: Any) -> Mapping[str, Any]:
    """The response as a mapping; empty for a 404."""
    return answer if isinstance(answer, Mapping) else {}


def _data(answer: Any) -> Mapping[str, Any]:
    data = _mapping(answer).get("data")
    return data if isinstance(data, Mapping) else {}
