"""Connects the command line to the system registry (documents, keys, logins), with the user's Vault token."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import SecretStr, ValidationError

from regcred.clock import utc_now
from regcred.errors import ConflictError, MissingError
from regcred.wiring.cli import Around, connection, silently

if TYPE_CHECKING:
    from regcred.vault.platform.system import SystemPlatform
    from regcred.vault.records.system import SystemConfig, SystemKeys
    from regcred.vault.system import SystemRecords
    from regcred.wiring.cli.registry_images import RegistryImages

SHORT_SECONDS = 600
"""The lifetime of a login that one command needs."""


@dataclass(frozen=True, slots=True)
class PersonLogin:
    """A login for the system registry."""

    host: str
    user: str
    password: SecretStr
    expires_at: str
    """RFC 3339."""


@dataclass(frozen=True, slots=True)
class OwnSystem:
    """The system registry with the user's rights."""

    records: SystemRecords
    platform: SystemPlatform

    def config(self) -> SystemConfig:
        """The configuration.

        Raises:
            MissingError: it has not been set up.
        """
        return self.records.config()

    def keys(self) -> SystemKeys:
        """The public keys that are published."""
        return self.records.keys()

    def set_up(self, given: Mapping[str, Any]) -> tuple[SystemConfig, bool]:
        """Write the configuration, and publish the keys that are not published yet.

        Args:
            given: The fields of the configuration to set. The others stay unchanged.

        Returns:
            The configuration, and whether anything changed.

        Raises:
            MalformedError: a field is wrong or missing.
            MissingError: the platform has no signing keys.
        """
        from regcred.vault.records.document import malformed
        from regcred.vault.records.system import SystemConfig
        from regcred.vault.system import CONFIG

        old, version = self.records.read(CONFIG, SystemConfig)
        fields = (old.model_dump() if old else {}) | dict(given)
        if "host" in fields:
            fields = {"issuer": "regcred-system", "service": fields["host"]} | fields
        try:
            new = SystemConfig.model_validate(fields)
        except ValidationError as error:
            raise malformed(error, where="the system registry") from None
        if new != old:
            self.records.write(CONFIG, new, cas=version)
        published = self._publish(signs_from=utc_now())
        return new, new != old or published

    def rotate(self, *, lead: timedelta) -> datetime:
        """Create new versions of both signing keys, and publish them.

        Args:
            lead: The time for registries to load the new public key before it signs.

        Returns:
            When the new key starts to sign.

        Raises:
            ConflictError: the previous new key does not sign yet.
        """
        from regcred.vault.records.system import ACCESS_KEY, LOGIN_KEY

        waiting = [key for key in self.keys().keys if key.signs_from > utc_now()]
        if waiting:
            raise ConflictError(
                f"the new key {waiting[-1].kid} is published and starts to sign at "
                f"{waiting[-1].signs_from:%Y-%m-%d %H:%M} UTC; rotate again after that"
            )
        self.platform.rotate(ACCESS_KEY)
        self.platform.rotate(LOGIN_KEY)
        signs_from = utc_now() + lead
        self._publish(signs_from=signs_from)
        return signs_from

    def retire(self) -> list[str]:
        """Withdraw the replaced keys whose logins have all expired.

        Returns:
            The IDs of the withdrawn keys.

        Raises:
            MissingError: the system registry has no keys.
        """
        from regcred.token.signing_keys import retired
        from regcred.vault.records.system import ACCESS_KEY, LOGIN_KEY, SystemKeys
        from regcred.vault.system import KEYS

        old, version = self.records.read(KEYS, SystemKeys)
        if old is None:
            raise MissingError("the system registry has no keys; run: regcred system init")
        # The login of a project is valid for at most one day.
        longest = max(86400, self.config().login_seconds)
        left = retired(old, now=utc_now(), overlap=timedelta(seconds=longest))
        if left == old:
            return []
        newest = max(old.logins, key=lambda kid: int(old.logins[kid]["version"]))
        left = left.model_copy(update={"logins": {newest: old.logins[newest]}})
        self.records.write(KEYS, left, cas=version)
        self.platform.retire(ACCESS_KEY, below=left.keys[0].version)
        self.platform.retire(LOGIN_KEY, below=int(left.logins[newest]["version"]))
        kept = {key.kid for key in left.keys}
        return [key.kid for key in old.keys if key.kid not in kept]

    def login(self, *, seconds: int = 0) -> PersonLogin:
        """Create a login for the user.

        Args:
            seconds: The lifetime of the login; 0 for the platform's limit.

        Raises:
            RefusedError: the user's Vault token may not sign in to the system registry.
            TransientError: Vault or the token server can't be reached.
        """
        from regcred.registry import transport

        config = self.config()
        what = f"{config.token_url}: creating a login"
        answer = transport.send(
            "POST",
            f"{config.token_url}/v1/logins",
            auth=transport.Bearer(self.platform.identity_token()),
            document={"expires_in": seconds},
        )
        fields = transport.expect(
            answer, what=what, remedy="sign in to Vault again: vault login", ok=(201,)
        ).fields(what=what)
        user, password, expires_at = (
            transport.text_field(fields, name, what=what) for name in ("username", "password", "expires_at")
        )
        return PersonLogin(config.host, user, SecretStr(password), expires_at)

    def images(self) -> RegistryImages:
        """The images in the registry, with a login of ten minutes."""
        from regcred.registry import transport
        from regcred.wiring.cli.registry_images import RegistryImages

        login = self.login(seconds=SHORT_SECONDS)
        return RegistryImages(self.config(), transport.Basic(login.user, login.password))

    def end_logins(self) -> None:
        """End all logins of the user."""
        from regcred.registry import transport

        config, login = self.config(), self.login(seconds=SHORT_SECONDS)
        answer = transport.send(
            "DELETE", f"{config.token_url}/v1/logins", auth=transport.Basic(login.user, login.password)
        )
        transport.expect(answer, what=f"{config.token_url}: revoking logins", remedy="try again", ok=(204,))

    def _publish(self, *, signs_from: datetime) -> bool:
        from regcred.token.signing_keys import with_access_keys, with_login_keys
        from regcred.vault.records.system import ACCESS_KEY, LOGIN_KEY, SystemKeys
        from regcred.vault.system import KEYS

        access, logins = self.platform.public_keys(ACCESS_KEY), self.platform.public_keys(LOGIN_KEY)
        if not access or not logins:
            raise MissingError(
                "Vault has no signing keys for the system registry; an operator sets system_registry: true "
                "in platform.yaml and runs: regcred platform apply"
            )
        old, version = self.records.read(KEYS, SystemKeys)
        new = with_access_keys(old or SystemKeys(), access, signs_from=signs_from, now=utc_now())
        new = with_login_keys(new, logins)
        if new == old:
            return False
        self.records.write(KEYS, new, cas=version)
        return True


def system(around: Around = silently) -> OwnSystem:
    """The system registry in the user's Vault. Nothing is sent yet.

    Raises:
        MalformedError: see :func:`regcred.wiring.cli.connection`.
    """
    from regcred.vault.kv2 import VaultKeyValue, signed_in
    from regcred.vault.login import TokenLogin
    from regcred.vault.platform.system import SystemPlatform
    from regcred.vault.system import SystemRecords

    own = connection(os.environ, Path.home())
    client = signed_in(
        own.server, TokenLogin(own.token), around=partial(around, f"Vault at {own.server.addr}")
    )
    return OwnSystem(SystemRecords(VaultKeyValue(client, mount=own.mount)), SystemPlatform(client))
