"""Parses the objects of a cluster that have to do with pull secrets, without keeping a password. Pure.

Contracts: https://kubernetes.io/docs/concepts/configuration/secret/#docker-config-secrets,
https://external-secrets.io/latest/api/externalsecret/ and
https://developer.hashicorp.com/vault/docs/deploy/kubernetes/vso/api-reference.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any

from regcred.cluster.model import POD, Kind
from regcred.cluster.object_parser import mapping_at
from regcred.image_name import normal_host
from regcred.registry_reference import is_label

Json = Mapping[str, Any]

TYPES = ("kubernetes.io/dockerconfigjson", "kubernetes.io/dockercfg")
"""The types of pull secrets: the current one and its predecessor."""

SECRET_MAX = 1_500_000
"""The maximum length of one Secret's data that is decoded. The API server's limit is 1 MiB."""

AUTHS_MAX = 200
"""The maximum number of logins of one Secret."""

NAME_MAX = 253
"""The maximum length of an object's name, as in Kubernetes."""

IMAGES_MAX = 100
"""The maximum number of images of one workload."""

HOST_MAX = 300
"""The maximum length of a key of the ``auths`` map."""

NAMES_MAX = 200
"""The maximum number of names of one list."""

SHORT_LIVED = {
    "AWS": "an ECR token, which expires after 12 hours",
    "oauth2accesstoken": "a Google access token, which expires after an hour",
    "00000000-0000-0000-0000-000000000000": "an Azure token, which expires within hours",
}
"""User names of tokens that expire soon."""

PLATFORM_MARKS = frozenset(
    {
        "openshift.io/internal-registry-auth-token.service-account",
        "openshift.io/token-secret.name",
        "vcluster.loft.sh/managed-by",
    }
)
"""Annotations and labels of the Secrets that a platform writes.

OpenShift writes one for each ServiceAccount, for its own registry. vcluster copies the Secrets of a virtual
cluster. Contracts: github.com/openshift/openshift-controller-manager pkg/internalregistry/controllers, and
github.com/loft-sh/vcluster pkg/util/translate.
"""


@dataclass(frozen=True, slots=True, order=True)
class ObjectName:
    """The namespace and the name of an object."""

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


@dataclass(frozen=True, slots=True)
class StoredLogin:
    """One login in a Secret, without its password."""

    host: str
    """The key of the ``auths`` map in its normal form, with a path if it has one."""
    fingerprint: str
    """A value that is equal for equal logins of this run. It has no other meaning."""
    short_lived: str = ""
    """The kind of token, if it expires soon; empty for a password."""


@dataclass(frozen=True, slots=True)
class PullSecret:
    """A Secret with logins to registries."""

    object_name: ObjectName
    logins: tuple[StoredLogin, ...] = ()
    problems: tuple[str, ...] = ()
    """Texts for people about logins that could not be read."""
    maker: str = ""
    """The object that writes the Secret, as in ``ExternalSecret shop/registry``; empty if a person wrote
    it."""
    vault: tuple[str, str] | None = None
    """The mount and path in Vault from which the login comes, if known."""
    of_platform: bool = False
    """Whether OpenShift or vcluster writes it. Then ``logins`` is empty, and no registry replaces it."""


@dataclass(frozen=True, slots=True)
class Puller:
    """A workload that no other object controls, and the images that it pulls."""

    kind: str
    plural: str
    object_name: ObjectName
    images: tuple[str, ...]
    names: frozenset[str]
    """The names in the ``imagePullSecrets`` of its pod template."""
    account: str
    """The name of its ServiceAccount."""


@dataclass(frozen=True, slots=True)
class Maker:
    """An object of another tool that writes a pull secret."""

    what: str
    """Its kind and name."""
    makes: ObjectName
    """The pull secret."""
    vault: tuple[str, str] | None = None


class Fingerprints:
    """Computes fingerprints, to compare logins without keeping them.

    Args:
        key: Random bytes of this run.
    """

    def __init__(self, key: bytes) -> None:
        self._key = key

    def __call__(self, *parts: str) -> str:
        """A value that is equal for equal parts."""
        text = json.dumps(parts).encode()
        return hmac.new(self._key, text, hashlib.sha256).hexdigest()


def pull_secret(obj: Json, fingerprints: Fingerprints) -> PullSecret | None:
    """Parse a Secret; None if it is not a pull secret, or if Regcred wrote it."""
    object_name = object_name_of(obj)
    if object_name is None or obj.get("type") not in TYPES:
        return None
    labels = mapping_at(obj, ("metadata", "labels")) or {}
    if labels.get("app.kubernetes.io/managed-by") == "regcred":
        return None
    if PLATFORM_MARKS & {*labels, *(mapping_at(obj, ("metadata", "annotations")) or {})}:
        return PullSecret(object_name, of_platform=True)
    try:
        auths = _auths(obj)
    except (ValueError, RecursionError, TypeError):
        return PullSecret(object_name, problems=("its content does not match its type",))
    logins: list[StoredLogin] = []
    problems: list[str] = []
    owner = _owner(mapping_at(obj, ("metadata",)) or {})
    for at, (key, login) in enumerate(auths.items()):
        if at >= AUTHS_MAX:
            problems.append(f"it contains {len(auths)} logins; only the first {AUTHS_MAX} were read")
            break
        found = _login(key, login, fingerprints)
        if isinstance(found, str):
            problems.append(found)
        else:
            logins.append(found)
    if not logins and not problems:
        problems.append("it contains no login")
    return PullSecret(object_name, tuple(logins), tuple(sorted(set(problems))), owner)


def _owner(metadata: Json) -> str:
    """The Helm release or object that would write the Secret again after a deletion; empty if unknown."""
    release = (mapping_at(metadata, ("annotations",)) or {}).get("meta.helm.sh/release-name")
    if isinstance(release, str) and 0 < len(release) <= NAME_MAX and release.isprintable():
        return f"Helm release {release}"
    for owner in islice(_list(metadata.get("ownerReferences")), NAMES_MAX):
        kind, name = (owner.get("kind"), owner.get("name")) if isinstance(owner, Mapping) else (None, None)
        if isinstance(kind, str) and isinstance(name, str) and (kind + name).isprintable():
            return f"{kind[:NAME_MAX]} {name[:NAME_MAX]}"
    return ""


def _auths(obj: Json) -> Mapping[str, Any]:
    data = mapping_at(obj, ("data",)) or {}
    name = ".dockerconfigjson" if obj.get("type") == TYPES[0] else ".dockercfg"
    text = data.get(name)
    if not isinstance(text, str) or len(text) > SECRET_MAX:
        raise ValueError(name)
    content = json.loads(base64.b64decode(text))
    if name == ".dockerconfigjson" and isinstance(content, Mapping):
        content = content.get("auths")
    if not isinstance(content, Mapping):
        raise TypeError(name)
    return content


def _login(key: str, login: Any, fingerprints: Fingerprints) -> StoredLogin | str:
    bare, slash, path = key.removeprefix("https://").removeprefix("http://").partition("/")
    host = normal_host(bare)
    path = "" if path in {"", "v1/", "v2/", "v1", "v2"} else path
    if not host or len(key) > HOST_MAX or not host.isprintable() or not path.isprintable():
        return "it contains an invalid registry name"
    if not isinstance(login, Mapping):
        return f"its login for {host} has an unknown format"
    if login.get("identitytoken") or login.get("registrytoken"):
        return f"its login for {host} is an identity token, which only its issuer can renew"
    user, password = login.get("username"), login.get("password")
    if not (isinstance(user, str) and isinstance(password, str) and password):
        user, password = _decoded(login.get("auth"))
    if not password:
        return f"its login for {host} has no password"
    return StoredLogin(
        f"{host}{slash}{path}" if path else host, fingerprints(user, password), SHORT_LIVED.get(user, "")
    )


def _decoded(auth: Any) -> tuple[str, str]:
    if not isinstance(auth, str):
        return "", ""
    try:
        user, _, password = base64.b64decode(auth).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError, ValueError):
        return "", ""
    return user, password


def puller(kind: Kind, obj: Json) -> Puller | None:
    """Parse a workload; None if it has no pod template, or if another object controls it."""
    object_name = object_name_of(obj)
    owners = (mapping_at(obj, ("metadata",)) or {}).get("ownerReferences")
    if object_name is None or any(
        isinstance(one, Mapping) and one.get("controller") for one in _list(owners)
    ):
        return None
    spec = mapping_at(obj, ("spec",) if kind is POD else (*kind.template, "spec"))
    if spec is None:
        return None
    images = [
        str(container["image"])
        for group in ("initContainers", "containers")
        for container in _list(spec.get(group))
        if isinstance(container, Mapping) and isinstance(container.get("image"), str)
    ]
    account = spec.get("serviceAccountName") or spec.get("serviceAccount") or "default"
    return Puller(
        kind.name,
        f"{kind.plural}.{kind.group}" if kind.group else kind.plural,
        object_name,
        tuple(dict.fromkeys(images))[:IMAGES_MAX],
        names_in(spec),
        str(account),
    )


def names_in(holder: Json) -> frozenset[str]:
    """The names in the ``imagePullSecrets`` of a pod spec or a ServiceAccount."""
    return frozenset(
        str(entry["name"])
        for entry in islice(_list(holder.get("imagePullSecrets")), NAMES_MAX)
        if isinstance(entry, Mapping) and isinstance(entry.get("name"), str)
    )


def maker(obj: Json, kind: str) -> Maker | None:
    """Parse an object of External Secrets or the Vault Secrets Operator; None if it writes no pull secret."""
    object_name = object_name_of(obj)
    spec = mapping_at(obj, ("spec",))
    if object_name is None or spec is None:
        return None
    if kind == "ExternalSecret":
        target = mapping_at(spec, ("target",)) or {}
        made = (mapping_at(target, ("template",)) or {}).get("type")
        name = target.get("name") or object_name.name
        return (
            Maker(f"{kind} {object_name}", ObjectName(object_name.namespace, str(name)))
            if made in TYPES
            else None
        )
    destination = mapping_at(spec, ("destination",)) or {}
    if destination.get("type") not in TYPES or not isinstance(destination.get("name"), str):
        return None
    mount, path = spec.get("mount"), spec.get("path")
    static = kind == "VaultStaticSecret" and spec.get("type") == "kv-v2"
    known = (mount, path) if static and isinstance(mount, str) and isinstance(path, str) else None
    return Maker(f"{kind} {object_name}", ObjectName(object_name.namespace, destination["name"]), known)


def object_name_of(obj: Json) -> ObjectName | None:
    """The namespace and the name of an object; None if they are invalid."""
    metadata = mapping_at(obj, ("metadata",)) or {}
    namespace, name = metadata.get("namespace"), metadata.get("name")
    if not (isinstance(namespace, str) and isinstance(name, str) and is_label(namespace)):
        return None
    return ObjectName(namespace, name) if 0 < len(name) <= NAME_MAX and name.isprintable() else None


def _list(value: Any) -> Iterator[Any]:
    return iter(value if isinstance(value, list) else ())
