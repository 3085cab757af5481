"""Lists of the Kubernetes API, page by page, with a limit on the bytes in memory.

Contract: https://kubernetes.io/docs/reference/using-api/api-concepts/#retrieving-large-results-sets-in-chunks
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from urllib.parse import quote

from msgspec import Raw

from regcred.cluster.interface import TooLargeError
from regcred.cluster.pruning import page
from regcred.cluster.session import KubeSession
from regcred.errors import TransientError

PAGE = 500
"""Objects per page, if they are not too large."""

PAGE_BYTES = 8 * 2**20
"""The maximum size of a page with more than one object. If a page is larger, fewer objects are requested."""

OBJECT_BYTES = 16 * 2**20
"""The maximum size of one object. The API server stores up to 1.5 MiB, and JSON encodes some characters in
six bytes."""

METADATA_LIST = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"

FEWER = 8
"""The factor by which the number of objects shrinks if a page is too large."""


@dataclass(frozen=True, slots=True)
class Page:
    """Some objects of a list, each as JSON, and the list's resourceVersion."""

    objects: list[Raw]
    resource_version: str


async def pages(session: KubeSession, path: str, *, query: str = "", accept: str) -> AsyncIterator[Page]:
    """Yield all objects of a list.

    An object that is larger than :data:`OBJECT_BYTES` is returned as its metadata.

    Raises:
        RegcredError: by HTTP status.
        TransientError: a response is not a list, or the metadata of one object is too large.
    """
    limit, form, token = PAGE, accept, ""
    while True:
        parts = [f"limit={limit}", query, f"continue={quote(token)}" if token else ""]
        try:
            content = await session.fetch(
                path,
                query="&".join(filter(None, parts)),
                accept=form,
                most=PAGE_BYTES if limit > 1 else OBJECT_BYTES,
            )
        except TooLargeError as error:
            if limit == 1 and form == METADATA_LIST:
                raise TransientError(str(error)) from None
            form = METADATA_LIST if limit == 1 else form
            limit = max(1, limit // FEWER)
            continue
        try:
            version, token, objects = page(content)
        except ValueError:
            raise TransientError(
                f"the answer to {path} is not a list; is this a Kubernetes API server?"
            ) from None
        size = len(content)
        del content
        yield Page(objects, version)
        del objects
        if not token:
            return
        form = accept
        if size * 4 < PAGE_BYTES:
            limit = min(PAGE, limit * 2)
