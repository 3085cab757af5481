"""The command line over a Vault in memory: its output for users and for programs."""

from __future__ import annotations

import io
import json
import os
import re
import resource
import subprocess
import sys
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import click
import pytest
import yaml
from fakes.key_value import FakeKeyValue

from regcred.cli import definitions, main
from regcred.cli.app import app, run
from regcred.cli.session import CliSession
from regcred.errors import ConflictError, RefusedError, TransientError
from regcred.registry_reference import Reference
from regcred.vault.platform import ChangeKind
from regcred.vault.platform import PlatformStep as Step
from regcred.vault.platform.resource import Resource, ResourceKind
from regcred.vault.records.declared import Action, ClusterGrants, Definition, ProjectPolicy, Request
from regcred.vault.records.index import IndexEntry, State
from regcred.vault.records.status import Placement, Status
from regcred.vault.store import Store

NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
ECR = Reference("payments", "ecr-prod")
NEXUS = Reference("payments", "nexus")
SECRET = "hunter2-upstream"
ARN = "arn:aws:iam::111122223333:role/regcred/payments"


@dataclass
class FakePlatform:
    """A platform whose plan the test sets."""

    actions: list = field(default_factory=list)
    ensured: list = field(default_factory=list)
    refuses: bool = False
    notes: list = field(default_factory=list)
    unreadable: list = field(default_factory=list)
    token: dict = field(
        default_factory=lambda: {"display_name": "ann", "policies": ["regcred-platform-admin"], "ttl": 3600}
    )

    def plan(self, on_unreadable):
        self._check()
        for text in self.unreadable:
            on_unreadable(text)
        return self.actions

    def apply(self, on_unreadable, *, prune):
        self._check()
        for text in self.unreadable:
            on_unreadable(text)
        return [action for action in self.actions if prune or action.verb is not ChangeKind.DELETE]

    def ensure_project(self, project):
        self._check()
        self.ensured.append(project)
        return []

    def token_info(self):
        return self.token

    def _check(self):
        if self.refuses:
            raise RefusedError("permission denied")


@dataclass
class Cli:
    """A command line, its Vault, and a clock that only the command's own waiting moves."""

    capture: pytest.CaptureFixture[str]
    kv: FakeKeyValue = field(default_factory=FakeKeyValue)
    platform: FakePlatform = field(default_factory=FakePlatform)
    now: datetime = NOW
    while_waiting: list = field(default_factory=list)
    nudged: list = field(default_factory=list)
    out: str = ""
    err: str = ""

    @property
    def store(self) -> Store:
        return Store(self.kv)

    def __call__(self, line: str, code: int = 0) -> str:
        session = CliSession(
            open_store=lambda: self.store,
            open_platform=lambda _: self.platform,
            nudge=self._nudge,
            now=lambda: self.now,
            sleep=self._sleep,
        )
        found = run(line.split(), session)
        captured = self.capture.readouterr()
        self.out, self.err = captured.out, captured.err
        assert found == code, f"exit code {found}; {self.err}"
        if code:
            assert [line for line in self.err.splitlines() if line.startswith("regcred: ")] == [self.last]
        return self.out

    def json(self, line: str) -> dict:
        return json.loads(self(line))

    @property
    def last(self) -> str:
        return self.err.splitlines()[-1]

    def _nudge(self, project: str) -> bool:
        # The request must be in Vault before the nudge.
        assert any(self.store.pending_requests(project))
        self.nudged.append(project)
        return True

    def _sleep(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)
        if self.while_waiting:
            self.while_waiting.pop(0)()

    def answer(self, reference: Reference, **entry) -> None:
        """Let rotate write this index entry and remove the request as soon as the command waits."""

        def act() -> None:
            self.index(reference, **entry)
            self.store.remove_request(reference, self.kv.version(f"requests/{reference}"))

        self.while_waiting.append(act)

    def index(self, reference: Reference, **entry) -> None:
        defaults = {
            "state": State.OK,
            "version": 1,
            "verified": "yes",
            "hosts": ["registry.example.com"],
            "changed_at": self.now,
        }
        self.store.merge_index(reference.project, {reference.registry: IndexEntry(**{**defaults, **entry})})


@pytest.fixture
def cli(capsys, monkeypatch) -> Cli:
    monkeypatch.setattr("sys.stdin", io.StringIO())  # no terminal, nothing to read
    return Cli(capsys)


@pytest.fixture
def payments(cli) -> Cli:
    """A project with two registries, whose Secrets are in one cluster."""
    store = cli.store
    store.write_project(
        "payments",
        ProjectPolicy(
            hosts=["registry.example.com", "*.pkg.dev"], accounts=["111122223333"], clusters=["c1"]
        ),
        cas=0,
    )
    store.write_cluster("c1", ClusterGrants(grants={"payments": ["prod", "staging"]}), cas=0)
    store.write_definition(ECR, Definition(provider="ecr", regions=["eu-central-1"]), cas=0)
    store.write_definition(NEXUS, Definition(provider="basic", hosts=["registry.example.com"]), cas=0)
    cli.index(ECR, version=12, expires_at=NOW + timedelta(hours=5, minutes=12), verified="yes")
    placed = {12: {"prod": "aa", "staging": "bb"}, 11: {"old": "cc"}}
    status = Status(
        written_at=NOW, registries={"ecr-prod": Placement(placed=placed, refused={"dev": "not-granted"})}
    )
    store.write_status("c1", "payments", status, cas=0)
    return cli


class TestHelp:
    def test_without_a_command_it_shows_help_with_first_steps(self, cli):
        assert "First steps" in cli("")

    def test_a_group_without_a_command_shows_its_help(self, cli):
        assert "set-secret" in cli("registry")

    @pytest.mark.parametrize(
        ("typed", "meant"),
        [
            ("rotat", "'rotate'"),
            ("statsu", "'status'"),
            ("list", "'registry list'"),
            ("registry lst", "'list'"),
        ],
    )
    def test_a_mistyped_command_suggests_the_right_one(self, cli, typed, meant):
        cli(typed, code=2)
        assert "did you mean" in cli.last
        assert meant in cli.last

    @pytest.mark.parametrize(
        ("line", "named"),
        [
            ("rotate payments/x --timeout 0", "--timeout: 0 is not in the range"),
            ("rotate payments/x --timeout 20s", "--timeout: '20s' is not a valid number"),
            ("exporter --every soon", "--every: 'soon' is not a valid number"),
            ("rotate payments/x --timeout " + "9" * 30, "--timeout: 9"),
            ("rotate payments/x --timeout soon", "--timeout: 'soon'"),
            ("status -o yaml", "--output: 'yaml'"),
            ("grant list --cluster C1", "--cluster: cluster 'C1' has capital letters"),
        ],
    )
    def test_a_wrong_option_is_named(self, cli, line, named):
        cli(line, code=2)
        assert named in cli.last

    def test_an_unknown_command_points_to_the_help(self, cli):
        cli("frobnicate", code=2)
        assert cli.last == "regcred: no such command 'frobnicate' (see 'regcred --help')"

    def test_the_help_of_the_program_shows_each_commands_own_summary(self):
        root = app()
        context = click.Context(root)
        for section in root.sections.values():
            for name, lazy in section.items():
                command = root.get_command(context, name)
                assert command is not None, name
                assert command.get_short_help_str(200) == lazy.summary, name

    def test_help_is_quick_and_loads_no_sdk(self):
        code = (
            "import sys, regcred.cli.app as a; "
            "a.run(['--help']); "
            "sdks = {'pydantic', 'hvac', 'kubernetes', 'boto3', 'requests', 'rich', 'yaml'}; "
            "print(sorted(sdks & set(sys.modules)))"
        )
        before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        assert done.stdout.splitlines()[-1] == "[]"
        assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before < 3

    def test_the_version_is_shown(self, cli):
        assert cli("--version").startswith("regcred 0.")


class TestAnnotation:
    def test_the_default_format_is_yaml(self, cli):
        text = cli("annotation payments/ecr-prod shared/nexus")
        assert yaml.safe_load(text)["metadata"]["annotations"] == {
            "registry.regcred.dev/ecr-prod": "payments/ecr-prod",
            "registry.regcred.dev/nexus": "shared/nexus",
        }

    def test_the_format_helm_is_values_with_pod_annotations(self, cli):
        text = cli("annotation payments/ecr-prod --format helm")
        assert yaml.safe_load(text) == {
            "podAnnotations": {"registry.regcred.dev/ecr-prod": "payments/ecr-prod"}
        }

    def test_the_format_kustomize_is_a_patch_of_a_deployment(self, cli):
        text = cli("annotation payments/ecr-prod --format kustomize")
        patch = yaml.safe_load(yaml.safe_load(text)["patches"][0]["patch"])
        assert patch["kind"] == "Deployment"
        assert patch["metadata"]["annotations"] == {"registry.regcred.dev/ecr-prod": "payments/ecr-prod"}

    def test_registries_of_the_same_name_get_different_keys(self, cli):
        keys = json.loads(cli("annotation a/main b/main --format json"))
        assert keys == {"registry.regcred.dev/main": "a/main", "registry.regcred.dev/main.b": "b/main"}

    def test_a_key_is_never_longer_than_kubernetes_allows(self, cli):
        long = "r" * 63
        keys = json.loads(cli(f"annotation a/{long} b/{long} c/{long} --format json"))
        assert len(keys) == 3
        assert all(len(key.removeprefix("registry.regcred.dev/")) <= 63 for key in keys)

    @pytest.mark.parametrize("wrong", ["payments", "a/b/c", "Payments/x", "a/"])
    def test_a_wrong_reference_is_refused_with_the_right_form(self, cli, wrong):
        cli(f"annotation {wrong}", code=2)
        assert "<project>/<registry>" in cli.last


class TestProject:
    def test_a_second_add_keeps_what_the_first_has_allowed(self, cli):
        cli("project add payments --host registry.example.com --cluster c1")
        cli("project add payments --host *.jfrog.io --account 111122223333 --path registry.example.com/team/")
        assert cli.json("project show payments -o json") == {
            "project": "payments",
            "hosts": ["*.jfrog.io", "registry.example.com"],
            "paths": {"registry.example.com": ["team/"]},
            "accounts": ["111122223333"],
            "clusters": ["c1"],
            "max_registries": 10_000,
            "role_arn": "",
        }

    def test_remove_removes_the_given_values_only(self, payments):
        payments("project remove payments --host registry.example.com")
        shown = payments.json("project show payments -o json")
        assert (shown["hosts"], shown["clusters"]) == (["*.pkg.dev"], ["c1"])

    def test_removing_a_value_that_is_not_there_lists_the_existing_ones(self, payments):
        payments("project remove payments --host registry.exmaple.com", code=4)
        assert "registry.example.com" in payments.last

    @pytest.mark.parametrize(
        ("option", "message"),
        [
            ("--path https://registry.example.com/team", "'https:' is not a host"),
            ("--path Registry.example.com/team", "'Registry.example.com' is not a host"),
            ("--path registry.example.com/*", "'*' of registry.example.com is not a path"),
            ("--path registry.example.com//team", "'/team' of registry.example.com is not a path"),
            ("--host user:hunter2@registry.example.com", "hosts: a host contains '@'"),
            ("--host registry.example.com:x", "hosts: 'registry.example.com:x' is not a host"),
        ],
    )
    def test_a_value_that_is_not_a_host_or_path_is_refused(self, cli, option, message):
        cli(f"project add payments {option}", code=2)
        assert message in cli.last
        assert "hunter2" not in cli.last
        assert cli.kv.paths() == []

    def test_a_host_whose_last_path_is_removed_allows_nothing(self, cli):
        cli("project add payments --host registry.example.com --path registry.example.com/team/")
        cli("project remove payments --path registry.example.com/team/")
        assert "the project may use nothing on registry.example.com now" in cli.err
        assert cli.json("project show payments -o json")["paths"] == {"registry.example.com": []}
        assert "none" in cli("project show payments")
        cli("project remove payments --host registry.example.com")
        assert cli.json("project show payments -o json")["paths"] == {}

    @pytest.mark.parametrize(
        ("stored", "typed"),
        [
            ("docker.io", "index.docker.io"),
            ("registry-1.docker.io", "docker.io"),
            ("registry.example.com:443", "registry.example.com"),
            ("registry.example.com", "registry.example.com:443"),
        ],
    )
    def test_a_host_is_recognized_in_each_of_its_forms(self, cli, stored, typed):
        cli(f"project add payments --host {stored} --path {stored}/team/")
        cli(f"project add payments --host {typed} --path {typed}/more/")
        shown = cli.json("project show payments -o json")
        assert (shown["hosts"], shown["paths"]) == ([stored], {stored: ["more/", "team/"]})
        cli(f"project remove payments --path {typed}/team/")
        assert cli.json("project show payments -o json")["paths"] == {stored: ["more/"]}
        cli(f"project remove payments --host {typed} --path {typed}/more/")
        shown = cli.json("project show payments -o json")
        assert (shown["hosts"], shown["paths"]) == ([], {})

    def test_another_port_is_another_host(self, cli):
        cli("project add payments --host registry.example.com")
        cli("project add payments --host registry.example.com:5000")
        cli("project remove payments --host registry.example.com:5001", code=4)
        cli("project remove payments --host registry.example.com:5000")
        assert cli.json("project show payments -o json")["hosts"] == ["registry.example.com"]

    def test_an_error_about_a_missing_registry_lists_only_some_of_the_others(self, payments):
        for number in range(30):
            payments.kv.write(f"registries/payments/other-{number:02}", {"document": "{}"}, cas=0)
        payments("registry show payments/zzz", code=4)
        assert "other-17 and 12 more" in payments.last
        assert "other-29" not in payments.last

    def test_a_url_is_refused_as_a_host(self, cli):
        cli("project add payments --host https://registry.example.com/team", code=2)
        assert "registry.example.com" in cli.last
        assert cli.kv.paths() == []

    def test_a_wrong_role_is_refused_with_the_name_of_the_field(self, cli):
        cli("project add payments --role-arn arn:aws:iam::1:role/x", code=2)
        assert "role_arn" in cli.last
        assert cli.kv.paths() == []

    def test_a_missing_project_is_not_found(self, cli):
        cli("project show payments", code=4)

    def test_a_new_cluster_updates_the_groups_in_vault(self, cli):
        cli("project add payments --cluster c1")
        assert cli.platform.ensured == ["payments"]

    def test_an_admin_who_may_not_change_groups_learns_who_may(self, cli):
        cli.platform.refuses = True
        cli("project add payments --cluster c1")
        assert "a platform operator runs 'regcred platform apply'" in cli.err

    def test_two_concurrent_changes_are_both_kept(self, cli, monkeypatch):
        store = cli.store
        write = FakeKeyValue.write
        raced = []

        def race(kv, path, fields, *, cas):
            if not raced:
                raced.append(1)
                store.write_project("payments", ProjectPolicy(hosts=["first.example.com"]), cas=0)
            return write(kv, path, fields, cas=cas)

        monkeypatch.setattr(FakeKeyValue, "write", race)
        cli("project add payments --host second.example.com")
        assert cli.store.project("payments").value.hosts == ["first.example.com", "second.example.com"]


class TestMisspeltProject:
    """If a named project does not exist, a command does not show it as a project without registries."""

    @pytest.mark.parametrize(
        "command",
        [
            "status paymnets",
            "status -o json paymnets",
            "registry list paymnets",
            "registry show paymnets/ecr-prod",
            "rotate paymnets",
            "project show paymnets",
            "project remove paymnets --cluster c1",
        ],
    )
    def test_the_right_name_is_suggested(self, payments, command):
        payments(command, code=4)
        assert "there is no project paymnets; did you mean payments?" in payments.last

    def test_doctor_suggests_the_right_name_and_repairs_nothing(self, payments):
        assert "did you mean payments?" in payments("doctor --repair paymnets", code=1)
        assert payments.platform.ensured == []

    @pytest.mark.parametrize("command", ["status", "registry list"])
    def test_a_project_without_registries_exists(self, payments, command):
        payments("project add search")
        payments(f"{command} search")
        assert "search: no registries yet; add one: regcred registry add search/REGISTRY" in payments.err

    def test_a_token_that_may_not_read_the_project_gets_no_false_answer(self, payments):
        payments.kv.faults["read", "platform/projects"] = RefusedError("permission denied")
        payments("status paymnets")
        assert "there is no project" not in payments.err


class TestGrant:
    def test_a_grant_is_added_listed_and_removed(self, payments):
        payments("grant add --cluster c1 payments qa")
        assert payments.json("grant list -o json")["clusters"]["c1"]["grants"] == {
            "payments": ["prod", "qa", "staging"]
        }
        payments("grant remove --cluster c1 payments prod staging --yes")
        assert payments.json("grant list --cluster c1 -o json")["clusters"]["c1"]["grants"] == {
            "payments": ["qa"]
        }

    def test_a_grant_in_a_cluster_that_may_not_read_the_project_prints_a_warning(self, payments):
        payments("grant add --cluster c2 payments prod")
        assert "regcred project add payments --cluster c2" in payments.err

    def test_a_grant_in_a_misspelt_cluster_or_project_suggests_the_right_name(self, payments):
        payments("project add payments --cluster edge-1")
        payments("grant add --cluster egde-1 payments prod")
        assert "did you mean edge-1?" in payments.err
        payments("grant add --cluster c1 paymnets prod")
        assert "there is no project paymnets; did you mean payments?" in payments.err
        payments("grant add --cluster c1 zzz prod")
        assert "there is no project zzz; 'regcred project list' shows all projects. The" in payments.err

    def test_doctor_reports_grants_without_effect_and_how_to_remove_them(self, payments):
        payments("grant add --cluster c1 payments prod")
        payments("doctor", code=1)
        assert "no effect" not in payments.out
        payments("grant add --cluster egde-1 payments prod")
        payments("grant add --cluster c1 paymnets web")
        payments("doctor", code=1)
        lines = [line for line in payments.out.splitlines() if "no effect" in line]
        assert [line.split("; ")[-1] for line in lines] == [
            "to remove it: regcred grant remove --cluster c1 paymnets",
            "to remove it: regcred grant remove --cluster egde-1 payments",
        ]
        payments("doctor payments", code=1)
        assert "paymnets" not in payments.out
        payments.kv.faults["list", "platform/clusters"] = RefusedError("permission denied")
        payments("doctor", code=1)
        assert "no effect" not in payments.out

    def test_the_list_shows_which_namespaces_project_admins_may_choose(self, payments):
        payments("grant delegate --cluster c2 search search-*")
        assert "search-*" in payments("grant list")

    def test_namespaces_may_be_options_as_in_the_text_of_events(self, payments):
        payments("grant add payments --cluster c1 --namespace qa")
        assert "qa" in payments.store.cluster("c1").value.grants["payments"]

    def test_a_grant_without_namespaces_is_refused(self, payments):
        payments("grant add payments --cluster c1", code=2)
        assert "NAMESPACE" in payments.last

    def test_globs_must_be_enabled(self, payments):
        payments("grant add --cluster c1 payments team-*", code=2)
        assert "--allow-globs" in payments.last
        payments("grant add --cluster c1 payments team-* --allow-globs")
        assert payments.store.cluster("c1").value.allows("team-a", "payments")

    def test_a_wrong_namespace_is_refused(self, payments):
        payments("grant add --cluster c1 payments Prod", code=2)
        assert "'Prod' has capital letters" in payments.last

    def test_without_a_terminal_a_removal_needs_yes(self, payments):
        payments("grant remove --cluster c1 payments", code=2)
        assert "--yes" in payments.last
        assert payments.store.cluster("c1").value.grants == {"payments": ["prod", "staging"]}

    def test_removing_a_grant_that_does_not_exist_lists_the_existing_ones(self, payments):
        payments("grant remove --cluster c1 payments prdo --yes", code=4)
        assert "prod, staging" in payments.last


class TestStatus:
    def test_status_shows_state_expiry_version_and_namespaces(self, payments):
        lines = payments("status").splitlines()
        assert lines[0].split() == ["REGISTRY", "STATE", "EXPIRES", "IN", "VERSION", "PLACED", "BY", "SYNC"]
        assert "payments/ecr-prod  ok" in lines[1]
        assert "5h 12m" in lines[1]
        assert "c1: 3 namespaces (1 with an older version)" in lines[1]
        assert "pending" in lines[2]
        assert "c1: in 1 namespace (dev): the namespace may not use this project (grant it" in payments.err

    def test_a_failure_is_shown_with_its_reason_and_next_attempt(self, payments):
        payments.index(
            NEXUS,
            state=State.FAILING,
            version=0,
            error="401 from registry.example.com",
            failing_since=NOW - timedelta(hours=3),
            next_attempt_at=NOW + timedelta(minutes=10),
        )
        payments("status payments")
        assert (
            "payments/nexus: failing for 3h: 401 from registry.example.com; next attempt in 10m"
            in payments.err
        )

    def test_json_contains_namespaces_and_versions(self, payments):
        (row,) = payments.json("status payments/ecr-prod -o json")["registries"]
        assert row["expires_at"] == "2026-11-24T17:12:00+00:00"
        assert row["where"]["c1"] == {
            "namespaces": {"old": 11, "prod": 12, "staging": 12},
            "refused": {"dev": "not-granted"},
            "details": {},
            "held": {},
        }

    def test_an_expired_credential_is_shown_as_expired(self, payments):
        payments.now = NOW + timedelta(days=1)
        assert "expired 18h 48m ago" in payments("status")

    def test_an_error_for_a_token_of_one_project_says_to_name_the_project(self, payments):
        payments.kv.faults["list", "registries"] = RefusedError("permission denied")
        payments("status", code=3)
        assert "name one: regcred status PROJECT" in payments.last

    def test_without_permission_to_see_clusters_the_rest_is_shown(self, payments):
        payments.kv.faults["read", "platform/"] = RefusedError("permission denied")
        assert "5h 12m" in payments("status payments")
        assert "the column 'placed by sync' is empty" in payments.err

    def test_a_removed_registry_is_shown_only_by_name(self, payments):
        payments.index(Reference("payments", "gone"), state=State.REMOVED)
        assert "gone" not in payments("status")
        assert "removed" in payments("status payments/gone")

    def test_an_error_about_a_mistyped_registry_suggests_the_nearest_name(self, payments):
        payments("status payments/ecr-pord", code=4)
        assert "did you mean payments/ecr-prod?" in payments.last

    def test_on_a_terminal_text_from_vault_is_not_read_as_markup(self, payments, monkeypatch):
        payments.store.write_definition(
            NEXUS, Definition(provider="basic", hosts=["x"], description="[red]x[/]"), cas=1
        )
        monkeypatch.setattr("sys.stdout.isatty", lambda: True)
        monkeypatch.setenv("COLUMNS", "200")
        assert "[red]x[/]" in payments("registry list")

    def test_control_characters_from_vault_do_not_reach_the_terminal(self, payments):
        payments.index(NEXUS, state=State.FAILING, version=0, error="\x1b]0;owned\x07")
        payments("status")
        assert "\x1b" not in payments.out + payments.err


class TestRotate:
    def test_rotate_waits_for_the_outcome_and_shows_it(self, payments):
        payments.answer(ECR, version=13, expires_at=NOW + timedelta(hours=12), verified="yes")
        payments("rotate payments/ecr-prod")
        assert (
            "ok, version 13 for registry.example.com; a test pull succeeded; expires in 11h 59m"
            in payments.out
        )

    def test_a_failure_says_which_version_stays_in_force(self, payments):
        payments.answer(
            ECR, version=12, state=State.FAILING, error="no such role", error_kind="refused", attempts=1
        )
        payments("rotate payments/ecr-prod", code=3)
        assert "no such role; version 12 stays in force" in payments.last

    def test_a_rotation_that_comes_too_soon_says_when_to_try_again(self, payments):
        soon = "the other user's password is 3 minutes old; try again in 7 minutes"
        payments.answer(ECR, version=12, answer=soon)
        payments("rotate payments/ecr-prod", code=5)
        assert payments.last == f"regcred: payments/ecr-prod: {soon}"
        assert payments.out == ""

    def test_with_no_wait_the_request_is_in_vault_and_dispatch_is_nudged(self, payments):
        payments("rotate payments/ecr-prod --no-wait")
        assert payments.nudged == ["payments"]
        assert payments.store.request(ECR).value.action is Action.ROTATE

    def test_after_the_timeout_the_request_stays_in_vault(self, payments):
        payments("rotate payments/ecr-prod --timeout 60", code=5)
        assert "The request stays" in payments.last
        assert payments.store.request(ECR) is not None

    def test_waiting_continues_over_a_restart_of_vault(self, payments):
        def down():
            payments.kv.faults["read", "requests/"] = TransientError("sealed")

        def up():
            payments.kv.faults.clear()

        payments.while_waiting += [down, up]
        payments.answer(ECR, version=13)
        payments("rotate payments/ecr-prod")

    def test_waiting_continues_over_a_restart_of_vault_after_the_answer(self, payments):
        def answered():
            payments.index(ECR, version=13)
            payments.kv.delete("requests/payments/ecr-prod")
            payments.kv.faults["read", "credentials/payments/_index"] = TransientError("sealed")

        payments.while_waiting += [answered, payments.kv.faults.clear]
        payments("rotate payments/ecr-prod")
        assert "ok, version 13" in payments.out

    def test_an_index_that_is_older_than_the_removed_request_is_read_again(self, payments):
        payments.while_waiting.append(lambda: payments.kv.delete("requests/payments/ecr-prod"))
        payments.while_waiting.append(lambda: payments.index(ECR, version=13))
        payments("rotate payments/ecr-prod")
        assert "ok, version 13 for" in payments.out

    def test_an_outcome_without_a_new_version_is_shown_as_unchanged(self, payments):
        payments.while_waiting.append(lambda: payments.kv.delete("requests/payments/ecr-prod"))
        payments("rotate payments/ecr-prod")
        assert "ok, version 12 (unchanged)" in payments.out

    def test_a_newer_request_of_another_user_is_waited_for(self, payments):
        newer = Request(action=Action.VERIFY, requested_at=NOW + timedelta(seconds=1))
        payments.while_waiting.append(lambda: payments.store.write_request(ECR, newer))
        payments.answer(ECR, version=13)
        payments("rotate payments/ecr-prod")
        assert "ok, version 13" in payments.out

    def test_a_request_that_was_lost_is_written_again(self, payments):
        payments.while_waiting.append(lambda: payments.kv.delete("requests/payments/nexus"))
        payments.answer(NEXUS, version=1)
        payments("rotate payments/nexus")
        assert "ok, version 1" in payments.out

    def test_without_permission_it_is_refused(self, payments):
        payments.kv.faults["write", "requests/"] = RefusedError("permission denied")
        payments("rotate payments/ecr-prod", code=3)

    def test_no_request_is_written_for_a_missing_registry(self, payments):
        payments("rotate payments/ecr", code=4)
        assert not any(payments.store.pending_requests("payments"))


class TestRevoke:
    def test_revoke_requires_a_confirmation(self, payments):
        payments("revoke payments/ecr-prod", code=2)
        assert payments.store.request(ECR) is None

    def test_revoke_says_that_the_vendor_cannot_revoke(self, payments):
        payments.answer(
            ECR, version=12, state=State.REVOKED, error="the vendor has no way to revoke it early"
        )
        payments("revoke payments/ecr-prod --yes")
        assert "revoked" in payments.err
        assert "no way to revoke it early" in payments.err

    def test_revoke_does_not_wait_for_an_unreachable_vendor(self, payments):
        payments.while_waiting.append(
            lambda: payments.index(ECR, version=12, state=State.REVOKED, error="asked again")
        )
        payments("revoke payments/ecr-prod --yes")


def definition_file(tmp_path, text: str, name: str = "r.yaml"):
    path = tmp_path / name
    path.write_text(text)
    path.chmod(0o600)
    return path


BASIC = "provider: basic\nhosts: [registry.example.com]\n"
GITLAB = "provider: gitlab\ngroup: team\nserver: registry.example.com\nhost: registry.example.com\n"
UPSTREAM = json.dumps({"username": "puller", "password": SECRET})


class TestRegistryAdd:
    def test_add_writes_the_secret_then_the_definition_then_a_request(self, payments, tmp_path):
        new = Reference("payments", "new")
        file, secret = definition_file(tmp_path, BASIC), definition_file(tmp_path, UPSTREAM, "s.json")
        payments.answer(new, verified="yes")
        payments(f"registry add payments/new -f {file} --secret-file {secret}")
        writes = [path for operation, path in payments.kv.calls if operation == "write" and "new" in path]
        assert writes == ["upstream/payments/new", "registries/payments/new", "requests/payments/new"]
        assert payments.store.upstream(new).value.fields["password"].get_secret_value() == SECRET
        assert "ok, version 1" in payments.out
        assert SECRET not in payments.out + payments.err

    def test_a_keyless_registry_needs_no_secret(self, payments, tmp_path):
        file = definition_file(tmp_path, "provider: ecr\nregions: [eu-central-1]\naccount: 111122223333\n")
        payments(f"registry add payments/other -f {file} --no-wait")
        assert (
            payments.store.definition(Reference("payments", "other")).value.content()["account"]
            == "111122223333"
        )

    def test_adding_a_keyless_registry_prints_what_the_vendor_must_trust(self, payments, tmp_path):
        file = definition_file(tmp_path, "provider: ecr\nregions: [eu-central-1]\naccount: 111122223333\n")
        payments(f"registry add payments/other -f {file} --no-wait")
        assert "'regcred registry trust payments/other' prints" in payments.err
        payments(f"project add payments --role-arn {ARN}")
        payments(f"registry add payments/other -f {file} --no-wait --replace")
        assert f"Give {ARN} these permissions" in payments.err
        assert "ecr:BatchGetImage" in payments.err

    def test_trust_prints_what_the_vendor_must_trust(self, payments, tmp_path):
        file = definition_file(tmp_path, "provider: quay\nrobot: team+puller\n")
        role = "arn:aws:iam::111122223333:role/regcred/payments"
        payments(
            f"registry trust payments/new -f {file} --role-arn {role} --issuer https://issuer.example.net"
        )
        assert role in payments.out
        assert "https://issuer.example.net" in payments.out

    def test_trust_of_a_registry_with_an_upstream_secret_says_that_none_is_needed(self, payments, tmp_path):
        file = definition_file(tmp_path, BASIC)
        payments(
            f"registry trust payments/new -f {file} --role-arn "
            "arn:aws:iam::111122223333:role/regcred/payments"
        )
        assert "is not keyless" in payments.err

    @pytest.mark.parametrize(
        ("definition", "message"), [(BASIC, "is not keyless"), ("provider: mcr\n", "is public")]
    )
    def test_trust_that_is_not_needed_requires_no_role(self, payments, tmp_path, definition, message):
        payments(f"registry trust payments/new -f {definition_file(tmp_path, definition)}")
        assert message in payments.err

    @pytest.mark.parametrize(
        "option",
        ["--role-arn puller", "--role-arn arn:aws:iam::1:role/x", f"--role-arn {ARN} --issuer example.net"],
    )
    def test_a_wrong_role_or_issuer_is_refused_and_never_printed(self, payments, tmp_path, option):
        file = definition_file(tmp_path, "provider: quay\nrobot: team+puller\n")
        payments(f"registry trust payments/new -f {file} {option}", code=2)
        assert option.split()[-2] in payments.last
        assert payments.out == ""

    def test_a_public_registry_is_written_without_a_request(self, payments, tmp_path):
        payments(f"registry add payments/mcr -f {definition_file(tmp_path, 'provider: mcr')}")
        assert "is public" in payments.err
        assert payments.store.request(Reference("payments", "mcr")) is None

    @pytest.mark.parametrize(
        ("text", "named"),
        [
            ("provider: basic\nhosts: [a\nb: c", "line 3"),
            ('{"provider": "basic",}', "line 1, column 2"),
            ("- a\n- b\n", "fields"),
            ("provider: bsaic\n", "did you mean 'basic'"),
            ("provider: basic\nhosts: [https://registry.example.com]\n", "hosts[0]"),
            (
                "provider: basic\nhosts: [a.example.com]\nhosts: [b.example.com]\n",
                "line 3: 'hosts' appears twice",
            ),
            ('{"provider": "basic", "hosts": ["a"], "hosts": ["b"]}', "'hosts' appears twice"),
            ("provider: basic\nhosts: [{a: 1, b: 2, a: 3}]\n", "line 2: 'a' appears twice"),
            ("provider: basic\nhosts: [registry.example.com]\npassword: x\n", "password"),
            ("", "fields"),
            ("provider: !!int basic\n", "does not fit its tag"),
            ("provider: !!timestamp basic\n", "does not fit its tag"),
            ("[" * 1000 + "]" * 1000, "is nested more than 50 levels deep"),
            ('{"a":' * 20_000, "nested too deep"),
            ('{"provider": 5}', "provider: is not a string"),
            ('{"provider": "mcr", "description": "\\ud800"}', "half of a surrogate pair"),
        ],
    )
    def test_a_wrong_file_is_refused_with_its_line_or_field(self, payments, tmp_path, text, named):
        file = definition_file(tmp_path, text)
        payments(f"registry add payments/new -f {file}", code=2)
        assert named in payments.last
        assert str(file) in payments.last
        assert "registries/payments/new" not in payments.kv.paths()

    def test_an_error_about_a_missing_file_names_it(self, payments):
        payments("registry add payments/new -f /nowhere/r.yaml", code=2)
        assert "/nowhere/r.yaml" in payments.last

    def test_a_host_that_is_not_allowed_is_refused_before_anything_is_written(self, payments, tmp_path):
        file = definition_file(tmp_path, "provider: basic\nhosts: [evil.example.net]\n")
        payments(f"registry add payments/new -f {file}", code=3)
        assert "evil.example.net" in payments.last

    def test_a_secret_without_a_field_is_refused_without_showing_the_rest(self, payments, tmp_path):
        file = definition_file(tmp_path, BASIC)
        secret = definition_file(tmp_path, json.dumps({"password": SECRET}), "s.json")
        payments(f"registry add payments/new -f {file} --secret-file {secret}", code=2)
        assert "'username'" in payments.last
        assert SECRET not in payments.err

    def test_the_file_may_be_the_value_of_a_secrets_only_field(self, payments, tmp_path):
        key = json.dumps({"type": "service_account", "private_key": SECRET})
        file = definition_file(tmp_path, "provider: gar\nhosts: [europe-west1-docker.pkg.dev]\nauth: key\n")
        secret = definition_file(tmp_path, key + "\n", "key.json")
        payments(f"registry add payments/new -f {file} --secret-file {secret} --no-wait")
        upstream = payments.store.upstream(Reference("payments", "new")).value.fields
        assert {name: value.get_secret_value() for name, value in upstream.items()} == {"key": key}

    @pytest.mark.parametrize(
        ("text", "named"),
        [
            (f"tokn: {SECRET}\n", "'tokn' is not a field of this secret; its fields are token"),
            (json.dumps({"tokn": SECRET}), "'tokn' is not a field of this secret; its fields are token"),
            (json.dumps({"type": "service_account", "private_key": SECRET}), "its fields are token"),
            (f"token: x\ntoken: {SECRET}\n", "'token' appears twice"),
            (f'{{"token": "x", "token": "{SECRET}"}}', "'token' appears twice"),
            (f'{{"token": "{SECRET}"', "line 1"),
            ("{}", "'token' is missing"),
            (" \n", "is empty"),
        ],
    )
    def test_a_file_with_fields_is_never_the_value_of_the_only_field(self, payments, tmp_path, text, named):
        file = definition_file(tmp_path, GITLAB)
        secret = definition_file(tmp_path, text, "s.yaml")
        payments(f"registry add payments/new -f {file} --secret-file {secret} --no-wait", code=2)
        assert named in payments.last
        assert SECRET not in payments.err
        assert payments.store.upstream_version(Reference("payments", "new")) == 0

    @pytest.mark.parametrize(
        "text", [SECRET, f"@{SECRET}", f"!{SECRET}", f"-----BEGIN X-----\n{SECRET}=\n-----END X-----"]
    )
    def test_the_file_may_be_a_token_or_a_pem_key(self, payments, tmp_path, text):
        file = definition_file(tmp_path, GITLAB)
        secret = definition_file(tmp_path, f"{text}\n", "token")
        payments(f"registry add payments/new -f {file} --secret-file {secret} --no-wait")
        upstream = payments.store.upstream(Reference("payments", "new")).value.fields
        assert upstream["token"].get_secret_value() == text

    def test_a_secret_may_contain_a_second_login(self, payments, tmp_path):
        both = {"username": "a", "password": SECRET, "username_2": "b", "password_2": SECRET}
        secret = definition_file(tmp_path, json.dumps(both), "s.json")
        payments(f"registry set-secret payments/nexus --secret-file {secret} --no-wait")
        assert set(payments.store.upstream(NEXUS).value.fields) == set(both)

    def test_without_a_terminal_the_error_names_the_option_for_the_secret(self, payments, tmp_path):
        payments(f"registry add payments/new -f {definition_file(tmp_path, BASIC)}", code=2)
        assert "--secret-file" in payments.last

    def test_a_failure_between_the_two_writes_says_what_was_written(self, payments, tmp_path):
        file, secret = definition_file(tmp_path, BASIC), definition_file(tmp_path, UPSTREAM, "s.json")
        payments.kv.faults["write", "registries/"] = TransientError("Vault is sealed")
        payments(f"registry add payments/new -f {file} --secret-file {secret}", code=5)
        assert "the upstream secret was written, but the definition was not" in payments.last

    def test_a_failure_at_the_first_write_says_nothing_was_written(self, payments, tmp_path):
        file, secret = definition_file(tmp_path, BASIC), definition_file(tmp_path, UPSTREAM, "s.json")
        payments.kv.faults["write", "upstream/"] = RefusedError("permission denied on upstream/payments/new")
        payments(f"registry add payments/new -f {file} --secret-file {secret}", code=3)
        assert "nothing was written" in payments.last
        assert "registries/payments/new" not in payments.kv.paths()

    def test_a_concurrent_change_is_not_overwritten(self, payments, tmp_path):
        file, secret = definition_file(tmp_path, BASIC), definition_file(tmp_path, UPSTREAM, "s.json")
        payments.kv.faults["write", "registries/"] = ConflictError("version")
        payments(f"registry add payments/new -f {file} --secret-file {secret}", code=5)
        assert "somebody else" in payments.last

    def test_an_existing_registry_is_replaced_only_with_replace(self, payments, tmp_path):
        file = definition_file(tmp_path, "provider: ecr\nregions: [eu-west-1]\n")
        payments(f"registry add payments/ecr-prod -f {file} --no-wait", code=2)
        assert "--replace" in payments.last
        payments(f"registry add payments/ecr-prod -f {file} --no-wait --replace")
        assert payments.store.definition(ECR).version == 2

    def test_replacing_keeps_the_upstream_secret(self, payments, tmp_path):
        payments.kv.write("upstream/payments/nexus", {"username": "u", "password": SECRET}, cas=0)
        file = definition_file(tmp_path, BASIC + "description: new\n")
        payments(f"registry add payments/nexus -f {file} --no-wait --replace")
        assert payments.store.upstream_version(NEXUS) == 1

    def test_an_account_id_keeps_its_leading_zeros(self, payments, tmp_path):
        payments("project add payments --account 012345670123")
        file = definition_file(tmp_path, "provider: ecr\nregions: [eu-central-1]\naccount: 012345670123\n")
        payments(f"registry add payments/z -f {file} --no-wait")
        assert (
            payments.store.definition(Reference("payments", "z")).value.content()["account"] == "012345670123"
        )


class TestBindingOfASecret:
    def test_a_changed_host_requires_the_secret_again_and_binds_it_to_that_host(self, payments, tmp_path):
        new = Reference("payments", "new")
        payments("project add payments --host other.example.com")
        secret = definition_file(tmp_path, UPSTREAM, "s.json")
        file = definition_file(tmp_path, BASIC)
        payments(f"registry add payments/new -f {file} --secret-file {secret} --no-wait")
        before = payments.store.upstream(new).value.bound_to
        assert "registry.example.com" in before
        file = definition_file(tmp_path, BASIC + "description: the same host\n")
        payments(f"registry add payments/new -f {file} --no-wait --replace")
        assert payments.store.upstream(new).version == 1
        file = definition_file(tmp_path, BASIC.replace("registry.example.com", "other.example.com"))
        payments(f"registry add payments/new -f {file} --no-wait --replace", code=2)
        assert "needs an upstream secret" in payments.last
        assert payments.store.definition(new).value.content()["hosts"] == ["registry.example.com"]
        payments(f"registry add payments/new -f {file} --secret-file {secret} --no-wait --replace")
        assert "other.example.com" in payments.store.upstream(new).value.bound_to

    def test_a_new_secret_is_bound_to_the_current_definition(self, payments, tmp_path):
        secret = definition_file(tmp_path, UPSTREAM, "s.json")
        payments(f"registry set-secret payments/nexus --secret-file {secret} --no-wait")
        assert "registry.example.com" in payments.store.upstream(NEXUS).value.bound_to


class TestUnverified:
    """Each view shows an unverified credential as unverified, with the reason."""

    REASON = "registry.example.com: it asks for no login, so nothing shows whether this one works"
    REASONS = pytest.mark.parametrize(
        ("stored", "reason"), [(REASON, REASON), ("", "it was not verified; run 'regcred verify'")]
    )

    @REASONS
    def test_status_doctor_list_and_show_agree(self, payments, stored, reason):
        payments.index(ECR, version=13, verified="unknown", unverified=stored)
        assert re.search(r"payments/ecr-prod +unverified", payments("status"))
        assert f"payments/ecr-prod: unverified: {reason}" in payments.err
        row = payments.json("status payments/ecr-prod -o json")["registries"][0]
        assert (row["state"], row["unverified"]) == ("unverified", reason)
        assert re.search(r"payments/ecr-prod +ecr +unverified", payments("registry list"))
        assert reason in payments("registry show payments/ecr-prod")
        payments("doctor payments", code=1)  # the other registry has no upstream secret
        assert f"unverified: {reason}" in payments.out

    @REASONS
    def test_verify_fails_with_the_reason(self, payments, stored, reason):
        payments.answer(ECR, version=12, verified="unknown", unverified=stored)
        payments("verify payments/ecr-prod", code=1)
        assert f"version 12 is unverified: {reason}" in payments.last

    @pytest.mark.parametrize("kind", ["refused", "malformed"])
    def test_after_a_failed_first_credential_the_next_step_is_named(self, payments, tmp_path, kind):
        new = Reference("payments", "new")
        file, secret = definition_file(tmp_path, BASIC), definition_file(tmp_path, UPSTREAM, "s.json")
        payments.answer(new, state=State.FAILING, version=0, error="401", error_kind=kind)
        code = 3 if kind == "refused" else 1
        payments(f"registry add payments/new -f {file} --secret-file {secret}", code=code)
        assert "another upstream secret: regcred registry set-secret payments/new" in payments.err
        assert "next: let a namespace use it" not in payments.err
        keyless = definition_file(tmp_path, "provider: ecr-public\n", "keyless.yaml")
        other = Reference("payments", "other")
        payments.answer(other, state=State.FAILING, version=0, error="403", error_kind=kind)
        payments(f"registry add payments/other -f {keyless}", code=code)
        assert "after a change at the vendor: regcred rotate payments/other" in payments.err

    def test_adding_a_registry_to_a_misspelt_project_suggests_the_right_name(self, payments, tmp_path):
        file = definition_file(tmp_path, "provider: mcr\n")
        payments(f"registry add paymnets/new -f {file}", code=3)
        assert "there is no project paymnets; did you mean payments?" in payments.last

    def test_adding_a_registry_that_cannot_be_verified_fails(self, payments, tmp_path):
        new = Reference("payments", "new")
        file, secret = definition_file(tmp_path, BASIC), definition_file(tmp_path, UPSTREAM, "s.json")
        payments.answer(
            new, state=State.FAILING, version=0, error="it could not be tried", error_kind="unverified"
        )
        payments(f"registry add payments/new -f {file} --secret-file {secret}", code=1)
        assert "could not be tried" in payments.last
        payments.answer(new, version=1, verified="unknown", unverified=self.REASON)
        payments(f"registry add payments/new -f {file} --secret-file {secret} --allow-unverified --replace")
        assert payments.store.definition(new).value.content()["allow_unverified"] is True
        assert "unverified, version 1" in payments.out

    def test_a_login_without_a_test_pull_is_shown_as_such(self, payments):
        payments.answer(ECR, version=13, verified="login")
        assert "the login was accepted" in payments("rotate payments/ecr-prod")


class TestLimitOfAProject:
    """A registry over its project's limit is not rotated, which add, status and doctor report."""

    def test_add_status_and_doctor_report_the_limit_of_a_project(self, payments, tmp_path):
        payments("project add payments --max-registries 1")
        file = definition_file(tmp_path, "provider: ecr\nregions: [eu-west-1]")
        payments(f"registry add payments/new -f {file} --no-wait", code=3)
        assert "nothing was written: its project has reached its limit of 1" in payments.last
        assert payments.store.definition(Reference("payments", "new")) is None
        payments("status")
        assert "payments/nexus: not rotated: its project has reached its limit of 1" in payments.err
        payments("doctor payments", code=1)
        assert "1 registry not rotated: its project has reached its limit of 1" in payments.out
        assert "has no credential yet" not in payments.out, "the limit is the reason"

    def test_add_status_and_doctor_report_a_full_index(self, payments, tmp_path):
        index = payments.store.index("payments")
        full = index.value.model_copy(update={"full": True})
        payments.kv.write("credentials/payments/_index", full.fields(), cas=index.version)
        file = definition_file(tmp_path, "provider: ecr\nregions: [eu-west-1]")
        payments(f"registry add payments/new -f {file} --no-wait", code=3)
        assert "the index of its project is full" in payments.last
        payments("status")
        assert "payments/nexus: not rotated: the index of its project is full" in payments.err
        payments("doctor payments", code=1)
        assert "1 registry not rotated: the index of its project is full" in payments.out


class TestMalformedIndexEntries:
    def test_doctor_names_an_entry_of_the_index_that_cannot_be_read(self, payments):
        path = "credentials/payments/_index"
        index = json.loads(payments.kv.read(path).fields["document"])
        index["registries"] |= {"Not_a_label": {}, "nexus": {"state": "asleep"}}
        payments.kv.write(path, {"document": json.dumps(index)}, cas=payments.kv.version(path))
        payments("doctor payments", code=1)
        assert "payments/nexus" in payments.out
        assert "its entry in the index is skipped" in payments.out
        assert "'Not_a_label' is not the name of a registry" in payments.out
        assert "its index can't be read" not in payments.out


class TestTemplate:
    def test_a_completed_template_can_be_added(self, payments, tmp_path):
        text = payments("registry template ecr")
        assert "# The AWS regions to pull from" in text
        file = definition_file(tmp_path, text.replace("regions:", "regions: [eu-central-1]"))
        payments(f"registry add payments/new -f {file} --no-wait")

    def test_the_examples_of_optional_fields_are_valid(self, payments, tmp_path):
        text = payments("registry template basic").replace("hosts:", "hosts: [registry.example.com]", 1)
        every = "".join(
            line.removeprefix("#") if re.match("#[a-z_]+:", line) else line for line in text.splitlines(True)
        )
        definitions.from_file(str(definition_file(tmp_path, every)))

    def test_an_unknown_provider_is_refused_with_the_known_ones(self, cli):
        cli("registry template nexsus", code=2)
        assert "basic" in cli.last

    def test_without_a_name_all_are_listed(self, cli):
        assert "ecr" in cli("registry template")


class TestRegistry:
    def test_set_secret_writes_the_secret_and_a_request(self, payments, tmp_path):
        secret = definition_file(tmp_path, UPSTREAM, "s.json")
        payments(f"registry set-secret payments/nexus --secret-file {secret} --no-wait")
        assert payments.store.upstream_version(NEXUS) == 1
        assert payments.store.request(NEXUS).value.action is Action.ROTATE

    def test_show_never_shows_the_secret(self, payments):
        payments.kv.write("upstream/payments/nexus", {"username": "u", "password": SECRET}, cas=0)
        shown = payments("registry show payments/nexus") + payments("registry show payments/nexus -o json")
        assert SECRET not in shown
        assert ("read", "upstream/payments/nexus") not in payments.kv.calls

    def test_list_shows_provider_and_state(self, payments):
        assert [line.split()[:3] for line in payments("registry list payments").splitlines()[1:]] == [
            ["payments/ecr-prod", "ecr", "ok"],
            ["payments/nexus", "basic", "pending"],
        ]

    def test_verify_writes_a_request(self, payments):
        payments("verify payments/ecr-prod --no-wait")
        assert payments.store.request(ECR).value.action is Action.VERIFY

    def test_remove_deletes_definition_and_secret(self, payments):
        payments.kv.write("upstream/payments/nexus", {"password": SECRET}, cas=0)
        payments("registry remove payments/nexus --yes")
        assert not [path for path in payments.kv.paths() if path.endswith("payments/nexus")]

    def test_an_incomplete_removal_says_what_remains(self, payments):
        payments.kv.faults["delete", "upstream/"] = TransientError("Vault is sealed")
        payments("registry remove payments/nexus --yes", code=1)
        assert "the definition is removed, but the upstream secret is not" in payments.last


class TestSync:
    def run(self, cli, line, code=0, failures=()):
        calls = []

        def run_sync(settings, context, way, say):
            calls.append((settings, context, way))
            say("create  shop/regcred.payments.main (version 3)")
            return failures

        found = run(line.split(), CliSession(run_sync=run_sync))
        cli.out, cli.err = cli.capture.readouterr()
        assert found == code
        return calls

    def test_options_have_priority_over_the_environment(self, cli):
        calls = self.run(cli, "sync --cluster c1 --mode none --dry-run --context other")
        assert calls == [({"REGCRED_CLUSTER": "c1", "REGCRED_MODE": "none"}, "other", "dry-run")]
        assert cli.out == "create  shop/regcred.payments.main (version 3)\n"

    def test_without_once_or_dry_run_sync_runs_in_a_loop(self, cli):
        assert self.run(cli, "sync --cluster c1")[0][2] == "loop"

    def test_failures_are_counted_and_set_the_exit_code(self, cli):
        self.run(cli, "sync --cluster c1 --once", code=1, failures=["x", "y"])
        assert "2 failures" in cli.err

    def test_the_cluster_must_be_named(self, cli, monkeypatch):
        monkeypatch.delenv("REGCRED_CLUSTER", raising=False)
        self.run(cli, "sync --once", code=2)
        assert "--cluster" in cli.err

    def test_confirm_removals_requires_once_or_dry_run(self, cli):
        self.run(cli, "sync --cluster c1 --confirm-removals", code=2)
        assert "--dry-run" in cli.err


class TestConfirmRemovals:
    @pytest.fixture
    def held(self, payments):
        place = Placement(placed={1: {"prod": ""}}, held={"prod": "unneeded", "shop": "unneeded"})
        other = Placement(held={"find": "removed"})
        for project, places in (("payments", {"main": place}), ("search", {"harbor": other})):
            version = payments.store.status_version("c1", project)
            payments.store.write_status("c1", project, Status(written_at=NOW, registries=places), cas=version)
        return payments

    def confirmed(self, cli):
        return {name: one.count for name, one in cli.store.cluster("c1").value.confirmed.items()}

    def test_it_shows_the_held_removals_and_confirms_them_for_an_hour(self, held):
        held("cluster confirm-removals c1 --yes")
        assert ["payments/main", "shop", "unneeded"] in [line.split() for line in held.out.splitlines()]
        assert self.confirmed(held) == {"payments": 2, "search": 1}
        until = {one.until for one in held.store.cluster("c1").value.confirmed.values()}
        assert until == {NOW + timedelta(hours=1)}
        assert held.store.cluster("c1").value.grants["payments"] == ["prod", "staging"]

    def test_it_can_confirm_one_project_only(self, held):
        held("cluster confirm-removals c1 --yes --project search")
        assert self.confirmed(held) == {"search": 1}
        held("cluster confirm-removals c1 --yes --project other", code=4)
        assert "holds no removals of other" in held.err

    def test_an_expired_confirmation_is_dropped_and_a_grant_keeps_the_others(self, held):
        held("cluster confirm-removals c1 --yes --project search")
        held("grant add --cluster c1 payments more")
        assert self.confirmed(held) == {"search": 1}
        held.now += timedelta(hours=2)
        held("cluster confirm-removals c1 --yes --project payments")
        assert self.confirmed(held) == {"payments": 2}

    def test_without_held_removals_it_fails(self, payments):
        payments("cluster confirm-removals c1 --yes", code=4)
        assert "holds no removals" in payments.err


CREATE = Step(ChangeKind.CREATE, Resource(ResourceKind.POLICY, "regcred-sync"), {})
DELETE = Step(ChangeKind.DELETE, Resource(ResourceKind.GROUP, "regcred-readers-old"), {})


class TestPlatform:
    def test_plan_shows_each_step(self, cli):
        cli.platform.actions = [CREATE, DELETE]
        assert cli("platform plan").splitlines() == [
            "create policy regcred-sync",
            "delete group regcred-readers-old",
        ]
        assert cli.json("platform plan -o json")["actions"][0] == {
            "verb": "create",
            "kind": "policy",
            "name": "regcred-sync",
            "changed": [],
        }

    def test_apply_deletes_only_with_prune_and_yes(self, cli):
        cli.platform.actions = [CREATE, DELETE]
        assert cli("platform apply") == "create policy regcred-sync\n"
        cli("platform apply --prune", code=2)
        assert "--yes" in cli.last
        assert "delete group" in cli("platform apply --prune --yes")

    def test_check_fails_only_if_there_is_a_difference(self, cli):
        cli("platform check")
        cli.platform.actions = [CREATE]
        cli("platform check", code=1)
        assert "1 difference" in cli.last

    @pytest.mark.parametrize(
        ("actions", "remedies"),
        [
            ([CREATE], ["platform apply' fixes"]),
            ([DELETE], ["platform apply --prune' deletes"]),
            ([CREATE, DELETE], ["platform apply' fixes", "platform apply --prune' deletes"]),
        ],
    )
    def test_check_apply_and_doctor_report_the_same_differences(self, payments, actions, remedies):
        payments.platform.actions = actions
        payments("platform check", code=1)
        assert [word for word in ("apply' fixes", "apply --prune' deletes") if word in payments.err] == [
            remedy.removeprefix("platform ") for remedy in remedies
        ]
        payments("platform apply")
        assert ("nothing to do" in payments.err) is False
        assert ("not declared, but kept" in payments.err) == (DELETE in actions)
        text = payments("doctor", code=1)
        assert "Vault matches the declaration" not in text
        assert ("regcred-readers-old" in text) == (DELETE in actions)

    def test_each_command_reports_an_older_copy_of_a_policy(self, payments):
        payments.platform.notes = ["policies/sync.hcl is older (version 1)"]
        assert "is older" in payments("platform check", code=1)
        payments("platform apply")
        assert "is older" in payments.err
        assert "is older" in payments("doctor", code=1)

    def test_without_permission_it_is_refused(self, cli):
        cli.platform.refuses = True
        cli("platform plan", code=3)


@pytest.mark.parametrize(
    ("text", "error"),
    [(None, "platform.yaml can't be read"), ("mount: [", "platform.yaml"), ("x: 1", "x: is not a field")],
)
@pytest.mark.parametrize("command", ["plan", "check", "apply"])
def test_a_missing_or_malformed_platform_file_is_wrong_usage(
    capsys, monkeypatch, tmp_path, command, text, error
):
    monkeypatch.setenv("VAULT_ADDR", "http://127.0.0.1:9")
    monkeypatch.setenv("VAULT_TOKEN", "unused")
    if text is not None:
        (tmp_path / "platform.yaml").write_text(text)
    assert run(["platform", command, "--dir", str(tmp_path)]) == 2
    assert error in capsys.readouterr().err


class TestMalformedDocuments:
    """A malformed document, or one at a wrong path, hides no other."""

    @pytest.mark.parametrize(
        "command", ["status", "status payments", "registry list", "registry list -o json"]
    )
    def test_an_invalid_registry_name_is_left_out_and_reported(self, payments, command):
        payments.kv.write("registries/payments/ECR_Prod", {"document": '{"provider": "ecr"}'}, cas=0)
        payments.kv.write("registries/Other/x", {"document": '{"provider": "ecr"}'}, cas=0)
        assert "payments/ecr-prod" in payments(command)
        assert "payments/ECR_Prod is left out" in payments.err

    def test_a_broken_definition_can_be_replaced_revoked_and_removed(self, payments, tmp_path):
        payments.kv.write("registries/payments/broken", {"document": "{"}, cas=0)
        payments("revoke payments/broken --yes --no-wait")
        file = definition_file(tmp_path, "provider: mcr\n")
        payments(f"registry add payments/broken -f {file}", code=2)
        assert "--replace" in payments.last
        payments(f"registry add payments/broken -f {file} --replace")
        assert payments.store.definition(Reference("payments", "broken")).value.provider == "mcr"
        payments.kv.put("registries/payments/broken", {"document": "{"})
        payments("registry remove payments/broken --yes")
        assert "registries/payments/broken" not in payments.kv.paths()

    def test_a_broken_project_or_cluster_is_left_out_of_the_list_and_reported(self, payments):
        payments.kv.write("platform/projects/other", {"document": '{"hosts": "x"}'}, cas=0)
        payments.kv.write("platform/clusters/other", {"document": '{"grants": 5}'}, cas=0)
        assert "payments" in payments("project list")
        assert "project other is left out" in payments.err
        assert "payments" in payments("grant list")
        assert "cluster other is left out" in payments.err
        payments("grant list --cluster other", code=1)

    def test_a_broken_project_can_be_replaced(self, payments):
        payments.kv.put("platform/projects/payments", {"document": '{"hosts": "x"}'})
        for command in ("add payments --cluster c2", "remove payments --cluster c1", "show payments"):
            payments(f"project {command}", code=1)
            assert "hosts: must be a list" in payments.last
            assert "regcred project add payments --replace" in payments.last
        payments("project add payments --host registry.example.com --cluster c1 --replace")
        policy = payments.store.project("payments").value
        assert (policy.hosts, policy.clusters) == (["registry.example.com"], ["c1"])

    def test_the_grants_of_a_broken_cluster_can_be_replaced(self, payments):
        payments.kv.put("platform/clusters/c1", {"document": '{"grants": 5}'})
        for command in ("add -c c1 payments dev", "remove -c c1 payments --yes", "list -c c1"):
            payments(f"grant {command}", code=1)
            assert "grants: must be a mapping" in payments.last
            assert "regcred grant add --cluster c1 --replace" in payments.last
        payments("grant add -c c1 payments prod --replace", code=2)
        assert "--yes" in payments.last
        payments("grant add -c c1 payments prod --replace --yes")
        assert payments.store.cluster("c1").value.grants == {"payments": ["prod"]}

    def test_a_broken_project_does_not_fail_a_grant_that_is_written(self, payments):
        payments.kv.put("platform/projects/payments", {"document": "{"})
        payments("grant add -c c1 payments dev")
        assert "dev" in payments.store.cluster("c1").value.grants["payments"]

    def test_a_document_that_can_be_read_is_not_replaced(self, payments):
        payments("project add payments --cluster c2 --replace", code=2)
        payments("grant add -c c1 payments dev --replace --yes", code=2)
        assert "can be read" in payments.last
        assert payments.store.project("payments").value.clusters == ["c1"]
        assert payments.store.cluster("c1").value.grants == {"payments": ["prod", "staging"]}

    def test_a_document_that_another_user_repairs_meanwhile_is_not_replaced(self, payments):
        payments.kv.put("platform/projects/payments", {"document": "{"})
        read = payments.kv.read

        def read_before_repair(path):
            found = read(path)
            if found.version == 2:
                payments.kv.put(path, {"document": '{"clusters": ["c9"]}'})
            return found

        payments.kv.read = read_before_repair
        payments("project add payments --cluster c2 --replace", code=2)
        assert payments.store.project("payments").value.clusters == ["c9"]

    def test_a_broken_index_fails_and_hides_no_other_project(self, payments):
        payments.kv.write("credentials/other/_index", {"document": "{"}, cas=0)
        assert "payments/ecr-prod" in payments("status", code=1)
        assert "credentials/other/_index" in payments.last
        payments("status other/main", code=1)
        assert "credentials/other/_index" in payments.last
        assert "no registries yet" not in payments.err

    def test_a_broken_definition_is_left_out_of_the_list_and_reported(self, payments):
        payments.kv.write("registries/payments/broken", {"document": "{"}, cas=0)
        assert "payments/ecr-prod" in payments("registry list")
        assert "payments/broken is left out" in payments.err


class TestDoctor:
    def test_without_problems_doctor_says_so(self, payments):
        payments.kv.write("upstream/payments/nexus", {"username": "u", "password": SECRET}, cas=0)
        payments.index(NEXUS, verified="yes")
        text = payments("doctor")
        assert "✓ payments/ecr-prod" in text
        assert "as ann, with regcred-platform-admin" in text
        assert "no problem found" in payments.err

    @pytest.mark.parametrize(
        ("entry", "message"),
        [
            ({"state": State.FAILING, "error": "no such role"}, "failing: no such role"),
            ({"expires_at": NOW - timedelta(hours=1)}, "expired 1h ago"),
            (
                {"expires_at": NOW + timedelta(hours=1), "refresh_at": NOW - timedelta(hours=1)},
                "check that dispatch and rotate run",
            ),
        ],
    )
    def test_a_failing_expired_or_overdue_credential_is_a_problem(self, payments, entry, message):
        payments.index(ECR, **{"version": 13, **entry})
        payments("doctor payments", code=1)
        assert message in payments.out

    def test_an_invalid_registry_name_is_a_problem_and_hides_no_other(self, payments):
        payments.kv.write("registries/payments/ECR_Prod", {"document": '{"provider": "ecr"}'}, cas=0)
        payments("doctor payments", code=1)
        assert "payments/ECR_Prod" in payments.out
        assert "payments/ecr-prod" in payments.out

    def test_a_missing_upstream_secret_is_a_problem(self, payments):
        payments("doctor payments", code=1)
        assert "regcred registry set-secret payments/nexus" in payments.out

    def test_a_definition_that_is_no_longer_allowed_is_a_problem(self, payments):
        payments("project remove payments --host registry.example.com")
        payments("doctor payments", code=1)
        assert "registry.example.com is not allowed" in payments.out

    def test_a_sync_that_stopped_writing_its_status_is_a_problem(self, payments):
        payments.now = NOW + timedelta(hours=4)
        payments("doctor payments", code=1)
        assert "sync last wrote its status 4h ago" in payments.out

    def test_a_malformed_request_is_a_problem(self, payments):
        payments.kv.write("requests/payments/ecr-prod", {"document": '{"action": "rotat"}'}, cas=0)
        payments("doctor payments", code=1)
        assert "action" in payments.out
        assert "regcred rotate payments/ecr-prod" in payments.out

    def test_a_request_that_waits_too_long_is_a_problem(self, payments):
        payments("rotate payments/ecr-prod --no-wait")
        payments.now = NOW + timedelta(minutes=30)
        payments("doctor payments", code=1)
        assert "the request to rotate has waited for 30m" in payments.out

    def test_a_part_that_the_token_may_not_read_is_noted(self, payments):
        payments.platform.refuses = True
        payments.kv.faults["read", "platform/"] = RefusedError("permission denied")
        payments("doctor payments", code=1)
        assert "· platform" in payments.out

    def test_repair_updates_the_projects_groups(self, payments):
        payments("doctor payments --repair", code=1)
        assert payments.platform.ensured == ["payments"]


class TestFailures:
    def test_an_unexpected_error_is_one_line_without_the_exceptions_text(self, cli):
        def broken() -> Store:
            raise ValueError(SECRET)

        assert run(["status"], CliSession(open_store=broken)) == 1
        error = cli.capture.readouterr().err
        assert error.startswith("regcred: internal error (ValueError at test_cli.py:")
        assert SECRET not in error

    def test_ctrl_c_shows_no_traceback(self, payments):
        def interrupt() -> None:
            raise KeyboardInterrupt

        payments.while_waiting.append(interrupt)
        payments("rotate payments/ecr-prod", code=130)
        assert payments.last == "regcred: interrupted"

    @pytest.mark.parametrize(
        ("output", "error", "code"),
        [("/dev/full", "regcred: can't write the output: no space left on device\n", 1), ("&-", "", 0)],
    )
    def test_an_output_that_cannot_be_written_shows_no_traceback(self, output, error, code):
        line = f"{sys.executable} -m regcred.cli registry template basic >{output}"
        done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, check=False)
        assert (done.stderr, done.returncode) == (error, code)

    def test_a_closed_pipe_shows_no_traceback(self):
        done = subprocess.run(
            ["bash", "-c", f"{sys.executable} -m regcred.cli --help | true; exit ${{PIPESTATUS[0]}}"],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.stderr == ""
        assert done.returncode in (0, 141)

    @pytest.mark.parametrize(
        ("environment", "named"),
        [
            ({}, "VAULT_ADDR is not set"),
            ({"VAULT_ADDR": "vault.example.com"}, "VAULT_ADDR: "),
            ({"VAULT_ADDR": "https://v:8200"}, "not signed in to Vault"),
            (
                {"VAULT_ADDR": "https://v:8200", "VAULT_TOKEN": "t", "VAULT_CACERT": "/nowhere.pem"},
                "VAULT_CACERT",
            ),
        ],
    )
    def test_an_error_about_a_wrong_environment_variable_names_it(
        self, tmp_path, monkeypatch, capsys, environment, named
    ):
        for name in list(os.environ):
            monkeypatch.delenv(name)
        for name, value in {"HOME": str(tmp_path), "PATH": "/usr/bin:/bin", **environment}.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr("sys.argv", ["regcred", "status"])
        with pytest.raises(SystemExit) as ended:
            main()
        assert ended.value.code == 2
        error = capsys.readouterr().err
        assert named in error
        assert len(error.splitlines()) == 1
