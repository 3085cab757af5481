"""Rules of single vendors that the common suite does not test. The stand-ins are as strict as the vendors."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import pytest
from contract.registry.harness import Bench, vendor_id
from contract.registry.rotating import World
from fakes.vendors.aws import ISSUER, Aws
from fakes.vendors.federated import QuayFederated
from fakes.vendors.gitea import Gitea
from fakes.vendors.harbor import Harbor, HarborSystem
from fakes.vendors.jfrog import JfrogAws, JfrogOidc, JfrogToken
from fakes.vendors.network import Network, Request, Response
from fakes.vendors.nexus import Nexus
from fakes.vendors.tokens import DockerHubOrganisation, Gitlab, TokenKeeper
from fakes.vendors.vendor import PROJECT_ROLE, Vendor
from pydantic import SecretStr

from regcred.credential import Credential
from regcred.errors import RefusedError, TransientError
from regcred.registry import transport
from regcred.registry.interface import IssuedCredential, Revoked, Verdict
from regcred.registry.parsing import parse
from regcred.registry.secret_destination import destination_text
from regcred.registry.transport import Basic, Bearer
from regcred.registry.trust import ProjectRole
from regcred.registry_reference import Reference
from regcred.rotate import RotationResult
from regcred.rotation_message import RotationReason
from regcred.vault.records.declared import Action, Definition

NAMED_TOKENS = (DockerHubOrganisation, Gitea, Gitlab, Harbor, HarborSystem)


def redefine(bench: Bench, **fields: Any) -> Bench:
    """Change fields of the definition of the bench."""
    bench.definition = parse({**bench.vendor.definition, **fields}, where="here")
    return bench


def paste(text: str) -> None:
    """Run the `curl` commands of a trust text against the stand-ins."""
    for command in _commands(text):
        words = shlex.split(command)
        method = words[words.index("--request") + 1]
        url = next(word for word in words if word.startswith("https://"))
        answer = transport.send(method, url, document=json.loads(words[words.index("--data") + 1]))
        assert answer.status in {200, 201, 204}, f"{method} {url}: {answer.status}"


def _commands(text: str) -> list[str]:
    """The `curl` commands of a text. A command ends where its quotation marks are closed."""
    found, open_ = [], ""
    for line in text.replace("\\\n", " ").splitlines():
        open_ = f"{open_}\n{line}" if open_ else line
        if not open_.startswith("curl"):
            open_ = ""
        elif open_.count("'") % 2 == 0:
            found.append(open_)
            open_ = ""
    return found


def trust_of(bench: Bench) -> str:
    return bench.definition.trust(ProjectRole("payments", PROJECT_ROLE, ISSUER))


def pull_token(credential: Credential, realm: str, service: str) -> Bearer:
    """A pull token for the login, as a client fetches one."""
    login = credential.logins[0]
    answer = transport.send(
        "GET",
        realm,
        auth=Basic(login.username, login.password),
        query=(("service", service), ("scope", "repository:team/app:pull")),
    )
    return Bearer(SecretStr(answer.fields(what=realm)["token"]))


def pulls(host: str, token: Bearer) -> bool:
    accept = {
        "Accept": "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json, "
        "application/vnd.docker.distribution.manifest.list.v2+json, "
        "application/vnd.docker.distribution.manifest.v2+json"
    }
    url = f"https://{host}/v2/team/app/manifests/1"
    return transport.send("HEAD", url, auth=token, headers=accept).status == 200


# Trust texts: their commands work.


@pytest.mark.parametrize("vendor", [JfrogAws, JfrogOidc, QuayFederated], ids=vendor_id)
@pytest.mark.parametrize("path", ["sub with path", "sub without path"])
def test_the_commands_of_the_trust_text_let_the_project_in(
    network: Network, aws: Aws, vendor: type[Vendor], path: str
) -> None:
    aws.subject_has_path = path == "sub with path"
    bench = Bench(vendor(network, aws))
    paste(trust_of(bench))
    assert bench.verify(bench.mint()).verdict is Verdict.CAN_PULL


def test_jfrog_refuses_a_role_with_a_path_and_a_role_of_another_partition(network: Network, aws: Aws) -> None:
    bench = Bench(JfrogAws(network, aws))
    url = "https://example.jfrog.io/access/api/v1/aws/iam_role"
    for role in (PROJECT_ROLE, "arn:aws-us-gov:iam::111122223333:role/payments"):
        refused = transport.send("PUT", url, document={"username": "puller", "iam_role": role})
        assert refused.status == 400
    gov = ProjectRole("payments", "arn:aws-us-gov:iam::111122223333:role/regcred/payments")
    text = bench.definition.trust(gov)
    assert "use 'auth: oidc'" in text
    assert "curl" not in text


def test_a_status_400_of_quay_is_a_refusal_with_a_remedy(network: Network, aws: Aws) -> None:
    bench = Bench(QuayFederated(network, aws))
    bench.vendor.federation = []
    with pytest.raises(RefusedError, match="400; give the robot a federation"):
        bench.mint()


def test_quays_trust_text_warns_that_quay_does_not_check_the_audience(network: Network, aws: Aws) -> None:
    bench = redefine(Bench(QuayFederated(network, aws)), audience="https://quay.io/another")
    assert bench.verify(bench.mint()).verdict is Verdict.CAN_PULL, "the stand-in does not check the audience"
    assert "does not check the audience" in trust_of(bench)


# JFrog: revocation.


@pytest.mark.parametrize(
    ("vendor", "seconds", "outcome"),
    [
        (JfrogToken, 600, Revoked.YES),
        (JfrogAws, 600, Revoked.UNSUPPORTED),
        (JfrogAws, 21600, Revoked.YES),
    ],
)
def test_a_jfrog_token_is_reported_as_revoked_only_if_it_stops_working(
    network: Network, aws: Aws, vendor: type[JfrogAws], seconds: int, outcome: Revoked
) -> None:
    bench = redefine(Bench(vendor(network, aws)), lifetime_seconds=seconds)
    credential = bench.mint()
    assert bench.revoke(credential) is outcome
    works = bench.verify(credential).verdict is Verdict.CAN_PULL
    assert works is (outcome is Revoked.UNSUPPORTED), "a revoked token must not work"


def test_an_older_jfrog_that_stores_no_short_lived_token_cannot_revoke_it(network: Network, aws: Aws) -> None:
    bench = redefine(Bench(JfrogToken(network, aws)), lifetime_seconds=600)
    bench.vendor.version = (7, 49, 8)
    credential = bench.mint()
    assert bench.revoke(credential) is Revoked.UNSUPPORTED
    assert bench.verify(credential).verdict is Verdict.CAN_PULL


def test_a_revocation_without_the_token_sends_no_request_to_jfrog(network: Network, aws: Aws) -> None:
    bench = Bench(JfrogAws(network, aws))
    issued = IssuedCredential.of(bench.mint())
    without_token = IssuedCredential(issued.revocation_id, None)
    before = len(network.requests)
    assert bench.provider.revoke(bench.definition, without_token, bench.context()) is Revoked.UNSUPPORTED
    assert len(network.requests) == before


@pytest.mark.parametrize(
    "groups",
    [["readers"], ["readers", "my-group"], ["with space", "a:b", "x" * 100]],
)
def test_jfrogs_group_names_are_quoted(network: Network, aws: Aws, groups: list[str]) -> None:
    bench = redefine(Bench(JfrogToken(network, aws)), groups=groups)
    bench.mint()
    (scope,) = [request.document["scope"] for request in network.requests if request.path.endswith("/tokens")]
    assert scope == "applied-permissions/groups:" + ",".join(f'"{group}"' for group in groups)


# Nexus: pull tokens.


def test_a_nexus_revocation_ends_the_pull_tokens_that_clients_hold(network: Network, aws: Aws) -> None:
    bench = Bench(Nexus(network, aws))
    credential = bench.mint()
    token = pull_token(credential, "https://nexus.example.com:8443/v2/token", "nexus")
    assert pulls("nexus.example.com:8443", token)
    assert bench.revoke(credential) is Revoked.YES
    assert not pulls("nexus.example.com:8443", token), "a new password alone does not end it"
    assert bench.vendor.disabled == set()
    again = bench.mint()
    assert bench.verify(again).verdict is Verdict.CAN_PULL


def test_a_nexus_revocation_that_breaks_off_is_finished_by_the_next_one(network: Network, aws: Aws) -> None:
    bench = Bench(Nexus(network, aws))
    credential = bench.mint()
    network.fail(r"PUT .*/change-password", lambda request: Response(503), times=1)
    with pytest.raises(TransientError):
        bench.revoke(credential)
    assert bench.revoke(credential) is Revoked.YES
    assert bench.vendor.disabled == set()


# Docker Hub.


def test_a_prefix_becomes_a_glob_at_docker_hub(network: Network, aws: Aws) -> None:
    bench = redefine(Bench(DockerHubOrganisation(network, aws)), repositories=["team/"])
    credential = bench.mint()
    (kept,) = bench.vendor.kept.values()
    assert kept.rights.pull == ["team/*"]
    assert bench.verify(credential).verdict is Verdict.CAN_PULL


def test_hardened_images_add_their_host_and_all_public_repositories(network: Network, aws: Aws) -> None:
    bench = redefine(Bench(DockerHubOrganisation(network, aws)), hardened_images=True)
    credential = bench.mint()
    (kept,) = bench.vendor.kept.values()
    assert kept.rights.pull == ["team/app", "*/*/public"]
    assert "dhi.io" in credential.hosts
    assert bench.verify(credential).verdict is Verdict.CAN_PULL


def test_expired_tokens_of_removed_registries_are_deleted_at_docker_hub(network: Network, aws: Aws) -> None:
    bench = Bench(DockerHubOrganisation(network, aws))
    now = network.clock.time()
    for number in range(9):
        name = f"regcred-payments-old{number}-0badf00d-a-{int(now) - 99 * 86400:x}-00000000"
        bench.vendor.keep(f"{number}dead000", name, "team", now - 3 * 86400, ["team/old"])
    bench.vendor.keep("abc0", "a person's", "team", now - 3 * 86400, ["team/app"])
    bench.mint()
    assert len(bench.vendor.kept) == 2, "the person's, and the new one"


def test_the_error_for_a_full_docker_hub_plan_names_the_limits(network: Network, aws: Aws) -> None:
    bench = Bench(DockerHubOrganisation(network, aws))
    for number in range(10):
        bench.vendor.keep(f"abc{number}", f"person {number}", "team", network.clock.time() + 99, [])
    with pytest.raises(RefusedError, match="Team has 10 and Business 100"):
        bench.mint()


# A definition that changes to another place.

OLD_PLACES: dict[type[Vendor], dict[str, Any]] = {
    DockerHubOrganisation: {"organisation": "old-team", "repositories": ["old-team/app"], "probe": ""},
    Gitlab: {"group": "old-team", "repositories": ["old-team/"], "probe": ""},
    Harbor: {"harbor_project": "tools", "probe": ""},
    HarborSystem: {"harbor_projects": (), "harbor_project": "team", "probe": ""},
}
"""For each vendor, the fields that the definition had at its old place."""


class Moved(World):
    """A registry with credentials at one place, whose definition now names another place."""

    def __init__(self, vendor: Vendor) -> None:
        super().__init__(vendor)
        self._write({**vendor.definition, **OLD_PLACES[type(vendor)]})
        assert self.run(RotationReason.NEW) is RotationResult.ROTATED, self.entry.error
        for _ in range(2):
            assert self.run_when_due() is RotationResult.ROTATED, self.entry.error
        self.vendor.clock.advance(timedelta(hours=1))
        self.old = set(vendor.kept)
        self._write(dict(vendor.definition))

    def _write(self, content: Mapping[str, Any]) -> None:
        """Write a definition, and enter its upstream secret for the hosts that it names."""
        cas = self.store.definition_version(self._reference)
        self.store.write_definition(self._reference, Definition.model_validate(content), cas=cas)
        secret = {name: SecretStr(value) for name, value in self.vendor.upstream.items()}
        bound_to = destination_text(parse(content, where="test"))
        cas = self.store.upstream_version(self._reference)
        self.store.write_upstream(self._reference, secret, bound_to=bound_to, cas=cas)

    _reference = Reference("payments", "main")


@pytest.fixture(params=list(OLD_PLACES), ids=vendor_id)
def moved(request: pytest.FixtureRequest, network: Network, aws: Aws) -> Moved:
    return Moved(request.param(network, aws))


def test_tokens_at_the_old_place_end_once_clusters_have_the_new_one(moved: Moved) -> None:
    assert len(moved.old) == 2
    in_force = moved.store.credential(Reference("payments", "main"))
    assert in_force is not None
    assert moved.run(RotationReason.EDITED) is RotationResult.ROTATED, moved.entry.error
    assert in_force.value.revocation_id in moved.vendor.kept, "clusters still use it"
    moved.vendor.clock.advance(timedelta(minutes=2))
    moved.request(Action.ROTATE)
    assert moved.run(RotationReason.REQUESTED) is RotationResult.ROTATED
    assert in_force.value.revocation_id in moved.vendor.kept, "clusters may still use it"
    for _ in range(2):
        moved.run_when_due()
    assert not moved.old & set(moved.vendor.kept)
    assert len(moved.vendor.kept) == 2


def test_revoking_after_a_move_ends_the_tokens_at_both_places(moved: Moved) -> None:
    assert moved.run(RotationReason.EDITED) is RotationResult.ROTATED, moved.entry.error
    moved.request(Action.REVOKE)
    assert moved.run(RotationReason.REQUESTED) is RotationResult.REVOKED
    assert moved.vendor.kept == {}


def test_a_refusal_at_the_old_place_stops_no_rotation_and_is_tried_again(
    moved: Moved, network: Network
) -> None:
    assert moved.run(RotationReason.EDITED) is RotationResult.ROTATED
    in_turn = moved.vendor.kept.keys() & moved.old
    answer = network.answer

    def refusing(request: Request) -> Response:
        mine = request.path.rpartition("/")[2] in in_turn and request.method == "DELETE"
        return Response(403, {"message": "no"}) if mine else answer(request)

    network.answer = refusing
    try:
        moved.run_when_due()
        assert moved.entry.error == ""
        assert in_turn <= set(moved.vendor.kept)
    finally:
        network.answer = answer
    moved.run_when_due()
    assert not in_turn & set(moved.vendor.kept)


# Names of tokens.


@pytest.mark.parametrize("vendor", NAMED_TOKENS, ids=vendor_id)
@pytest.mark.parametrize(
    "reference",
    [Reference("pay--ments", "ma---in"), Reference("p" * 63, "r" * 63), Reference("a--" + "b" * 60, "c")],
    ids=["dashes", "long", "both"],
)
def test_the_vendor_accepts_the_names_of_our_tokens(
    network: Network, aws: Aws, vendor: type[TokenKeeper], reference: Reference
) -> None:
    bench = Bench(vendor(network, aws))
    context = bench.context()
    object.__setattr__(context, "reference", reference)
    credential = bench.provider.mint(bench.definition, context)
    assert bench.verify(credential).verdict is Verdict.CAN_PULL
    ended = bench.provider.revoke(bench.definition, IssuedCredential.of(credential), context)
    assert ended is Revoked.YES
    assert bench.vendor.kept == {}


@pytest.mark.parametrize("length", [1, 100, 190])
def test_a_robots_name_fits_beside_the_longest_project(network: Network, aws: Aws, length: int) -> None:
    vendor = Harbor(network, aws)
    project = "p" * length
    vendor.projects = {project: 7}
    bench = redefine(Bench(vendor), harbor_project=project, probe="")
    context = bench.context()
    object.__setattr__(context, "reference", Reference("p" * 63, "r" * 63))
    bench.provider.mint(bench.definition, context)
    (kept,) = vendor.kept.values()
    assert len(f"{project}+{kept.name}") <= 255


# Harbor.


@pytest.mark.parametrize("vendor", [Harbor, HarborSystem], ids=vendor_id)
@pytest.mark.parametrize("effect", ["", "allow"])
def test_a_maker_robot_gives_its_permissions_with_or_without_an_effect(
    network: Network, aws: Aws, vendor: type[Harbor], effect: str
) -> None:
    bench = Bench(vendor(network, aws))
    bench.vendor.maker_effect = effect
    assert bench.verify(bench.mint()).verdict is Verdict.CAN_PULL


@pytest.mark.parametrize("vendor", [Harbor, HarborSystem], ids=vendor_id)
@pytest.mark.parametrize(
    "lacking",
    [
        ("robot", "create"),
        ("robot", "list"),
        ("robot", "delete"),
        ("repository", "pull"),
        ("project", "read"),
    ],
    ids=":".join,
)
def test_a_maker_robot_without_a_permission_creates_nothing_and_the_error_names_it(
    network: Network, aws: Aws, vendor: type[Harbor], lacking: tuple[str, str]
) -> None:
    bench = Bench(vendor(network, aws))
    bench.vendor.maker.remove(lacking)
    with pytest.raises(RefusedError) as caught:
        bench.mint()
    assert bench.vendor.kept == {}
    if lacking[0] != "project" and lacking != ("robot", "list"):
        assert f"lacks {':'.join(lacking)}" in str(caught.value)


@pytest.mark.parametrize("vendor", [Harbor, HarborSystem], ids=vendor_id)
def test_harbors_read_only_mode_is_a_transient_error(
    network: Network, aws: Aws, vendor: type[Harbor]
) -> None:
    bench = Bench(vendor(network, aws))
    credential = bench.mint()
    bench.vendor.read_only = True
    with pytest.raises(TransientError, match="read-only mode"):
        bench.mint(in_force=credential.revocation_id)
    with pytest.raises(TransientError, match="read-only mode"):
        bench.revoke(credential)
    bench.vendor.read_only = False
    assert bench.revoke(credential) is Revoked.YES


def test_a_verdict_for_harbor_does_not_claim_that_other_repositories_are_refused(
    network: Network, aws: Aws
) -> None:
    bench = redefine(Bench(Harbor(network, aws)), repositories=["team/app"])
    verification = bench.verify(bench.mint())
    assert verification.verdict is Verdict.CAN_PULL
    assert "is refused" not in verification.detail


def test_one_login_pulls_from_several_projects_of_harbor(network: Network, aws: Aws) -> None:
    bench = Bench(HarborSystem(network, aws))
    bench.vendor.registry.repositories.append("tools/hammer")
    credential = bench.mint()
    assert credential.hosts == ("harbor.example.com/team/", "harbor.example.com/tools/")
    for probe in ("team/app:1", "tools/hammer:1"):
        assert redefine(bench, probe=probe).verify(credential).verdict is Verdict.CAN_PULL


# Servers under a path.


@pytest.mark.parametrize(
    ("vendor", "field", "server"),
    [
        (Nexus, "server", "nexus.example.com/nexus"),
        (Nexus, "server", "nexus.example.com/tools/nexus"),
        (Harbor, "server", "harbor.example.com/harbor"),
        (HarborSystem, "server", "harbor.example.com/harbor"),
        (JfrogToken, "platform", "example.jfrog.io/jfrog"),
        (JfrogOidc, "platform", "example.jfrog.io/jfrog"),
        (Gitlab, "server", "gitlab.com/gitlab"),
        (Gitea, "server", "gitea.example.com/gitea"),
    ],
)
def test_a_server_may_have_a_path(
    network: Network, aws: Aws, vendor: type[Vendor], field: str, server: str
) -> None:
    base = "/" + server.partition("/")[2]
    bench = Bench(vendor(network, aws))
    answer, api = network.answer, ("/service/rest", "/api", "/access")

    def rebased(request: Request) -> Response:
        """Serve the API of the vendor only under the path, as a reverse proxy does."""
        if base == "/gitea" or request.path.startswith(("/v2", "/jwt", "/service/token")):
            return answer(request)
        if request.path.startswith(api):
            return Response(404)
        path = request.path.removeprefix(base)
        return answer(
            Request(request.method, request.host, path, request.query, request.headers, request.body)
        )

    network.answer = rebased
    try:
        fields = {field: server}
        if vendor is JfrogOidc:
            fields["audience"] = "https://example.jfrog.io"
        credential = redefine(bench, **fields).mint()
        assert bench.verify(credential).verdict is Verdict.CAN_PULL
        if bench.vendor.revocable:
            assert bench.revoke(credential) is Revoked.YES
    finally:
        network.answer = answer
    assert all("/" not in host for host in bench.definition.typed_hosts() + bench.definition.realms())
