"""Writes and deletes our Secrets without the right to read them.

A response is judged by its status, ``reason`` and causes, and by dry runs, but never by its text.
Contract: https://kubernetes.io/docs/reference/using-api/api-concepts/#dry-run
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import orjson

from regcred.cluster.annotations import MANAGER
from regcred.cluster.dockerconfig import SecretBody, ownership_probe
from regcred.cluster.interface import AlreadyExistsError, DeniedError, NameTakenError, TerminatingError
from regcred.cluster.model import Kind
from regcred.cluster.session import METADATA, KubeSession
from regcred.errors import (
    ConflictError,
    ErrorAnswer,
    MalformedError,
    MissingError,
    RefusedError,
    RegcredError,
    TransientError,
)
from regcred.registry_reference import Reference

SECRETS = Kind("", "v1", "secrets", "Secret")
WRITTEN_BY = f"fieldManager={MANAGER}"
DRY_RUN = "dryRun=All"

_DENIALS = (RefusedError, MalformedError)
_FIXED = frozenset({"immutable", "data", "stringData"})
"""The fields that can't change in an immutable Secret (k8s.io/kubernetes pkg/apis/core/validation,
ValidateSecretUpdate)."""


class _ImmutableError(ConflictError):
    """Another client made the Secret immutable."""


@dataclass(frozen=True, slots=True)
class Secrets:
    """The Secrets of a cluster, with the rights of sync's account."""

    session: KubeSession

    async def apply(self, namespace: str, body: SecretBody, *, first: bool) -> None:
        """See :meth:`Cluster.apply_secret`.

        A PUT without resourceVersion replaces a Secret, and refuses to create one.
        """
        if not first:
            try:
                await self._replace(namespace, body, placed=True)
                return
            except MissingError:
                pass
            except _ImmutableError:
                uid = await self._uid_of_ours(namespace, body.reference, placed=True)
                await self._delete(namespace, body.reference, uid)
        if await self._create(namespace, body):
            return
        try:
            await self._prove_ours(namespace, body.reference, placed=not first)
            await self._replace(namespace, body, placed=not first)
        except _ImmutableError as error:
            raise await self._unproven(
                error, namespace, body.reference, "to receive the credential"
            ) from None

    async def delete(self, namespace: str, reference: Reference, *, placed: bool) -> None:
        """See :meth:`Cluster.delete_secret`."""
        try:
            uid = await self._prove_ours(namespace, reference, placed=placed)
        except MissingError:
            return
        except (DeniedError, _ImmutableError) as error:
            if not placed and isinstance(error, _ImmutableError):
                raise await self._unproven(error, namespace, reference, "if nothing else needs it") from None
            if not placed:
                raise
            uid = await self._uid_of_ours(namespace, reference, placed=True)
        await self._delete(namespace, reference, uid)

    async def _unproven(
        self, error: _ImmutableError, namespace: str, reference: Reference, when: str
    ) -> DeniedError:
        """The error for an immutable Secret with our name, type and label that is not in the ledger.

        Raises:
            NameTakenError: it has another type or label.
        """
        await self._uid_of_ours(namespace, reference, placed=False)
        words = f"{error}, and it is unknown who created it; delete it {when}"
        return DeniedError(words, words=words)

    async def _call(
        self, verb: str, path: str, *, query: str = "", body: bytes, accept: str = "application/json"
    ) -> dict[str, Any]:
        """Send a request.

        A webhook may deny with any status, even 404 or 409. Such a response does not name the object that is
        missing or in conflict, as those of the API server do. It raises RefusedError.
        """
        try:
            return await self.session.call(verb, path, query=query, body=body, accept=accept)
        except (MissingError, ConflictError) as error:
            answer = error.answer
            if answer is None or answer.about or not answer.reason or isinstance(error, TerminatingError):
                raise
            denied = RefusedError(str(error))
            denied.answer = answer
            raise denied from None

    async def _create(self, namespace: str, body: SecretBody, *, dry_run: bool = False) -> bool:
        """Create a Secret. Return False if it exists."""
        query = WRITTEN_BY + (f"&{DRY_RUN}" if dry_run else "")
        try:
            path = SECRETS.path(namespace)
            await self._call("POST", path, query=query, body=body.content, accept=METADATA)
        except AlreadyExistsError:
            return False
        except ConflictError as error:
            raise _again(error) from None
        except MissingError as error:
            if isinstance(error, TerminatingError) or _is_about(error, "namespaces"):
                raise
            raise _denied(namespace, body, error) from None
        except _DENIALS as error:
            raise _denied(namespace, body, error) from None
        return True

    async def _replace(
        self, namespace: str, body: SecretBody, *, placed: bool, dry_run: bool = False
    ) -> dict[str, Any]:
        """Replace an existing Secret.

        Args:
            namespace: Where it is.
            body: The new content.
            placed: Whether sync has written it, according to the ledger.
            dry_run: Whether to change nothing.

        Raises:
            MissingError: it does not exist.
            NameTakenError, DeniedError, _ImmutableError: nothing was changed.
        """
        query = WRITTEN_BY + (f"&{DRY_RUN}" if dry_run else "")
        path = SECRETS.path(namespace, body.name)
        try:
            return await self._call("PUT", path, query=query, body=body.content, accept=METADATA)
        except ConflictError as error:
            raise _again(error) from None
        except _DENIALS as error:
            raise await self._cause_of(error, namespace, body, placed=placed) from None

    async def _cause_of(
        self, error: RegcredError, namespace: str, body: SecretBody, *, placed: bool
    ) -> RegcredError:
        """Find out why a Secret was not replaced.

        A quota, policy or webhook that rejects our content would also refuse to create the Secret. If
        creation and deletion are both allowed, something rejects the change itself. Otherwise see
        :func:`_taken_or_denied`.
        """
        if known := _refusal_from_fields(error, namespace, body.reference):
            return known
        if await self._create(namespace, body, dry_run=True):
            return MissingError(f"Secret {namespace}/{body.name} does not exist")
        try:
            await self._uid(namespace, body)
        except MissingError as gone:
            return gone
        except _DENIALS as denial:
            return _taken_or_denied((error, denial), namespace, body, placed=placed)
        return _denied(namespace, body, error)

    async def _prove_ours(self, namespace: str, reference: Reference, *, placed: bool) -> str:
        """Prove that a Secret is ours, and return its uid.

        The response to a dry-run replacement shows who set the field ``type``. That field can't change, so
        its manager is the creator of the Secret.

        Raises:
            NameTakenError: another client created it.
            MissingError: it does not exist.
        """
        probe = ownership_probe(reference)
        metadata = (await self._replace(namespace, probe, placed=placed, dry_run=True))["metadata"]
        for entry in metadata.get("managedFields") or ():
            if entry.get("manager") == MANAGER and "f:type" in (entry.get("fieldsV1") or {}):
                return str(metadata["uid"])
        raise _taken(namespace, reference)

    async def _uid(self, namespace: str, body: SecretBody) -> str:
        """The uid of a Secret that we may delete, from a dry-run deletion."""
        path = SECRETS.path(namespace, body.name)
        options = orjson.dumps({"propagationPolicy": "Background"})
        answer = await self._call("DELETE", path, query=DRY_RUN, body=options, accept=METADATA)
        found = answer.get("details") or answer.get("metadata") or {}
        return str(found["uid"])

    async def _uid_of_ours(self, namespace: str, reference: Reference, *, placed: bool) -> str:
        """The uid of a Secret with our type and label.

        The policy that restricts sync forbids the deletion of any other Secret.

        Raises:
            NameTakenError, DeniedError: See :func:`_taken_or_denied`.
        """
        probe = ownership_probe(reference)
        try:
            return await self._uid(namespace, probe)
        except _DENIALS as error:
            raise _taken_or_denied((error,), namespace, probe, placed=placed) from None

    async def _delete(self, namespace: str, reference: Reference, uid: str) -> None:
        options = orjson.dumps({"preconditions": {"uid": uid}, "propagationPolicy": "Background"})
        try:
            await self._call("DELETE", SECRETS.path(namespace, reference.secret_name), body=options)
        except MissingError as error:
            if not _is_about(error, SECRETS.plural):
                raise _denied(namespace, ownership_probe(reference), error) from None
        except ConflictError as error:
            raise _again(error) from None
        except _DENIALS as error:
            raise _denied(namespace, ownership_probe(reference), error) from None


def _refusal_from_fields(error: RegcredError, namespace: str, reference: Reference) -> RegcredError | None:
    """The error, if the response alone proves the cause; None otherwise."""
    if _is_sign_in(error):
        return error
    fields = error.answer.fields if error.answer else frozenset()
    if "type" in fields:
        return _taken(namespace, reference)
    if fields & _FIXED:
        return _ImmutableError(f"Secret {namespace}/{reference.secret_name} is immutable")
    return None


def _is_sign_in(error: RegcredError) -> bool:
    """Whether the API server rejects our identity (401). That proves nothing about the Secret."""
    return error.answer is not None and error.answer.status == HTTPStatus.UNAUTHORIZED


def _taken_or_denied(
    denials: Sequence[RegcredError], namespace: str, body: SecretBody, *, placed: bool
) -> RegcredError:
    """The error for a Secret that exists, and that sync may neither change nor delete.

    The policy that restricts sync forbids both for another client's Secret, but so may a policy that freezes
    all Secrets. If the Secret is ours according to the ledger, it stays in the ledger, because sync would
    otherwise never remove it. A denial by a webhook, a quota or RBAC does not show who created the Secret.

    Returns:
        NameTakenError if another client must have created it; otherwise DeniedError with the message of the
        first denial.
    """
    for denial in denials:
        if _is_sign_in(denial):
            return denial
    if placed or not all(denial.answer and denial.answer.policy for denial in denials):
        return _denied(namespace, body, denials[0])
    return _taken(namespace, body.reference)


def _is_about(error: RegcredError, resource: str) -> bool:
    return error.answer is not None and error.answer.about == resource


def _again(error: RegcredError) -> TransientError:
    """The error for a 409 that is not ``AlreadyExists``: another client wrote at the same time.

    It may have changed the count of a quota, or the same Secret.
    """
    again = TransientError(str(error))
    again.answer = error.answer
    return again


def _taken(namespace: str, reference: Reference) -> NameTakenError:
    return NameTakenError(f"Secret {namespace}/{reference.secret_name} exists and is not ours")


def _denied(namespace: str, body: SecretBody, error: RegcredError) -> RegcredError:
    """The error for a write that something in the cluster forbids.

    It includes the server's message, unless that repeats a part of the credential.
    """
    if _is_sign_in(error):
        return error
    answer = error.answer or ErrorAnswer(0)
    words = answer.words
    if not words or body.is_in(words):
        words = f"the API server answered {answer.status} {answer.reason}".rstrip()
    denied = DeniedError(f"Secret {namespace}/{body.name} was not written: {words}", words=words)
    denied.answer = error.answer
    return denied
