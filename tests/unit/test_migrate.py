"""``regcred migrate``: the files that it writes for the pull secrets of a cluster, and its report."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any, Self
from urllib.parse import parse_qs

import pytest

from regcred.cli.app import run
from regcred.cli.session import CliSession
from regcred.declare import files
from regcred.declare.kinds import DeclaredKind
from regcred.errors import MissingError, RefusedError

PASSWORD = "hunter2-pull"


def encoded(content: Any) -> str:
    return base64.b64encode(json.dumps(content).encode()).decode()


def login(user: str = "robot", password: str = PASSWORD) -> dict[str, str]:
    return {"auth": base64.b64encode(f"{user}:{password}".encode()).decode()}


def secret(namespace: str, name: str, auths: Any, **more: Any) -> dict[str, Any]:
    return {
        "metadata": {"namespace": namespace, "name": name},
        "type": "kubernetes.io/dockerconfigjson",
        "data": {".dockerconfigjson": encoded({"auths": auths})},
        **more,
    }


def workload(
    namespace: str, name: str, *images: str, names: tuple[str, ...] = (), **more: Any
) -> dict[str, Any]:
    spec = {
        "containers": [{"name": f"c{at}", "image": image} for at, image in enumerate(images)],
        **({"imagePullSecrets": [{"name": name} for name in names]} if names else {}),
    }
    return {"metadata": {"namespace": namespace, "name": name, **more}, "spec": {"template": {"spec": spec}}}


class Api:
    """A cluster in memory that serves lists in pages of two."""

    namespace = "default"

    def __init__(self) -> None:
        self.lists: dict[str, list[dict[str, Any]]] = {}
        self.refused: set[str] = set()
        self.calls: list[str] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def put(self, plural: str, *objects: dict[str, Any]) -> None:
        self.lists.setdefault(plural, []).extend(objects)

    def get(self, path: str, query: str = "", *, accept: str = "application/json") -> dict[str, Any]:
        self.calls.append(path)
        words = path.split("/")
        namespace, rest = ("", words[-1:])
        if "namespaces" in words:
            at = words.index("namespaces")
            namespace, rest = words[at + 1], words[at + 2 :]
        plural = rest[0]
        if plural in self.refused:
            raise RefusedError("forbidden")
        items = [one for one in self.lists.get(plural, []) if namespace in ("", one["metadata"]["namespace"])]
        if len(rest) > 1:
            found = [one for one in items if one["metadata"]["name"] == rest[1]]
            if not found:
                raise MissingError("not found")
            assert "PartialObjectMetadata" in accept
            return {"metadata": found[0]["metadata"]}
        if plural not in self.lists and "." in path:
            raise MissingError("the server could not find the requested resource")
        parameters = {name: values[0] for name, values in parse_qs(query).items()}
        field, _, value = parameters.get("fieldSelector", "").partition("=")
        if field:
            items = [one for one in items if one.get(field) == value]
        start = int(parameters.get("continue", 0))
        more = {"continue": str(start + 2)} if len(items) > start + 2 else {}
        return {"metadata": more, "items": items[start : start + 2]}


class Desk:
    def __init__(self, folder: Path, capture: pytest.CaptureFixture[str]) -> None:
        self.folder, self.capture, self.api = folder, capture, Api()
        self.out = self.err = ""

    def __call__(self, line: str, code: int = 0) -> str:
        session = CliSession(open_cluster=lambda _: self.api)
        found = run([*line.split(), "--dir", str(self.folder)], session)
        captured = self.capture.readouterr()
        self.out, self.err = captured.out, captured.err
        written = "".join(path.read_text() for path in self.folder.rglob("*") if path.is_file())
        assert PASSWORD not in self.out + self.err + written
        assert (
            base64.b64encode(f"robot:{PASSWORD}".encode()).decode()[:12] not in self.out + self.err + written
        )
        assert found == code, self.err
        return self.out

    def migrate(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self("migrate --project shop --cluster edge-1 -o json"))
        return found

    def declared(self) -> dict[str, Any]:
        texts = [(str(path), path.read_text("utf-8")) for path in files.paths(self.folder)]
        return {str(key): item for key, item in files.items(texts).items()}


@pytest.fixture
def desk(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Desk:
    return Desk(tmp_path / "out", capsys)


def test_one_login_in_many_namespaces_becomes_one_registry_with_annotations(desk: Desk) -> None:
    for space in ("shop", "web", "cart"):
        desk.api.put("secrets", secret(space, "pull", {"https://registry.example.com": login()}))
        desk.api.put(
            "deployments", workload(space, "app", "registry.example.com/team/app:1", names=("pull",))
        )
    found = desk.migrate()
    assert [one["registry"] for one in found["registries"]] == ["shop/registry-example-com"]
    declared = desk.declared()
    assert {item.key.kind for item in declared.values()} == {
        DeclaredKind.PROJECT,
        DeclaredKind.REGISTRY,
        DeclaredKind.GRANT,
    }
    assert declared["Project shop"].value.hosts == ["registry.example.com"]
    assert declared["Grant edge-1/shop"].value.namespaces == ["cart", "shop", "web"]
    registry = declared["Registry shop/registry-example-com"]
    assert registry.value.hosts == ("registry.example.com",)
    assert registry.secret.stdin
    written = (desk.folder / "registries" / "shop" / "registry-example-com.yaml").read_text()
    assert '{"shop/registry-example-com": {"username": "...", "password": "..."}}' in written
    script = (desk.folder / "annotate.sh").read_text()
    assert (
        "kubectl -n web annotate --overwrite deployments.apps app"
        " registry.regcred.dev/registry-example-com=shop/registry-example-com\n" in script
    )
    assert len(found["in_the_clear"]) == 3


def test_the_pull_secrets_of_the_serviceaccount_count_if_the_pod_has_none(desk: Desk) -> None:
    desk.api.put("secrets", secret("shop", "pull", {"ghcr.io": login()}))
    desk.api.put(
        "serviceaccounts",
        {"metadata": {"namespace": "shop", "name": "default"}, "imagePullSecrets": [{"name": "pull"}]},
    )
    desk.api.put("statefulsets", workload("shop", "db", "ghcr.io/team/db:1", "docker.io/library/alpine"))
    owner = [{"kind": "StatefulSet", "name": "db", "controller": True}]
    pod = {
        "metadata": {"namespace": "shop", "name": "db-0", "ownerReferences": owner},
        "spec": {"containers": []},
    }
    desk.api.put("pods", pod)
    found = desk.migrate()
    assert [(one["kind"], one["name"]) for one in found["annotations"]] == [("StatefulSet", "db")]
    assert "provider ghcr" in found["registries"][0]["hint"]


def test_an_ecr_token_becomes_a_registry_without_a_secret(desk: Desk) -> None:
    hosts = {
        "111122223333.dkr.ecr.eu-central-1.amazonaws.com": login("AWS"),
        "111122223333.dkr.ecr.eu-west-1.amazonaws.com": login("AWS"),
    }
    desk.api.put("secrets", secret("shop", "ecr", hosts))
    image = "111122223333.dkr.ecr.eu-west-1.amazonaws.com/app:1"
    desk.api.put(
        "cronjobs",
        {
            "metadata": {"namespace": "shop", "name": "nightly"},
            "spec": {"jobTemplate": {"spec": workload("", "", image, names=("ecr",))["spec"]}},
        },
    )
    found = desk.migrate()
    declared = desk.declared()
    assert declared["Registry shop/ecr-111122223333"].value.regions == ("eu-central-1", "eu-west-1")
    assert declared["Registry shop/ecr-111122223333"].secret is None
    assert declared["Project shop"].value.accounts == ["111122223333"]
    assert found["annotations"][0]["annotations"] == {
        "registry.regcred.dev/ecr-111122223333": "shop/ecr-111122223333"
    }


def test_secrets_of_other_tools_are_reported_with_their_source(desk: Desk) -> None:
    desk.api.put("secrets", secret("shop", "made", {"quay.io": login()}))
    desk.api.put("secrets", secret("shop", "vso", {"registry.example.com": login("other", PASSWORD + "2")}))
    desk.api.put(
        "deployments", workload("shop", "app", "quay.io/t/a", "registry.example.com/b", names=("made", "vso"))
    )
    kind = {"type": "kubernetes.io/dockerconfigjson"}
    desk.api.put(
        "externalsecrets",
        {
            "metadata": {"namespace": "shop", "name": "es"},
            "spec": {"target": {"name": "made", "template": kind}},
        },
        {"metadata": {"namespace": "shop", "name": "db"}, "spec": {"target": {"name": "password"}}},
    )
    desk.api.put(
        "vaultstaticsecrets",
        {
            "metadata": {"namespace": "shop", "name": "vss"},
            "spec": {
                "type": "kv-v2",
                "mount": "ci",
                "path": "registry",
                "destination": {"name": "vso", **kind},
            },
        },
    )
    desk.api.put(
        "vaultdynamicsecrets",
        {
            "metadata": {"namespace": "shop", "name": "vds"},
            "spec": {"mount": "x", "path": "y", "destination": {"name": "gone", **kind}},
        },
    )
    found = desk.migrate()
    assert "written by ExternalSecret shop/es" in found["in_the_clear"][0]
    assert "written by VaultStaticSecret shop/vss" in found["in_the_clear"][1]
    assert found["not_possible"] == [
        "VaultDynamicSecret shop/vds: creates a pull secret that could not be read"
    ]
    source = desk.declared()["Registry shop/registry-example-com"].secret.vault
    assert (source.mount, source.path) == ("ci", "registry")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({".dockerconfigjson": "%%%"}, "its content does not match its type"),
        ({".dockerconfigjson": encoded([])}, "its content does not match its type"),
        (
            {".dockerconfigjson": base64.b64encode(b"[" * 200_000).decode()},
            "its content does not match its type",
        ),
        ({".dockerconfigjson": "A" * 2_000_000}, "its content does not match its type"),
        ({".dockerconfigjson": encoded({"auths": {}})}, "it contains no login"),
        (
            {".dockerconfigjson": encoded({"auths": {"a.example.com": 5}})},
            "its login for a.example.com has an unknown",
        ),
        (
            {".dockerconfigjson": encoded({"auths": {"a.example.com": {"identitytoken": "x"}}})},
            "identity token",
        ),
        ({".dockerconfigjson": encoded({"auths": {"a.example.com": {"auth": "/w=="}}})}, "has no password"),
        (
            {".dockerconfigjson": encoded({"auths": {"\x1b[31m": login()}})},
            "it contains an invalid registry name",
        ),
        ({".dockerconfigjson": encoded({"auths": {"a_b!": login()}})}, "hosts"),
        (
            {".dockerconfigjson": encoded({"auths": {"x.pkg.dev": login("oauth2accesstoken")}})},
            "define it with provider gar",
        ),
        (
            {".dockerconfigjson": encoded({"auths": {f"h{n}.example.com": login() for n in range(300)}})},
            "only the first 200",
        ),
    ],
)
def test_a_secret_that_cannot_be_migrated_is_reported_and_blocks_no_other(
    desk: Desk, data: Any, message: str
) -> None:
    desk.api.put("secrets", {**secret("shop", "odd", {}), "data": data})
    desk.api.put("secrets", secret("shop", "pull", {"registry.example.com": login("good")}))
    desk.api.put(
        "deployments", workload("shop", "app", "registry.example.com/a", names=("pull", "odd", "none"))
    )
    found = desk.migrate()
    assert any(message in line for line in found["not_possible"]), found["not_possible"]
    assert len(found["annotations"]) == 1
    assert "Deployment shop/app names Secret none, which does not exist" in found["notes"]


def test_a_denied_list_is_reported(desk: Desk) -> None:
    desk.api.put("secrets", secret("shop", "pull", {"registry.example.com": login()}))
    desk.api.refused = {"pods", "externalsecrets"}
    notes = desk.migrate()["notes"]
    assert any("your account may not list pods" in note for note in notes)
    assert any("Secret shop/pull is named by no workload" in note for note in notes)


def test_our_own_secrets_and_other_types_are_ignored(desk: Desk) -> None:
    ours = secret("shop", "regcred.shop.main", {"registry.example.com": login()})
    ours["metadata"]["labels"] = {"app.kubernetes.io/managed-by": "regcred"}
    desk.api.put("secrets", ours, {**secret("shop", "tls", {}), "type": "kubernetes.io/tls"})
    assert desk.migrate()["registries"] == []
    desk("migrate --project p --cluster c")
    assert "nothing to migrate" in desk.err
    assert "regcred apply" not in desk.err


@pytest.mark.parametrize(
    "marks",
    [
        {"annotations": {"openshift.io/internal-registry-auth-token.service-account": "default"}},
        {"annotations": {"openshift.io/token-secret.name": "default-token-abcde"}},
        {"labels": {"vcluster.loft.sh/managed-by": "virtual"}},
    ],
)
def test_secrets_that_openshift_or_vcluster_writes_are_left_out(desk: Desk, marks: dict[str, Any]) -> None:
    """OpenShift writes one for each ServiceAccount, and vcluster copies those of a virtual cluster."""
    theirs = secret("shop", "default-dockercfg-x", {"internal.example.com:5000": login("<token>")})
    theirs["metadata"] |= marks
    desk.api.put("secrets", theirs, secret("shop", "pull", {"registry.example.com": login()}))
    account = {"metadata": {"namespace": "shop", "name": "default"}}
    named = [{"name": "pull"}, {"name": "default-dockercfg-x"}]
    desk.api.put("serviceaccounts", {**account, "imagePullSecrets": named})
    images = ("internal.example.com:5000/shop/app:1", "registry.example.com/team/app:1")
    desk.api.put("deployments", workload("shop", "app", *images))
    found = desk.migrate()
    assert "default-dockercfg-x" not in json.dumps(found)
    assert [one["secrets"] for one in found["registries"]] == [["shop/pull"]]
    assert len(found["annotations"]) == 1


NEW = "regcred.shop.registry-example-com"
IMAGE = "registry.example.com/team/app:1"


def pulled(pod: str, message: str) -> dict[str, Any]:
    return {
        "metadata": {"namespace": "shop", "name": f"{pod}.1"},
        "reason": "Pulled",
        "involvedObject": {"uid": f"uid-{pod}"},
        "message": message,
    }


def pod(name: str, *names: str) -> dict[str, Any]:
    spec = {"containers": [], "imagePullSecrets": [{"name": name} for name in names]}
    return {"metadata": {"namespace": "shop", "name": name, "uid": f"uid-{name}"}, "spec": spec}


def test_an_old_secret_may_go_only_after_a_pull_with_the_new_one(desk: Desk) -> None:
    desk("migrate --check", code=2)
    desk.api.put("secrets", secret("shop", "pull", {"registry.example.com": login()}))
    desk.api.put("deployments", workload("shop", "app", IMAGE, names=("pull",)))
    desk.migrate()

    def stage(code: int = 5) -> str:
        (one,) = json.loads(desk("migrate --check -o json", code=code))["secrets"]
        return f"{one['stage']}: {one['detail']}"

    assert stage().startswith("no new Secret: the Secret of shop/registry-example-com does not exist")
    desk.api.put("secrets", {"metadata": {"namespace": "shop", "name": NEW}})
    desk.api.put("pods", pod("old", "pull", NEW))
    desk.api.put("events", pulled("old", f'Successfully pulled image "{IMAGE}" in 1s'))
    assert stage().startswith("still named: Pod old still name it")
    desk.api.lists["pods"] = [pod("new", NEW)]
    assert stage().startswith("not pulled yet")
    desk.api.put("events", pulled("new", f'Container image "{IMAGE}" already present on machine'))
    desk.api.put("events", pulled("new", 'Successfully pulled image "docker.io/library/alpine" in 1s'))
    assert stage().startswith("not pulled yet")
    desk.api.put(
        "events", pulled("new", f'Successfully pulled image "{IMAGE}" in 1.2s (1.2s including waiting)')
    )
    assert stage(code=0) == "ready: kubectl -n shop delete secret pull"
    desk.api.put(
        "serviceaccounts",
        {"metadata": {"namespace": "shop", "name": "sa"}, "imagePullSecrets": [{"name": "pull"}]},
    )
    assert stage().startswith("still named: ServiceAccount sa")
    desk.api.refused = {"pods"}
    desk("migrate --check", code=3)


@pytest.mark.parametrize(
    "text",
    [
        "[",
        "{}",
        '{"secrets": [{}]}',
        '{"secrets": 5}',
        '{"secrets": [{"namespace": "a", "name": "b", "replacedBy": {"x": []}}]}',
    ],
)
def test_a_malformed_record_of_a_migration_is_refused(desk: Desk, text: str) -> None:
    desk.folder.mkdir()
    (desk.folder / ".migration.json").write_text(text)
    desk("migrate --check", code=2)
    assert ".migration.json: " in desk.err


@pytest.mark.parametrize(
    ("metadata", "owner"),
    [
        ({"annotations": {"meta.helm.sh/release-name": "shop-app"}}, ", written by Helm release shop-app"),
        ({"ownerReferences": [{"kind": "SealedSecret", "name": "pull"}]}, ", written by SealedSecret pull"),
        ({"ownerReferences": [5, {"kind": "A\n", "name": "b"}, {"kind": None}]}, ""),
        ({"annotations": 5, "ownerReferences": {"kind": "A"}}, ""),
    ],
)
def test_the_report_names_what_would_write_a_secret_again(
    desk: Desk, metadata: dict[str, Any], owner: str
) -> None:
    one = secret("shop", "pull", {"registry.example.com": login()})
    one["metadata"].update(metadata)
    desk.api.put("secrets", one)
    (clear,) = desk.migrate()["in_the_clear"]
    assert clear.endswith(f"a password or token without an expiry{owner}")


def test_a_second_run_replaces_no_file_that_somebody_has_edited(desk: Desk) -> None:
    desk.api.put("secrets", secret("shop", "pull", {"registry.example.com": login()}))
    desk.api.put("deployments", workload("shop", "web", "registry.example.com/app:1", names=("pull",)))
    desk.migrate()
    desk.migrate()  # the same text
    (edited,) = (desk.folder / "registries" / "shop").iterdir()
    edited.write_text(edited.read_text() + "# checked by Ann\n")
    desk("migrate --project shop --cluster edge-1", code=2)
    assert f"it would replace {edited}, whose content differs" in desk.err
    assert "checked by Ann" in edited.read_text()
