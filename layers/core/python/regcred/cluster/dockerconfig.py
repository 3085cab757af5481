"""The Secret with a registry's credential in a namespace. Pure.

Contract: https://kubernetes.io/docs/concepts/configuration/secret/#docker-config-secrets
"""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime

from pydantic import SecretStr

from regcred.cluster.annotations import MANAGED_BY, MANAGER, SECRET_EXPIRES, SECRET_REFERENCE, SECRET_VERSION
from regcred.registry_reference import Reference

SECRET_TYPE = "kubernetes.io/dockerconfigjson"  # noqa: S105 - a name
KEY = ".dockerconfigjson"

GITOPS = {
    "argocd.argoproj.io/compare-options": "IgnoreExtraneous",
    "argocd.argoproj.io/sync-options": "Prune=false",
}
"""Keeps Argo CD from reporting our Secrets as drift or pruning them. For the same reason, no labels are
copied."""

_PART = 12
"""How many consecutive characters count as a part of a secret."""

NEVER = "never"
"""The expiry shown for a static credential."""


@dataclass(frozen=True, slots=True)
class SecretBody:
    """One version of one Secret, as it is sent to the API server. It is the same for every namespace.

    ``content`` contains the credential, so ``repr`` leaves it out.
    """

    reference: Reference
    version: int
    content: bytes = field(repr=False)

    @property
    def name(self) -> str:
        """The Secret's name."""
        return self.reference.secret_name

    def is_in(self, text: str) -> bool:
        """Whether a text repeats a part of the credential, plain or encoded. Such a text must not be shown.

        Takes time linear in the lengths of both.
        """
        data: str = json.loads(self.content)["data"][KEY]
        parts = {text[at : at + _PART] for at in range(len(text) - _PART + 1)}
        return any(
            secret in text
            if len(secret) < _PART
            else any(secret[at : at + _PART] in parts for at in range(len(secret) - _PART + 1))
            for secret in (data, *_secrets_in(b64decode(data)))
        )


def _secrets_in(content: bytes) -> Iterator[str]:
    """The passwords, tokens and encoded logins in a Docker configuration."""
    try:
        auths = json.loads(content)["auths"].values()
    except (ValueError, KeyError, AttributeError, TypeError, RecursionError):
        return
    for entry in auths:
        for name in ("auth", "password", "identitytoken", "registrytoken"):
            if isinstance(entry, dict) and isinstance(entry.get(name), str) and entry[name]:
                yield entry[name]


def secret_body(
    reference: Reference, dockerconfigjson: SecretStr, *, version: int, expires_at: datetime | None
) -> SecretBody:
    """Build the Secret of one credential version.

    Args:
        reference: Names the Secret.
        dockerconfigjson: The text from Vault, unchanged.
        version: The credential's version in Vault.
        expires_at: Shown to people; None for a static credential.
    """
    manifest = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {
            "name": reference.secret_name,
            "labels": {MANAGED_BY: MANAGER},
            "annotations": {
                **GITOPS,
                SECRET_REFERENCE: str(reference),
                SECRET_VERSION: str(version),
                SECRET_EXPIRES: expires_at.isoformat() if expires_at else NEVER,
            },
        },
        "type": SECRET_TYPE,
        "data": {KEY: b64encode(dockerconfigjson.get_secret_value().encode()).decode()},
    }
    return SecretBody(reference, version, json.dumps(manifest, separators=(",", ":")).encode())


def ownership_probe(reference: Reference) -> SecretBody:
    """A Secret of our form without a credential, for a dry run that checks whether a Secret is ours."""
    return secret_body(reference, SecretStr('{"auths":{}}'), version=0, expires_at=None)
