"""The documents of the ``regcred/`` mount as values; pure: text in, record out, and back.

Every document but the credential and the upstream secret is one JSON text in the field ``document``: OpenBao
refuses secrets of more than 500 keys, and audit logs hash strings but show numbers and key names.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import datetime, timedelta
from enum import StrEnum
from fnmatch import fnmatchcase
from typing import Annotated, Any, Self

from pydantic import (
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    StringConstraints,
    ValidationError,
    field_serializer,
    field_validator,
    model_validator,
)

from regcred.credential import Credential, Verified
from regcred.errors import ConflictError, MalformedError
from regcred.reference import LABEL_MAX, Reference, check_label
from regcred.vault import ledger

DOCUMENT = "document"
"""The one field of a JSON document."""

INDEX = "_index"
"""The name of a project's index beside its credentials; no registry can have it (not a DNS label)."""


def project_path(project: str) -> str:
    """Where platform admins say what a project may use."""
    return f"platform/projects/{check_label(project, field='project')}"


def cluster_path(cluster: str) -> str:
    """Where platform admins say which namespaces of a cluster may use which projects."""
    return f"platform/clusters/{check_label(cluster, field='cluster')}"


def registry_path(reference: Reference) -> str:
    """Where a registry's definition lies."""
    return f"registries/{reference}"


def upstream_path(reference: Reference) -> str:
    """Where the upstream secret lies; its owner may write it, only rotate may read it."""
    return f"upstream/{reference}"


def request_path(reference: Reference) -> str:
    """Where a user asks for something to be done now."""
    return f"requests/{reference}"


def rotation_path(reference: Reference) -> str:
    """Where rotate keeps its claim and its A/B slots."""
    return f"rotations/{reference}"


def credential_path(reference: Reference) -> str:
    """Where the credential lies, ready to project."""
    return f"credentials/{reference}"


def index_path(project: str) -> str:
    """Where a project's index lies."""
    return f"credentials/{check_label(project, field='project')}/{INDEX}"


def status_path(cluster: str, project: str) -> str:
    """Where the sync of a cluster says what is in place, and keeps its ledger."""
    return f"status/{check_label(cluster, field='cluster')}/{check_label(project, field='project')}"


class Record(BaseModel):
    """A JSON document that Regcred writes. Unknown fields are passed over, so that a newer writer can be upgraded first."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    @classmethod
    def parse(cls, fields: Mapping[str, str], *, path: str) -> Self:
        """Read a record from a document's fields.

        Args:
            fields: What the store returned.
            path: Where it was read, for the error text.

        Raises:
            MalformedError: names the field and what is wrong with it, never its value.
        """
        text = fields.get(DOCUMENT)
        if text is None:
            raise MalformedError(
                f"{path}: the field {DOCUMENT!r} with a JSON text is missing", field=DOCUMENT
            )
        try:
            return cls.model_validate_json(text)
        except ValidationError as error:
            raise malformed(error, where=path) from None

    def fields(self) -> dict[str, str]:
        """The document to write. Fields at their defaults are left out to keep large documents small."""
        return {DOCUMENT: self.model_dump_json(exclude_defaults=True)}


def malformed(error: ValidationError, *, where: str) -> MalformedError:
    """Turn pydantic's error into one line that names each wrong field; values are never repeated."""
    problems = [
        _problem(".".join(str(part) for part in item["loc"]), str(item["msg"]))
        for item in error.errors(include_url=False, include_context=False, include_input=False)
    ]
    text = "; ".join(f"{field}: {message}" for field, message in problems)
    return MalformedError(f"{where}: {text}", field=problems[0][0])


def _problem(field: str, message: str) -> tuple[str, str]:
    """The field and what is wrong with it, without pydantic's preface; a check of the whole document names the field itself."""
    ours = message.removeprefix("Value error, ")
    if not field and ours != message:
        field, _, ours = ours.partition(": ")
    return field or "the document", ours


class Declared(Record):
    """A JSON document that people write. Unknown fields are refused: a misspelt one must not be a silent default."""

    model_config = ConfigDict(extra="forbid", frozen=True)


Label = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", max_length=63)]


_GLOB = re.compile(r"[a-z0-9*]([-a-z0-9*]*[a-z0-9*])?")
_ROLE_ARN = re.compile(r"arn:aws[-a-z]*:iam::[0-9]{12}:role/regcred/[\w+=,.@/-]+")


class ProjectPolicy(Declared):
    """``platform/projects/P``: what a project may use. Empty lists allow nothing of that kind."""

    hosts: list[str] = []
    """Registry hosts that a definition may type (``registry.example.com:5000``, ``*.jfrog.io``: one glob per label)."""
    paths: dict[str, list[str]] = {}
    """By host, the repository path prefixes allowed there; a host not named here is allowed whole."""
    accounts: list[str] = []
    """Cloud accounts: AWS account ids, Google project ids, Azure tenant ids."""
    clusters: list[Label] = []
    """Clusters whose Vault identity may read this project's credentials."""
    role_arn: str = ""
    """The project's own IAM role (path ``/regcred/``) that rotate assumes before each federated call."""

    @field_validator("hosts")
    @classmethod
    def _hosts_are_hosts(cls, hosts: list[str]) -> list[str]:
        for host in hosts:
            if not host or "/" in host or host != host.strip().lower():
                raise ValueError(
                    f"{host[:80]!r} is not a host; write host[:port] in lower case, without scheme or path"
                )
        return hosts

    @field_validator("role_arn")
    @classmethod
    def _role_is_under_our_path(cls, arn: str) -> str:
        if arn and not _ROLE_ARN.fullmatch(arn):
            raise ValueError(
                "write arn:aws:iam::<account id>:role/regcred/<name>; rotate may assume no other role"
            )
        return arn


class ClusterGrants(Declared):
    """``platform/clusters/C``: which namespaces may use which projects."""

    grants: dict[Label, list[str]] = {}
    """By project, the namespaces: exact names, or globs (``team-a-*``) if ``globs`` is on."""
    globs: bool = False

    @model_validator(mode="after")
    def _namespaces_are_names(self) -> Self:
        for project, namespaces in self.grants.items():
            for name in namespaces:
                if "*" in name and not self.globs:
                    raise ValueError(
                        f"grants.{project}: {name[:80]!r} is a glob; name the namespace, or set globs to true"
                    )
                if len(name) > LABEL_MAX or not _GLOB.fullmatch(name):
                    raise ValueError(f"grants.{project}: {name[:80]!r} is not the name of a namespace")
        return self

    def allows(self, namespace: str, project: str) -> bool:
        """Whether a namespace may use a project. ``*`` stands for any characters, and only where ``globs`` is on."""
        return any(
            name == namespace or (self.globs and fnmatchcase(namespace, name))
            for name in self.grants.get(project, ())
        )


class Action(StrEnum):
    """What a user can ask for."""

    ROTATE = "rotate"
    VERIFY = "verify"
    REVOKE = "revoke"


class Request(Declared):
    """``requests/P/R``: written by a user with the user's own token; that write is the authority."""

    action: Action
    asked_at: AwareDatetime


class Definition(Record):
    """``registries/P/R``: kept as given; ``regcred.registry.definition`` gives it its type by ``provider``."""

    model_config = ConfigDict(extra="allow", frozen=True)

    provider: str

    def content(self) -> dict[str, Any]:
        """The definition as a plain mapping."""
        return self.model_dump(mode="json")

    def fields(self) -> dict[str, str]:
        """The document to write, whole: a definition has no defaults to leave out here."""
        return {DOCUMENT: self.model_dump_json()}


class State(StrEnum):
    """The state of a registry in the index."""

    OK = "ok"
    FAILING = "failing"
    """The last attempt failed; a credential of ``version`` may still be valid."""
    REVOKED = "revoked"
    """Revoked on purpose: positive proof for removal from clusters."""
    REMOVED = "removed"
    """The definition is gone: positive proof for removal from clusters."""


class IndexEntry(Record):
    """What anyone who may use a project needs to know of one registry, without a secret."""

    state: State
    version: int = 0
    """The version of ``credentials/P/R``; 0 before the first success."""
    fingerprint: str = ""
    """Differs whenever the credential's content differs; random, so it says nothing of the content."""
    provider: str = ""
    hosts: list[str] = []
    expires_at: AwareDatetime | None = None
    """None for a static credential."""
    refresh_at: AwareDatetime | None = None
    definition_version: int = 0
    """The version of ``registries/P/R`` that was last acted on."""
    verified: Verified = Verified.UNKNOWN
    warning: str = ""
    """What verification found that does not stop a static credential (it can do more than was asked)."""
    error: str = ""
    error_kind: str = ""
    failing_since: AwareDatetime | None = None
    next_attempt_at: AwareDatetime | None = None
    attempts: int = 0
    """Failures in a row."""
    changed_at: AwareDatetime
    """When the outcome that this entry tells was known; orders entries of one version."""


class Index(Record):
    """``credentials/P/_index``: one entry per registry of the project."""

    registries: dict[Label, IndexEntry] = {}


FINAL = frozenset({State.REVOKED, State.REMOVED})
"""States that only a newer credential ends."""

REMOVED_KEPT = timedelta(days=90)
"""How long a removed registry stays in the index, as proof for clusters that were cut off."""


def merge(index: Index, updates: Mapping[str, IndexEntry]) -> Index:
    """The index with ``updates`` merged in; the same object if nothing but ``changed_at`` would change.

    Monotonic by credential version, then by ``changed_at``: a late failure never hides a newer success, in
    whatever order writers arrive. A revoked or removed version stays so, whoever reports what of it later; only the
    error and the next attempt of such a report are taken over.

    An outcome that only repeats what is told already is not written, so its time is not remembered: a report that is
    older than the repetition, but newer than what is told, still counts. The next attempt corrects it.
    """
    entries = dict(index.registries)
    for name, new in updates.items():
        old = entries.get(name)
        entries[name] = new if old is None else newer(old, new)
    if entries == index.registries:
        return index
    latest = max(entry.changed_at for entry in entries.values())
    return Index(
        registries={
            name: entry
            for name, entry in entries.items()
            if entry.state is not State.REMOVED or entry.changed_at > latest - REMOVED_KEPT
        }
    )


def newer(old: IndexEntry, new: IndexEntry) -> IndexEntry:
    """Which of two entries of one registry holds, see :func:`merge`; the same whichever of them came first."""
    behind, ahead = sorted((old, new), key=lambda entry: (entry.version, entry.changed_at))
    if behind.version == ahead.version != 0 and behind.state in FINAL and ahead.state not in FINAL:
        ahead = ahead.model_copy(update={"state": behind.state})
    return old if same_outcome(old, ahead) else ahead


def same_outcome(old: IndexEntry, new: IndexEntry) -> bool:
    """Whether two entries tell the same but for ``changed_at``."""
    return old.model_copy(update={"changed_at": new.changed_at}) == new


class CredentialRecord(BaseModel):
    """``credentials/P/R``: flat string fields, so that any other tool can project it as it lies.

    ``username``, ``password`` are those of the first login; ``.dockerconfigjson`` holds all.
    """

    model_config = ConfigDict(extra="ignore", frozen=True)

    dockerconfigjson: SecretStr = Field(alias=".dockerconfigjson")
    username: str
    password: SecretStr
    hosts: str
    """All keys of the auths map, joined by ``,``."""
    provider: str
    fingerprint: str
    issued_at: AwareDatetime
    expires_at: AwareDatetime | None = None
    refresh_at: AwareDatetime | None = None
    revocation_id: str = Field(default="", repr=False)
    definition_version: int = 0
    """The version of ``registries/P/R`` that it was minted for: lets an index be repaired after a crash."""

    @field_validator("dockerconfigjson")
    @classmethod
    def _is_a_docker_config(cls, text: SecretStr) -> SecretStr:
        try:
            parsed = json.loads(text.get_secret_value())
        except ValueError:
            parsed = None
        if not isinstance(parsed, dict) or not isinstance(parsed.get("auths"), dict):
            raise ValueError("is not a Docker configuration: a JSON object with the key 'auths'")  # noqa: TRY004 - pydantic's contract
        return text

    @classmethod
    def of(
        cls, credential: Credential, *, reference: Reference, fingerprint: str, definition_version: int = 0
    ) -> CredentialRecord:
        """The record of a freshly minted credential."""
        first = credential.logins[0]
        return cls.model_validate(
            {
                ".dockerconfigjson": credential.dockerconfigjson(),
                "username": first.username,
                "password": first.password,
                "hosts": ",".join(credential.hosts),
                "provider": credential.provider,
                "fingerprint": fingerprint,
                "issued_at": credential.issued_at,
                "expires_at": credential.expires_at,
                "refresh_at": credential.refresh_at(reference),
                "revocation_id": credential.revocation_id,
                "definition_version": definition_version,
            }
        )

    @classmethod
    def parse(cls, fields: Mapping[str, str], *, path: str) -> CredentialRecord:
        """Read the record; empty strings stand for absent times.

        Raises:
            MalformedError: names the field and what is wrong with it, never its value.
        """
        try:
            return cls.model_validate({name: value for name, value in fields.items() if value})
        except ValidationError as error:
            raise malformed(error, where=path) from None

    def fields(self) -> dict[str, str]:
        """The string fields to write. This is where the secret is unwrapped: call it on the last line."""
        return {
            ".dockerconfigjson": self.dockerconfigjson.get_secret_value(),
            "username": self.username,
            "password": self.password.get_secret_value(),
            "hosts": self.hosts,
            "provider": self.provider,
            "fingerprint": self.fingerprint,
            "issued_at": _text(self.issued_at),
            "expires_at": _text(self.expires_at),
            "refresh_at": _text(self.refresh_at),
            "revocation_id": self.revocation_id,
            "definition_version": str(self.definition_version),
        }


def _text(time: datetime | None) -> str:
    return "" if time is None else time.isoformat()


class Claim(Record):
    """Who is rotating this registry now; another may take over when the lease has run out."""

    owner: str
    lease_until: AwareDatetime


class Slot(StrEnum):
    """The two slots of a static upstream that is rotated in turn."""

    A = "a"
    B = "b"


class Rotation(Record):
    """``rotations/P/R``: the claim, and for A/B upstreams the slots and every change before it is made."""

    claim: Claim | None = None
    active: Slot | None = None
    slots: dict[Slot, dict[str, SecretStr]] = {}
    """By slot, what the provider needs to use and to renew it (its user or token id, its secret)."""
    pending: Slot | None = None
    """The slot whose saved secret may or may not have been set upstream yet."""

    @field_serializer("slots", when_used="json")
    def _unwrap(self, slots: dict[Slot, dict[str, SecretStr]]) -> dict[str, dict[str, str]]:
        return {
            slot: {name: text.get_secret_value() for name, text in held.items()}
            for slot, held in slots.items()
        }


def take(rotation: Rotation, *, owner: str, now: datetime, lease: timedelta) -> Rotation:
    """The rotation claimed by ``owner`` until ``now + lease``; also renews the owner's own claim.

    Pure: write the answer with the version that ``rotation`` was read at, and the claim holds only if that succeeds.

    Args:
        rotation: What was read.
        owner: Who claims; different for every invocation (a Lambda request id).
        now: The time, aware.
        lease: For how long; longer than the invocation may run, or renewed within it.

    Raises:
        ConflictError: Another owner's lease still runs.
    """
    held = rotation.claim
    if held is not None and held.owner != owner and held.lease_until > now:
        raise ConflictError(
            f"another rotation holds the claim until {held.lease_until.isoformat(timespec='seconds')}; leave it to that one"
        )
    return rotation.model_copy(update={"claim": Claim(owner=owner, lease_until=now + lease)})


def renew(rotation: Rotation, *, owner: str, now: datetime, lease: timedelta) -> Rotation:
    """The rotation with the owner's lease prolonged to ``now + lease``, even a lease that has run out untaken.

    Raises:
        ConflictError: The claim is not ``owner``'s any more: it must stop at once.
    """
    if rotation.claim is None or rotation.claim.owner != owner:
        raise ConflictError(
            "the claim was lost to another rotation; stop here and leave the rest to that one"
        )
    return take(rotation, owner=owner, now=now, lease=lease)


def release(rotation: Rotation, *, owner: str) -> Rotation:
    """The rotation without the owner's claim; the same object if the claim is not (any more) the owner's."""
    if rotation.claim is None or rotation.claim.owner != owner:
        return rotation
    return rotation.model_copy(update={"claim": None})


class Placement(Record):
    """The ledger of one reference in one cluster: what sync has put where."""

    placed: dict[int, dict[str, str]] = {}
    """By credential version (0: about to be written), the namespaces and the first 8 digits of each one's uid."""
    unused_since: dict[str, AwareDatetime] = {}
    """By namespace, since when no annotated workload has needed it (the grace starts here)."""
    refused: dict[str, str] = {}
    """By namespace, why the reference is not projected there (``not-granted``, ``no-such-registry``, ``clash``, …)."""


class Status(Record):
    """``status/C/P``: written by the sync of C on change and as a heartbeat.

    In memory it names each namespace wherever it occurs; what is written names each once, see :mod:`regcred.vault.ledger`.
    """

    written_at: AwareDatetime
    registries: dict[str, Placement] = {}

    @classmethod
    def parse(cls, fields: Mapping[str, str], *, path: str) -> Self:
        """Read a status, see :meth:`Record.parse`."""
        text = fields.get(DOCUMENT)
        if text is None:
            raise MalformedError(
                f"{path}: the field {DOCUMENT!r} with a JSON text is missing", field=DOCUMENT
            )
        try:
            return cls.model_validate_json(ledger.unpack(text))
        except ValidationError as error:
            raise malformed(error, where=path) from None
        except ValueError as error:
            raise MalformedError(
                f"{path}: {error}; sync rewrites it at its next change", field=DOCUMENT
            ) from None

    def fields(self) -> dict[str, str]:
        """The document to write, compact: 10,000 namespaces times several registries stay far under Vault's 1 MiB."""
        return {DOCUMENT: ledger.pack(self.model_dump_json(exclude_defaults=True))}
