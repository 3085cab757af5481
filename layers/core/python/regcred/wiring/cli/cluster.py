"""Connects the command line to the cluster of the user's kubeconfig."""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Any, Self

from regcred.cluster.session import KubeSession
from regcred.errors import MalformedError
from regcred.wiring.cli import Around, silently
from regcred.wiring.kubeconfig import named_files, usable


class OwnCluster:
    """:class:`regcred.cli.session.UserCluster` over one connection to the API server.

    Args:
        context: The kubeconfig's context; None for the current one.
        around: See :data:`Around`.

    Raises:
        MalformedError: no kubeconfig can be used, or the context does not exist.
    """

    def __init__(self, context: str | None, around: Around = silently) -> None:
        from kubernetes.aio import client, config

        self._runner = asyncio.Runner()
        configuration = client.Configuration()
        try:
            files = named_files()
            with usable(context):
                loading = config.load_kube_config(files, context=context, client_configuration=configuration)
                self._runner.run(loading)
                contexts, current = config.list_kube_config_contexts(files)
        except MalformedError:
            self._runner.close()
            raise
        chosen = next((entry for entry in contexts if entry["name"] == context), current)
        self.namespace: str = chosen["context"].get("namespace") or "default"
        self._configuration = configuration
        self._context = context
        self._around = around
        self._session: KubeSession | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._session:
            self._runner.run(self._session.close())
        self._runner.close()

    def get(self, path: str, query: str = "", *, accept: str = "application/json") -> dict[str, Any]:
        """Read an object or a list at an API path."""
        with self._around(f"the API server {self._configuration.host}"):
            return self._runner.run(self._get(path, query, accept))

    async def _get(self, path: str, query: str, accept: str) -> dict[str, Any]:
        if self._session is None:
            with usable(self._context):
                self._session = KubeSession(self._configuration)
        return await self._session.call("GET", path, query=query, accept=accept)
