"""`python -m demo`: the path registry → Lambda → Vault → namespace's Secret → Pod, with real servers."""

from __future__ import annotations

import json
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

from realparts.build import BuildError
from realparts.images import push_pause
from realparts.procs import StartError
from realparts.product import NAMESPACE, Product
from realparts.pulling import manifest_status
from realparts.stack import Stack
from realparts.waiting import eventually

from .manifests import BASIC, BASIC_HOST, ECR, ECR_HOST, deployment
from .narrator import Narrator

WEB = f"{ECR_HOST}/shop/web:1"

TOKEN_SECONDS = 40
"""The lifetime of the demo's first ECR login. Real ones live for 12 hours."""


def main() -> int:
    """Run the demo and return the exit code."""
    stack = Stack(".local")
    try:
        _bring_up(stack)
        Demo(stack).run()
    except (BuildError, StartError, AssertionError) as error:
        print(
            f"\n{error}\nThe logs are in {stack.logs_dir}. `make down` stops everything.",
            file=sys.stderr,
        )
        return 1
    except KeyboardInterrupt:
        print("\nInterrupted. What has started still runs. `make down` stops it.", file=sys.stderr)
        return 130
    return 0


def _bring_up(stack: Stack) -> None:
    print(
        f"Starting the real parts: {stack.vault.product}, Kubernetes with a kubelet, a registry, AWS "
        "stand-ins and the Lambda emulator."
    )
    stack.up(programs=["helm"])
    stack.start_functions()


class Demo:
    """The steps of the demo. Each step needs the results of the earlier ones."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self.product = Product(stack)
        self.narrator = Narrator(stack.directory / "env.sh")
        self.files = stack.directory / "demo"
        self.has_node = "node" in stack.parts_up()

    def run(self) -> None:
        """Run all steps."""
        self._prepare()
        self._allow_the_project()
        self._register()
        self._install()
        self._deploy()
        self._outlive_the_first_token()
        self._refuse_a_stranger()
        self._remove()
        self._go_on_by_hand()

    def _prepare(self) -> None:
        """Create what exists before Regcred: images in two registries, a robot user and an IAM role."""
        self.files.mkdir(exist_ok=True)
        kubernetes = self.stack.kubernetes
        kubernetes.kubectl("delete", "namespace", "shop", "stranger", "--ignore-not-found", "--wait=true")
        for repository in ("shop/web", "shop/tools"):
            push_pause(self.stack.registry, repository)
        self.password = self.stack.registry.add_user("shop-robot", pull=["shop/*"], hosts=[BASIC_HOST])
        self.role = self.stack.project_role("shop")
        self.stack.aws.set_ecr_token_lifetime(TOKEN_SECONDS)
        for name, text in {
            "ecr.yaml": ECR,
            "basic.yaml": BASIC,
            "shop.yaml": deployment("shop"),
            "stranger.yaml": deployment("stranger"),
        }.items():
            (self.files / name).write_text(text)

    def _allow_the_project(self) -> None:
        self.narrator.step(
            "A platform admin adds a project and sets its bounds",
            """A project has its own IAM role, which rotate assumes to create its credentials. Its bounds are
            the hosts, accounts and clusters that it may use.""",
        )
        self.narrator.run(
            f"regcred project add shop --host {BASIC_HOST} --account {ECR_HOST.split('.')[0]} --cluster "
            f"local --role-arn {self.role}"
        )

    def _register(self) -> None:
        self.narrator.step(
            "A project admin adds two private registries",
            f"""Amazon ECR needs no stored secret. The other registry needs a robot user's password, which
            goes to a path in Vault that only rotate can read. Each write requests a rotation: dispatch
            puts a message into the SQS queue. Rotate runs in the Lambda emulator, creates a credential,
            tries a pull, and writes to Vault. In this demo, ECR logins live for {TOKEN_SECONDS} s.""",
        )
        replace = "--replace" if self.product.regcred_json("registry", "list")["registries"] else ""
        self.narrator.run(
            f"regcred registry add shop/ecr {replace} -f {self.files / 'ecr.yaml'}",
            shown="regcred registry add shop/ecr -f ecr.yaml",
        )
        secret = json.dumps({"username": "shop-robot", "password": self.password})
        self.narrator.run(
            f"regcred registry add shop/basic {replace} -f {self.files / 'basic.yaml'} --secret-file -",
            stdin=secret,
            shown="regcred registry add shop/basic -f basic.yaml --secret-file -     (the secret on standard "
            "input)",
        )
        self.first_token = self._stored("shop/ecr")

    def _install(self) -> None:
        self.narrator.step(
            "A platform admin installs Regcred in the cluster, and grants the project to a namespace",
            """The chart has admission policies (no webhook), the RBAC of sync, and policies that confine its
            account to Regcred's own Secrets. In this demo, sync runs as a process with only these rights.""",
        )
        self.product.install_chart()
        self.product.start_sync()
        self.narrator.run(
            f"kubectl auth can-i get secrets --as system:serviceaccount:{NAMESPACE}:regcred-sync -n shop",
            succeeds=False,
        )
        self.narrator.run("regcred grant add --cluster local shop shop")
        self.narrator.run("regcred annotation shop/ecr shop/basic")

    def _deploy(self) -> None:
        self.narrator.step(
            "A developer deploys a workload with those annotations",
            "Two containers, one image from each private registry, and no imagePullSecrets in the manifest.",
        )
        self.narrator.run(
            f"kubectl create namespace shop && kubectl apply -f {self.files / 'shop.yaml'}",
            shown="kubectl create namespace shop && kubectl apply -f shop.yaml",
        )
        self._wait_for_secrets()
        self._wait_for_pull()
        self.narrator.run("kubectl -n shop get secrets,pods")
        self.narrator.tell(
            "Sync has created two Secrets. If this machine runs a kubelet, a Pod with 2/2 containers is "
            "Running."
        )
        self.narrator.run("regcred status")

    def _outlive_the_first_token(self) -> None:
        self.narrator.step(
            "The first ECR login expires, and pulls still work",
            """Regcred replaces a login at half of its life: in Vault, and then in the namespace. The demo
            requests this now instead of waiting for the schedule. It waits until the first login has
            expired, and pulls again.""",
        )
        self.stack.aws.set_ecr_token_lifetime(12 * 3600)
        self.narrator.run("regcred rotate shop/ecr")
        eventually(self._in_place, what="the new version in the namespace", seconds=30)
        self._wait_for_expiry()
        self._check_pull(self.first_token, works=False)
        if self.has_node:
            self.narrator.run("kubectl -n shop delete pod -l app=shop --wait=true")
            self._wait_for_pull()
            self.narrator.run("kubectl -n shop get pods")
            self.narrator.tell(
                "The new Pod pulled its images after the first login had expired (imagePullPolicy is Always)."
            )
        else:
            self._check_pull(self._stored("shop/ecr"), works=True)

    def _refuse_a_stranger(self) -> None:
        self.narrator.step(
            "A namespace without a grant gets an Event and no Secret",
            "The same Deployment with the same annotations, in the namespace 'stranger'. An annotation "
            "without a grant has no effect.",
        )
        self.narrator.run(
            f"kubectl create namespace stranger && kubectl apply -f {self.files / 'stranger.yaml'}",
            shown="kubectl create namespace stranger && kubectl apply -f stranger.yaml",
        )
        eventually(
            lambda: "NotGranted" in self._kubectl("-n", "stranger", "get", "events"),
            what="the Event NotGranted",
            seconds=30,
        )
        self.narrator.run("kubectl -n stranger get events --field-selector reason=NotGranted")
        self.narrator.run("kubectl -n stranger get secrets")
        self.narrator.run("regcred explain deploy/shop -n stranger --cluster local", succeeds=None)

    def _remove(self) -> None:
        self.narrator.step(
            "The workload is deleted, and sync removes its Secrets",
            "Sync needs proof for this: a complete list has no workload that requests them, and no "
            "unfinished Pod names them.",
        )
        self.narrator.run("kubectl -n shop delete deployment shop --wait=true")
        eventually(
            lambda: "regcred." not in self._kubectl("-n", "shop", "get", "secrets", "-o", "name"),
            what="the Secrets gone",
        )
        self.narrator.run("kubectl -n shop get secrets")

    def _go_on_by_hand(self) -> None:
        self.narrator.step("Try more by hand")
        directory = self.stack.directory
        name = directory.name
        print(f"""
   Everything still runs. In this folder, you can try:

       source {name}/env.sh          # addresses and tokens of the parts, and kubectl, crane, bao, regcred
       kubectl apply -f {name}/demo/shop.yaml
       regcred status
       regcred explain deploy/shop -n shop
       regcred revoke shop/basic
       bao kv get -mount=regcred credentials/shop/_index
       less {name}/logs/sync.log    # the other logs are in the same folder

   `make down` stops everything, and removes everything except the logs.
""")

    def _stored(self, reference: str) -> str:
        """The password of the current credential in Vault."""
        answer = self.stack.vault.call("GET", f"regcred/data/credentials/{reference}")
        return str(answer["data"]["data"]["password"])

    def _in_place(self) -> bool:
        """Whether the namespace has the version that Vault has."""
        secret = json.loads(self._kubectl("-n", "shop", "get", "secret", "regcred.shop.ecr", "-o", "json"))
        stored = self.stack.vault.call("GET", "regcred/data/credentials/shop/ecr")["data"]
        return bool(
            secret["metadata"]["annotations"]["regcred.dev/version"] == str(stored["metadata"]["version"])
        )

    def _wait_for_secrets(self) -> None:
        names = {"secret/regcred.shop.ecr", "secret/regcred.shop.basic"}
        eventually(
            lambda: names <= set(self._kubectl("-n", "shop", "get", "secrets", "-o", "name").split()),
            what="both Secrets",
            seconds=30,
        )

    def _wait_for_pull(self) -> None:
        if self.has_node:
            self._kubectl(
                "-n", "shop", "wait", "--for=condition=Available", "deployment/shop", "--timeout=120s"
            )
        else:
            self._check_pull(self._stored("shop/ecr"), works=True)

    def _check_pull(self, token: str, *, works: bool) -> None:
        """Request the manifest with a password of ECR's login, and check that it works or not."""
        status = manifest_status(self.stack, WEB, "AWS", token)
        self.narrator.tell(
            f"The registry responds with {status} to {'the new' if works else 'the first'} login: "
            f"{'the pull works' if works else 'it has expired'}."
        )
        if (status == 200) is not works:
            raise AssertionError(f"the registry responded with {status}")

    def _wait_for_expiry(self) -> None:
        began = datetime.now(UTC)
        eventually(
            lambda: manifest_status(self.stack, WEB, "AWS", self.first_token) != 200,
            what="the expiry of the first login",
            seconds=TOKEN_SECONDS + 20,
        )
        self.narrator.tell(
            f"The first login expired after {(datetime.now(UTC) - began).total_seconds():.0f} s."
        )

    def _kubectl(self, *args: str | Path) -> str:
        return self.stack.kubernetes.kubectl(*args).stdout


if __name__ == "__main__":
    began = time.monotonic()
    code = main()
    print(f"{'Done' if code == 0 else 'Ended'} after {time.monotonic() - began:.0f} s.")
    sys.exit(code)
