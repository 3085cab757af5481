"""Status, doctor, explain, the Events and the log of sync never contradict each other.

Each case is one fault, or one state that looks like a fault.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from fakes.sync_world import deployment
from pydantic import SecretStr
from real.controlplane import Cluster
from real.syncing import CLUSTER, SyncProcess, World, policy, quota, world_of

from realparts.stack import Stack
from realparts.waiting import eventually
from regcred.cli.app import run
from regcred.cli.session import CliSession
from regcred.clock import utc_now
from regcred.registry.parsing import parse
from regcred.registry.secret_destination import destination_text
from regcred.registry_reference import Reference
from regcred.vault.records.declared import Definition, ProjectPolicy
from regcred.vault.records.identity import ClusterIdentity
from regcred.vault.records.index import IndexEntry, State
from regcred.vault.records.status import Placement

pytestmark = [pytest.mark.real, pytest.mark.timeout(500)]

HOST = "registry.example.com"
MANY = 14
"""Additional registries of the case `held`, so that the brake holds their removal."""


@dataclass
class Answers:
    """What each source reports of one registry in one namespace."""

    status: dict[str, Any]
    doctor: str
    problems: str
    explain: str
    todo: str
    events: dict[str, str]
    log: str


class Night:
    """A project with a registry and a namespace for each case, one sync, and a user with all rights."""

    def __init__(self, world: World, capture: pytest.CaptureFixture[str]) -> None:
        self.world, self.capture = world, capture
        self.store = world.mount.store
        self.spaces: dict[str, str] = {}
        self.kinds: dict[str, str] = {}
        """By case, the kind of its workload, as `regcred explain` takes it."""
        self.policies: list[dict[str, Any]] = []
        """The admission policy of the case `forbidden`."""
        self.sync: SyncProcess
        policy = ProjectPolicy(hosts=[HOST], clusters=[CLUSTER])
        self.store.change_project(world.project, lambda _: policy)

    def ref(self, case: str) -> Reference:
        return Reference(self.world.project, case)

    def define(self, case: str) -> None:
        definition = {"provider": "basic", "hosts": [HOST]}
        self.store.write_definition(self.ref(case), Definition.model_validate(definition), cas=0)
        secret = {"username": SecretStr("u"), "password": SecretStr(self.world.stack.remember_secret("up"))}
        bound = destination_text(parse(definition, where="test"))
        self.store.write_upstream(self.ref(case), secret, bound_to=bound, cas=0)

    def entry(self, case: str, **changed: Any) -> None:
        found = self.store.index(self.world.project)
        assert found
        old = found.value.registries[case]
        new = {"hosts": [HOST], "verified": "yes", "provider": "basic", "definition_version": 1, **changed}
        entry = IndexEntry.model_validate(old.model_dump() | new | {"changed_at": utc_now()})
        self.store.merge_index(self.world.project, {case: entry})

    def add(self, case: str, *, granted: bool = True, **entry: Any) -> str:
        """A registry with a credential, and a namespace that may use it."""
        self.define(case)
        self.world.mount.mint(str(self.ref(case)), self.world.stack.remember_secret(f"s3cret-{case}"))
        self.entry(case, **entry)
        space = self.world.namespace(workload_too=False, granted=granted)
        self.spaces[case] = space
        return space

    def create_workload(self, case: str, *more: str) -> None:
        """Create a workload with the reference of the case, in the form that the case is about."""
        references = [str(self.ref(name)) for name in (case, *more)]
        self.kinds[case] = "deploy"
        item = deployment(self.spaces[case], "app", *references)
        pods = item["spec"]["template"]
        pods["spec"]["schedulerName"] = "nobody"
        match case:
            case "scheduled":
                self.kinds[case] = "cronjob"
                pods["spec"]["restartPolicy"] = "Never"
                job = {"spec": {"template": pods}}
                spec = {"schedule": "0 0 1 1 *", "jobTemplate": job}
                item = {**item, "apiVersion": "batch/v1", "kind": "CronJob", "spec": spec}
            case "expressions":
                item["spec"]["replicas"] = 1
                chosen = {"key": "app", "operator": "In", "values": ["app"]}
                item["spec"]["selector"] = {"matchExpressions": [chosen]}
            case "listed":
                item["spec"]["replicas"] = 1
                pods["spec"]["imagePullSecrets"] = [{"name": "of-its-owner"}]
            case "lookalike":
                item["metadata"]["annotations"] = {"registry.regcred.dev/r": self.cyrillic}
        self.world.cluster.create(item)

    @property
    def cyrillic(self) -> str:
        """A reference in which a Cyrillic letter looks like an allowed one."""
        return f"{self.world.project}/look\u0430like"

    def events(self, case: str) -> dict[str, str]:
        """By reason, the notes of sync's Events in the namespace of the case and on the Namespace."""
        space = self.spaces[case]
        on_it = [event for event in self.world.events("default") if f"namespace {space} " in event[1]]
        return dict([*self.world.events(space), *on_it])

    def secret(self, case: str) -> bool:
        path = f"/api/v1/namespaces/{self.spaces[case]}/secrets/{self.ref(case).secret_name}"
        return bool(self.world.stack.kubernetes.get(path).ok)

    def run(self, line: str) -> str:
        code = run(line.split(), CliSession())
        printed = self.capture.readouterr()
        assert printed.out, f"'regcred {line}' ended with {code} and printed only: {printed.err}"
        return printed.out

    def answers(self, case: str) -> Answers:
        """Ask all five sources at about the same time."""
        space, reference = self.spaces[case], str(self.ref(case))
        rows = json.loads(self.run(f"status {self.world.project} -o json"))["registries"]
        findings = [
            found
            for found in json.loads(self.run(f"doctor {self.world.project} -o json"))["findings"]
            if found["about"].partition(" ")[0] == reference
        ]
        line = f"explain {self.kinds[case]} {space}/app --cluster {CLUSTER} -o json"
        explained = json.loads(self.run(line))
        (image,) = explained["images"]
        return Answers(
            next(row for row in rows if row["registry"] == reference),
            "\n".join(found["text"] for found in findings),
            "\n".join(found["text"] for found in findings if found["level"] == "problem"),
            "\n".join(
                [
                    *explained["malformed_annotations"],
                    *(f"{check['name']}: {check['text']}" for check in image["checks"]),
                ]
            ),
            image["todo"],
            self.events(case),
            "\n".join(line for line in self.sync.log.read_text().splitlines() if space in line),
        )

    def where(self, answers: Answers, case: str) -> dict[str, Any]:
        """What status reports of the namespace of the case."""
        place = answers.status["where"].get(CLUSTER, {})
        space = self.spaces[case]
        return {name: place.get(name, {}).get(space) for name in ("namespaces", "refused", "details", "held")}


@pytest.fixture
def night(
    kubernetes_stack: Stack,
    cluster: Cluster,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Night]:
    monkeypatch.setenv("VAULT_ADDR", kubernetes_stack.vault.addr)
    monkeypatch.setenv("VAULT_TOKEN", kubernetes_stack.vault.root_token)
    monkeypatch.setenv("KUBECONFIG", str(kubernetes_stack.kubernetes.kubeconfig))
    with world_of(kubernetes_stack, cluster, tmp_path) as world:
        night = Night(world, capsys)
        yield night
        forbidding = json.dumps({"apiVersion": "v1", "kind": "List", "items": night.policies})
        kubernetes_stack.kubernetes.kubectl("delete", "--ignore-not-found", "-f", "-", stdin=forbidding)


def unverified(night: Night, answers: Answers) -> None:
    why = "the registry answered 429"
    assert (answers.status["state"], answers.status["unverified"]) == ("unverified", why)
    assert why in answers.doctor
    assert why in answers.explain
    assert night.secret("unverified")
    assert night.where(answers, "unverified")["namespaces"] == 1


def deleted(night: Night, answers: Answers) -> None:
    """Only explain looks into the cluster. The others report what sync placed, not that it exists."""
    assert not night.secret("deleted")
    assert night.where(answers, "deleted")["namespaces"] == 1
    assert "sync placed version 1 but the Secret no longer exists" in answers.todo
    assert "--repair" in answers.todo
    assert answers.problems == ""
    assert answers.events.keys() <= {"CredentialPlaced"}


def withdrawn(night: Night, answers: Answers) -> None:
    """A namespace without a grant leaves nothing in Vault."""
    assert not night.secret("withdrawn")
    assert night.where(answers, "withdrawn") == dict.fromkeys(("namespaces", "refused", "details", "held"))
    assert answers.problems == ""
    command = f"regcred grant add --cluster {CLUSTER} {night.world.project} {night.spaces['withdrawn']}"
    assert command in answers.todo
    assert command in answers.events["NotGranted"]


def held(night: Night, answers: Answers) -> None:
    assert night.secret("held")
    where = night.where(answers, "held")
    assert (where["namespaces"], where["held"]) == (1, "removed")
    assert "the brake holds back the removal" in answers.doctor
    assert "held" in answers.explain + answers.todo
    assert "held" in answers.events["RemovalHeld"]
    assert "its Secret" not in answers.events["NoSuchRegistry"]
    assert "cluster confirm-removals" in night.sync.log.read_text()


def denied(night: Night, answers: Answers) -> None:
    assert not night.secret("denied")
    why = "exceeded quota"
    where = night.where(answers, "denied")
    assert where["refused"] == "not-written"
    for text in (where["details"], answers.problems, answers.todo, answers.events["NotWritten"], answers.log):
        assert why in text


def revoked(night: Night, answers: Answers) -> None:
    assert not night.secret("revoked")
    assert answers.status["state"] == "revoked"
    assert night.where(answers, "revoked")["namespaces"] is None
    assert "revoked" in answers.doctor
    assert f"regcred rotate {night.ref('revoked')}" in answers.todo
    assert "CredentialRevoked" in answers.events


def expiring(night: Night, answers: Answers) -> None:
    why = "no such role"
    assert night.secret("expiring")
    assert (answers.status["state"], answers.status["error"]) == ("failing", why)
    assert night.where(answers, "expiring")["namespaces"] == 1
    assert why in answers.problems
    assert why in answers.explain + answers.todo
    assert why in answers.events["CredentialExpiring"]


def forbidden(night: Night, answers: Answers) -> None:
    assert not night.secret("forbidden")
    why = "every Secret needs the label team"
    where = night.where(answers, "forbidden")
    assert where["refused"] == "not-written"
    for text in (where["details"], answers.problems, answers.todo, answers.events["NotWritten"], answers.log):
        assert why in text


def _in_order(night: Night, answers: Answers, case: str) -> None:
    """The Secret exists, and no source reports a problem."""
    assert night.secret(case)
    assert (answers.status["state"], night.where(answers, case)["namespaces"]) == ("ok", 1)
    assert answers.doctor == "in force"
    assert "in the namespace, version 1" in answers.explain
    assert answers.todo == ""


def granted(night: Night, answers: Answers) -> None:
    """First refused, then granted: there is an Event for both, and none is repeated."""
    _in_order(night, answers, "granted")
    assert answers.events.keys() == {"NotGranted", "CredentialPlaced"}
    assert "is in place" in answers.events["CredentialPlaced"]


def regranted(night: Night, answers: Answers) -> None:
    """Granted while sync did not run: its next process knows the Events of the one before."""
    _in_order(night, answers, "regranted")
    assert answers.events.keys() == {"NotGranted", "CredentialPlaced"}


def unread(night: Night, answers: Answers) -> None:
    """Vault does not give sync the credential."""
    assert not night.secret("unread")
    where = night.where(answers, "unread")
    assert where["refused"] == "not-read"
    why = where["details"]
    assert why
    for text in (answers.problems, answers.todo, answers.events["NotWritten"], answers.log):
        assert why in text


def scheduled(night: Night, answers: Answers) -> None:
    """A CronJob that has never run does not lack a Pod."""
    _in_order(night, answers, "scheduled")
    assert "this CronJob has no Pod now" in answers.explain
    assert answers.events == {}


def expressions(night: Night, answers: Answers) -> None:
    """The Pod of a workload without matchLabels is found, and names the Secret."""
    _in_order(night, answers, "expressions")
    assert ", named by the Pod" in answers.explain
    assert answers.events == {}


def listed(night: Night, answers: Answers) -> None:
    """Admission appends the Secret to the list in the Pod template."""
    _in_order(night, answers, "listed")
    assert ", named by the Pod" in answers.explain
    assert answers.events == {}


def roomless(night: Night, answers: Answers) -> None:
    """The project already has its maximum of registries."""
    assert not night.secret("roomless")
    assert answers.status["state"] == "pending"
    for text in (answers.status["no_room"], answers.todo):
        assert "--max-registries" in text
    assert "no room" in answers.doctor
    assert night.where(answers, "roomless")["namespaces"] is None
    assert "with a credential" in answers.events["NoSuchRegistry"]
    assert "If it was just added" in answers.events["NoSuchRegistry"]


def lookalike(night: Night, answers: Answers) -> None:
    """The reference contains a letter that looks like an allowed one."""
    letter = "U+0430 CYRILLIC SMALL LETTER A"
    assert letter in answers.explain
    assert letter in answers.events["MalformedReference"]
    assert night.where(answers, "lookalike")["namespaces"] is None
    assert answers.doctor == "in force"


CASES: list[Callable[[Night, Answers], None]] = [
    unverified,
    deleted,
    withdrawn,
    held,
    denied,
    revoked,
    expiring,
    forbidden,
    granted,
    regranted,
    unread,
    scheduled,
    expressions,
    listed,
    roomless,
    lookalike,
]
NEVER_PLACED = {"denied", "forbidden", "granted", "regranted", "unread", "roomless", "lookalike"}


def arrange(night: Night) -> None:
    """Set up all cases, and wait for the Secrets that can be placed."""
    night.add("unverified", verified="unknown", unverified="the registry answered 429")
    for case in (case.__name__ for case in CASES):
        if case not in {"unverified", "roomless"}:
            night.add(case, granted=case not in {"granted", "regranted"})
    spoil(night, "unread")
    night.define("roomless")
    night.spaces["roomless"] = night.world.namespace(workload_too=False)
    others = [f"held-{number}" for number in range(MANY)]
    for name in others:
        night.world.mount.mint(str(night.ref(name)), "s3cret-many")
    found = night.store.project(night.world.project)
    assert found
    full = found.value.model_copy(update={"max_registries": 1})
    night.store.change_project(night.world.project, lambda _: full)
    quota(night.world, night.spaces["denied"], 0)
    space = night.spaces["forbidden"]
    labelled = "has(object.metadata.labels) && 'team' in object.metadata.labels"
    night.policies = policy(night.world, f"team-{space}", space, labelled)
    for case in night.spaces:
        night.create_workload(case, *(others if case == "held" else ()))
    night.sync = night.world.running()
    placed = [case for case in night.spaces if case not in NEVER_PLACED]
    eventually(lambda: all(map(night.secret, placed)), what="the first Secrets")


def spoil(night: Night, case: str) -> None:
    """Replace a credential in Vault by something that sync can't read."""
    path = f"credentials/{night.ref(case).project}/{case}"
    kv = night.world.mount.kv
    kv.write(path, {"document": "{}"}, cas=kv.version(path))


def happen(night: Night) -> None:
    """Let each fault happen, and wait until sync has seen all of them.

    Sync is stopped in the meantime, because it checks removals and expiry only in a full run, as at a start.
    """
    world, spaces = night.world, night.spaces
    for case in ("granted", "regranted"):
        eventually(lambda c=case: "NotGranted" in night.events(c), what=f"NotGranted, {case}")
    world.spaces.append(spaces["granted"])
    world.grant()
    eventually(lambda: "CredentialPlaced" in night.events("granted"), what="the grant")
    night.sync.stop()
    world.spaces.append(spaces["regranted"])
    path = f"/api/v1/namespaces/{spaces['deleted']}/secrets/{night.ref('deleted').secret_name}"
    world.stack.kubernetes.request("DELETE", path)
    world.grant({world.project: [space for space in world.spaces if space != spaces["withdrawn"]]})
    night.entry("revoked", state=State.REVOKED)
    soon = utc_now() + timedelta(minutes=20)
    night.entry(
        "expiring",
        state=State.FAILING,
        error="no such role",
        failing_since=utc_now(),
        expires_at=soon,
        refresh_at=utc_now() - timedelta(hours=5),
    )
    for name in ("held", *(f"held-{number}" for number in range(MANY))):
        world.mount.store.merge_index(
            world.project,
            {name: IndexEntry(state=State.REMOVED, version=1, hosts=[HOST], changed_at=utc_now())},
        )
    world.mount.kv.delete(f"registries/{world.project}/held")
    night.sync = world.running()
    awaited = {
        "withdrawn": "NotGranted",
        "denied": "NotWritten",
        "unread": "NotWritten",
        "regranted": "CredentialPlaced",
        "held": "RemovalHeld",
        "revoked": "CredentialRevoked",
        "expiring": "CredentialExpiring",
        "forbidden": "NotWritten",
        "roomless": "NoSuchRegistry",
        "lookalike": "MalformedReference",
    }
    for case, reason in awaited.items():
        eventually(lambda c=case, r=reason: r in night.events(c), what=f"{reason}, {case}")
    eventually(lambda: not night.secret("revoked") and not night.secret("withdrawn"))
    eventually(lambda: _settled(night), what="the ledger in Vault")


def _settled(night: Night) -> bool:
    """Whether the ledger in Vault contains all faults. Sync writes it after it has acted."""
    found = night.store.status(CLUSTER, night.world.project)
    places = defaultdict(Placement, found.value.registries if found else {})
    return bool(
        not places["withdrawn"].placed
        and places["held"].held
        and places["denied"].refused
        and places["forbidden"].refused
        and places["unread"].refused
        and places["granted"].placed
        and places["regranted"].placed
        and not places["revoked"].placed
    )


def test_status_doctor_explain_events_and_log_never_contradict_each_other(night: Night) -> None:
    arrange(night)
    happen(night)
    wrong = []
    for case in CASES:
        answers = night.answers(case.__name__)
        try:
            case(night, answers)
        except (AssertionError, KeyError) as error:
            wrong.append(f"{case.__name__}: {error!r}\n{answers}")
    assert not wrong, "\n\n".join(wrong)
    a_person_brings_a_deleted_secret_back(night)


def a_person_brings_a_deleted_secret_back(night: Night) -> None:
    """``regcred rotate`` puts the last good credential back, even while the registry is down."""
    assert not night.secret("deleted")
    assert night.run(f"rotate {night.ref('deleted')} --local -o json")
    eventually(lambda: night.secret("deleted"), what="the Secret after a person's rotation")


def test_sync_refuses_a_cluster_under_a_wrong_name_and_the_other_sources_agree(night: Night) -> None:
    space = night.add("main-two")
    night.create_workload("main-two")
    known = night.store.identity(CLUSTER)
    night.store.forget_identity(CLUSTER)
    night.store.pin_identity(CLUSTER, ClusterIdentity(uid="the-right-one", pinned_at=utc_now()))
    try:
        night.sync = night.world.sync()
        code, output = night.sync.once()
        assert code
        assert "belongs to another cluster" in output
        assert f"regcred cluster reset {CLUSTER}" in output
        answers = night.answers("main-two")
        assert not night.secret("main-two")
        assert night.where(answers, "main-two") == dict.fromkeys(("namespaces", "refused", "details", "held"))
        assert answers.events == {}
        assert "the-right-one" in night.run(f"doctor {night.world.project}")
        assert "sync has not placed the Secret" in answers.todo
        assert space
    finally:
        night.store.forget_identity(CLUSTER)
        if known:
            night.store.pin_identity(CLUSTER, known.value)
