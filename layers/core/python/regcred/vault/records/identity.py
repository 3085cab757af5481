"""The cluster that is pinned to a name.

The first sync with the name pins its cluster, so that no other cluster uses the name by mistake.
"""

from __future__ import annotations

from pydantic import AwareDatetime, Field

from regcred.vault.records.document import Record


class ClusterIdentity(Record):
    """``identities/C``: written once by the sync of C.

    A platform admin deletes it with ``regcred cluster reset C``.
    """

    uid: str = Field(min_length=1, max_length=100)
    """The uid of the cluster's namespace kube-system."""
    pinned_at: AwareDatetime
