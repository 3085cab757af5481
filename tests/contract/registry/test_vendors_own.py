"""What only one vendor has: each test is against that vendor's stand-in."""

from __future__ import annotations

import pytest
from contract.registry.harness import Bench
from fakes.vendors.aws import Aws
from fakes.vendors.network import Network
from fakes.vendors.tokens import Gitlab, GitlabDependencyProxy, GitlabProject

from regcred.errors import RefusedError
from regcred.registry.interface import Verdict


def test_a_gitlab_groups_dependency_proxy_is_in_the_same_login(network: Network, aws: Aws) -> None:
    bench = Bench(GitlabDependencyProxy(network, aws))
    credential = bench.mint()
    assert credential.hosts == ("gitlab.com/team/dependency_proxy/containers/", "registry.gitlab.com/team/")
    assert bench.verify(credential).verdict is Verdict.CAN_PULL


@pytest.mark.parametrize(
    ("vendor", "said"),
    [(Gitlab, "is of an Owner of the group"), (GitlabProject, "a Maintainer or Owner of the project")],
)
def test_gitlab_says_which_role_is_lacking(
    network: Network, aws: Aws, vendor: type[Gitlab], said: str
) -> None:
    bench = Bench(vendor(network, aws))
    bench.vendor.role = "maintainer" if vendor is Gitlab else "developer"  # type: ignore[attr-defined]
    with pytest.raises(RefusedError, match=said):
        bench.mint()
