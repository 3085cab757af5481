"""A client with a namespace works only in it, even if the root namespace has the same setup."""

from __future__ import annotations

import pytest
from pydantic import SecretStr

from regcred.errors import RefusedError
from regcred.vault.http import Server
from regcred.vault.kv2 import connect, signed_in
from regcred.vault.login import TokenLogin
from regcred.vault.platform import apply_platform, ensure_project, plan_platform
from regcred.vault.platform.fleet import FleetPlatform

from . import identities
from .conftest import Keys, Real, SentRequests


def in_namespace(real: Real, path: str) -> dict[str, str]:
    return dict(real.vault.call("GET", f"regcred/data/{path}")["data"]["data"])


def test_a_document_in_a_namespace_is_not_in_the_root_namespace(
    namespaced: Real, openbao: Real, folder: str
) -> None:
    inside = namespaced.as_token(namespaced.vault.root_token)
    outside = openbao.as_token(openbao.vault.root_token)
    inside.write(f"{folder}/r", {"where": "inside"}, cas=0)
    assert outside.read(f"{folder}/r") is None
    assert in_namespace(namespaced, f"{folder}/r") == {"where": "inside"}
    outside.write(f"{folder}/other", {"where": "outside"}, cas=0)
    assert inside.read(f"{folder}/other") is None
    assert inside.list(folder) == ["r"]


@pytest.mark.parametrize("who", ["cluster", "lambda"])
def test_a_token_of_a_namespace_has_no_rights_in_the_root_namespace(
    namespaced: Real, openbao: Real, keys: dict[str, Keys], who: str
) -> None:
    login, path = {
        "cluster": (
            identities.cluster_login("c1", identities.service_account_token(keys["c1"])),
            "platform/clusters/c1",
        ),
        "lambda": (
            identities.lambda_login("rotate", identities.web_identity_token(keys["aws"], identities.ROTATE)),
            "upstream/payments/never",
        ),
    }[who]
    recorder = SentRequests()
    client = connect(namespaced.server, login, sleep=identities.short)
    client._kv._adapter.session.mount("http://", recorder)
    client.version(path)
    token = str(recorder.sent[-1].headers["X-Vault-Token"])
    assert namespaced.as_token(token).version(path) == client.version(path)
    with pytest.raises(RefusedError, match="permission denied"):
        openbao.as_token(token).version(path)


@pytest.mark.hashicorp
def test_a_namespace_is_refused_on_community_edition_which_ignores_it(
    hashicorp: Real,
) -> None:
    root = TokenLogin(lambda: SecretStr(hashicorp.vault.root_token))
    inside = signed_in(Server(hashicorp.addr, namespace="team"), root)
    for act in (
        lambda: plan_platform(inside, hashicorp.platform),
        lambda: apply_platform(inside, hashicorp.platform),
        lambda: ensure_project(inside, hashicorp.platform, "orders"),
        FleetPlatform(inside, hashicorp.platform).exists,
    ):
        with pytest.raises(RefusedError, match="Community Edition has no namespaces and ignores 'team'"):
            act()
