"""The pages of the console, by who sees them: the tests check each, and `make screenshots` shows them."""

from __future__ import annotations

PAGES = {
    "alice": [
        "/",
        "/registries",
        "/registries?q=nothing-fits",
        "/registries/payments/ecr-prod",
        "/registries/payments/tools",
        "/registries/payments/nexus",
        "/registries/payments/ecr-prod/edit",
        "/registries/payments/nexus/secret",
        "/registries/payments/nexus/do/revoke",
        "/registries/add",
        "/registries/add?provider=gar",
        "/registries/add?provider=ecr",
        "/annotation?ref=payments/ecr-prod&ref=payments/nexus",
        "/annotation",
        "/clusters",
        "/clusters/edge-1",
        "/projects",
        "/projects/payments",
        "/explain",
        "/no/such/page",
    ],
    "petra": [
        "/",
        "/clusters/edge-1",
        "/clusters/edge-2",
        "/projects/search",
        "/projects/search/edit",
        "/projects/add",
    ],
    "nobody": ["/", "/registries", "/projects", "/clusters"],
    "": ["/sign-in"],
}
"""By user name; nobody has no project, and the empty name has not signed in."""
