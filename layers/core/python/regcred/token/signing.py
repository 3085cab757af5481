"""Signs logins and access tokens with the newest key."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pydantic import SecretStr

from regcred.errors import MissingError
from regcred.token import jose
from regcred.token.interface import Signer
from regcred.token.login import VerifiedLogin, claims_of
from regcred.vault.records.system import SystemConfig, SystemKeys


def sign_login(signer: Signer, login: VerifiedLogin, config: SystemConfig, keys: SystemKeys) -> SecretStr:
    """The password of a login.

    Raises:
        MissingError: there is no key for logins.
    """
    # Every key for logins verifies, and the newest version signs.
    newest = max(keys.logins, key=lambda kid: int(keys.logins[kid].get("version", "0")), default="")
    if not newest:
        raise MissingError("the system registry has no key for logins; run: regcred system init")
    version = int(keys.logins[newest]["version"])
    password = jose.assemble(
        {"typ": "JWT", "kid": newest},
        claims_of(login, issuer=config.issuer),
        lambda data: signer.sign(data, version=version),
    )
    return SecretStr(password)


def sign_access_token(
    signer: Signer, claims: dict[str, Any], config: SystemConfig, keys: SystemKeys, *, now: datetime
) -> SecretStr:
    """An access token with these claims.

    Raises:
        MissingError: there is no signing key.
    """
    key = keys.signing(now)
    if key is None:
        raise MissingError("the system registry has no signing key; run: regcred system init")
    named: dict[str, Any] = (
        {"kid": key.kid} if config.key_header == "kid" else {"x5c": jose.x5c(key.certificate)}
    )
    token = jose.assemble(
        {"typ": "JWT", **named}, claims, lambda data: signer.sign(data, version=key.version)
    )
    return SecretStr(token)
