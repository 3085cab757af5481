"""The documents that a project's admins write: definitions, upstream secrets and requests."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime

from pydantic import SecretStr

from regcred import tracing
from regcred.errors import ConflictError
from regcred.registry_reference import Reference, check_label
from regcred.vault.records.declared import Action, Definition, Request
from regcred.vault.records.paths import (
    registry_path,
    request_path,
    revocation_path,
    upstream_path,
)
from regcred.vault.records.upstream import Upstream
from regcred.vault.store.base import CAS_ATTEMPTS, TypedRecords, Versioned, owned


class RegistryRecords(TypedRecords):
    """The definitions of registries, their upstream secrets, and people's requests."""

    def projects(self) -> list[str]:
        """The names of all projects that have registries or credentials, including removed registries."""
        folders = ("registries", "credentials")
        return sorted({name.rstrip("/") for folder in folders for name in self._kv.list(folder)})

    def projects_with_credentials(self) -> list[str]:
        """Projects that have credentials or an index."""
        return [name.rstrip("/") for name in self._kv.list("credentials")]

    def registries(self, project: str) -> list[str]:
        """The names of a project's registries."""
        return [name for name in self._kv.list(f"registries/{project}") if not name.endswith("/")]

    def definition(self, reference: Reference) -> Versioned[Definition] | None:
        """A registry's definition as it was written."""
        return self._record(registry_path(reference), Definition)

    def definition_version(self, reference: Reference) -> int:
        """The version of a registry's definition."""
        return self._kv.version(registry_path(reference))

    def write_definition(
        self, reference: Reference, definition: Definition, *, cas: int, owner: str = ""
    ) -> int:
        """Write a registry's definition, and its declared owner."""
        return self._kv.write(registry_path(reference), owned(definition, owner), cas=cas)

    def remove_definition(self, reference: Reference) -> None:
        """Delete the definition and the upstream secret of a registry. The next sweep does the rest.

        A definition that is written again starts at version 1, so its writer must also request a rotation.
        """
        self._kv.delete(registry_path(reference))
        self._kv.delete(upstream_path(reference))

    def upstream(self, reference: Reference) -> Versioned[Upstream] | None:
        """The upstream secret."""
        document = self._kv.read(upstream_path(reference))
        return None if document is None else Versioned(Upstream.of(document.fields), document.version)

    def write_upstream(
        self, reference: Reference, fields: Mapping[str, SecretStr], *, bound_to: str, cas: int
    ) -> int:
        """Write the upstream secret, and return its version. This destroys the previous version.

        Args:
            reference: The registry.
            fields: The secret.
            bound_to: Where it may be sent, see :func:`regcred.registry.secret_destination.destination_text`.
            cas: The version to replace.
        """
        return self._kv.write(upstream_path(reference), Upstream(fields, bound_to).document(), cas=cas)

    def upstream_version(self, reference: Reference) -> int:
        """The version of the upstream secret, without reading it."""
        return self._kv.version(upstream_path(reference))

    def pending_requests(self, project: str) -> tuple[list[str], list[str]]:
        """The names of a project's registries with requests, and of those with requests to revoke."""
        names = self._kv.list(f"requests/{check_label(project, field='project')}")
        revoked = self._kv.list(f"requests/{project}/revoke") if "revoke/" in names else []
        return [name for name in names if not name.endswith("/")], [
            name for name in revoked if not name.endswith("/")
        ]

    def request(self, reference: Reference) -> Versioned[Request] | None:
        """The request, if it is not a revocation."""
        return self._record(request_path(reference), Request)

    def revocation(self, reference: Reference) -> Versioned[Request] | None:
        """The request to end the credential."""
        return self._record(revocation_path(reference), Request)

    def request_version(self, reference: Reference, *, revocation: bool = False) -> int:
        """The version of a request, even if it is unreadable; 0 if there is none."""
        return self._kv.version((revocation_path if revocation else request_path)(reference))

    def create_request(self, reference: Reference, action: Action, now: datetime) -> Request:
        """Write a new request, and return it. If tracing is on, the request begins a trace.

        Raises:
            ConflictError: see :meth:`write_request`.
        """
        with tracing.span(
            "request", project=reference.project, registry=reference.registry, task=action.value
        ) as span:
            request = Request(action=action, requested_at=now, traceparent=span.traceparent)
            self.write_request(reference, request)
        return request

    def write_request(self, reference: Reference, request: Request) -> int:
        """Write a request, and return its version.

        The right to write it is the authority. A revocation has priority, and otherwise the newest request.

        Raises:
            ConflictError: other writers won every time. Their request stays.
        """
        path = (revocation_path if request.action is Action.REVOKE else request_path)(reference)
        for attempt in range(CAS_ATTEMPTS):
            with suppress(ConflictError):
                # Usually there is no earlier request. So its version is read only after a conflict.
                version = self._kv.version(path) if attempt else 0
                return self._kv.write(path, request.fields(), cas=version)
        raise ConflictError(f"{path}: others wrote requests at the same time; try again")

    def remove_request(self, reference: Reference, version: int, *, revocation: bool = False) -> None:
        """Remove a request after it was handled, unless a newer one has arrived.

        KV v2 has no conditional delete. So a request that arrives after the check of the version is deleted
        without an outcome. The person who sends a request waits for its outcome in the index, and sends the
        request again without one.
        """
        path = (revocation_path if revocation else request_path)(reference)
        if self._kv.version(path) == version:
            self._kv.delete(path)
