"""All real parts together, which tests, the demo and `make up` start and stop."""

from __future__ import annotations

import fcntl
import os
import shlex
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml
from pydantic import SecretStr

from regcred.vault.http import Server
from regcred.vault.kv2 import signed_in
from regcred.vault.login import TokenLogin
from regcred.vault.platform import apply_platform, load

from . import used_secrets
from .aws import ACCOUNT, BUS, OTHER_ACCOUNT, Aws
from .build import LOCAL, NEWEST, build, say
from .build import PARTS as BINARIES
from .gitea import Gitea
from .images import push_pause
from .internet import Internet
from .kubernetes import EMPTY, Kubernetes
from .lambda_ import ROOT, Lambda
from .node import Node
from .pki import write_private
from .procs import Processes, StartError
from .registry import Registry
from .state import State
from .system_registry import System
from .vault import Vault

LAMBDA_MOUNT = "regcred-lambda"
AUDIENCE = "vault"
PARTS = ("vault", "kubernetes", "registry", "aws", "node", "lambda", "system", "gitea")
ON_REQUEST = ("gitea",)
"""Parts that only tests need. They start only if they are named."""
_NEEDS = {"node": ("kubernetes", "registry"), "lambda": ("aws",), "system": ("vault", "aws")}
_PROGRAMS = {
    "vault": ("vault",),
    "registry": ("registry", "registry-tokens"),
    "aws": ("moto", "aws-front"),
    "node": ("containerd", "kubelet"),
    "lambda": (),
    "system": ("system-registry", "system-tokens"),
    "gitea": ("gitea",),
}
_BINARIES = {
    "vault": (),
    "registry": ("registry", "crane", "pause"),
    "aws": (),
    "node": ("kubelet", "containerd", "containerd-shim-runc-v2", "ctr"),
    "lambda": ("aws-lambda-rie",),
    "system": ("registry", "crane", "pause"),
    "gitea": ("gitea", "crane", "pause"),
}


class Stack:
    """The real parts of one folder. Another process can attach to them with the same folder.

    Args:
        directory: the folder.
        kubernetes: the version of the control plane, one of `build.KUBERNETES`.
        apiserver_flags: more flags of its API server.
        storage: the program that stores its objects: `etcd` or `kine`.
    """

    def __init__(
        self,
        directory: Path | str = ".local",
        *,
        kubernetes: str = NEWEST,
        apiserver_flags: Mapping[str, str] = EMPTY,
        storage: str = "etcd",
    ) -> None:
        self.directory = Path(directory).resolve()
        self.processes = Processes(self.directory)
        self._state = State(self.directory)
        self.internet = Internet(self.processes, self._state)
        self.vault = Vault(self.processes, self._state, self.internet)
        self.kubernetes = Kubernetes(
            self.processes, self._state, version=kubernetes, flags=apiserver_flags, storage=storage
        )
        self.registry = Registry(self.processes, self._state, self.internet)
        self.gitea = Gitea(self.processes, self._state, self.internet)
        self.aws = Aws(self.processes, self._state, self.internet)
        self.node = Node(self.processes, self._state, self.kubernetes, self.registry, self.internet)
        self.lambda_ = Lambda(self.processes, self._state, self.aws, self.internet)
        self.system = System(self.processes, self._state, self.internet, vault=self.vault, aws=self.aws)

    @classmethod
    def attach(cls, directory: Path | str = ".local") -> Stack:
        """Return the handle of a stack that is up.

        Raises:
            LookupError: nothing is up in that folder.
        """
        stack = cls(directory)
        if not stack.parts_up():
            raise LookupError(f"nothing is up in {stack.directory}; start it with `make up`")
        return stack

    @property
    def logs_dir(self) -> Path:
        """The folder with the output of every process."""
        return self.processes.logs

    def parts_up(self) -> list[str]:
        """Return the parts of which all programs run."""
        running = set(self.processes.running())
        programs = _PROGRAMS | {"kubernetes": self.kubernetes.programs}
        return [part for part in PARTS if self._state.part(part) and running.issuperset(programs[part])]

    def up(self, parts: Sequence[str] | None = None, *, programs: Sequence[str] = ()) -> list[str]:
        """Build what is missing, start the parts that do not run yet, and return all parts that are up.

        Args:
            parts: some of `PARTS`. Parts that they need are added. If None, all except `ON_REQUEST`, and the
                node only if the machine can run it.
            programs: more programs to build now instead of later.

        Raises:
            StartError: a part did not start, or a named part can't run on this machine.
            ValueError: there is no such part.
        """
        with self._lock():
            wanted = self._wanted(parts)
            if not self.processes.running():
                shutil.rmtree(self.logs_dir, ignore_errors=True)
            binaries = _BINARIES | {"kubernetes": self.kubernetes.binaries}
            build([*(name for part in PARTS if part in wanted for name in binaries[part]), *programs])
            self._step("the local network", self.internet.up)
            starters = {
                "vault": (self.vault.product, self.vault.up),
                "kubernetes": ("Kubernetes", self.kubernetes.up),
                "registry": ("the registry", self.registry.up),
                "aws": ("the AWS side", self.aws.up),
                "gitea": ("Gitea", self.gitea.up),
            }
            with ThreadPoolExecutor() as pool:
                started = [pool.submit(self._step, *starters[part]) for part in starters if part in wanted]
                for step in started:
                    step.result()
            if "node" in wanted:
                self._step(f"node {self.node.name}", self.node.up)
            if "lambda" in wanted:
                self._step("the Lambda layers", self.lambda_.up)
            if "system" in wanted:
                self.system.prepare()
            self._apply_platform()
            if "system" in wanted:
                self._step("the system registry", self._start_system)
            self._write_environment()
        return self.parts_up()

    def start_functions(self) -> None:
        """Start dispatch and rotate as in template.yaml, with the queue's poller and a sweep every minute.

        Do nothing if they run already.
        """
        if "schedule" in self.processes.running():
            return
        dispatch = self.lambda_.start("dispatch", self.function_environment("dispatch"))
        rotate = self.lambda_.start("rotate", self.function_environment("rotate"))
        self.lambda_.poll(rotate, batch_size=1)
        self.lambda_.schedule(dispatch, seconds=60)
        say("started dispatch (every minute, and at a nudge) and rotate")

    def stop_functions(self) -> None:
        """Stop what `start_functions` has started."""
        for name in ("schedule", "poller"):
            self.lambda_.stop_polling(name)
        for name in ("dispatch", "rotate"):
            self.lambda_.stop(name)

    def function_environment(self, name: str) -> dict[str, str]:
        """Return a function's environment variables, as template.yaml sets them."""
        own = {
            "dispatch": {"REGCRED_QUEUE_URL": self.aws.queue_url, "REGCRED_INTERVAL_MINUTES": "1"},
            "rotate": {"REGCRED_EVENT_BUS": BUS},
            "token": {},
            "console": {"REGCRED_EVENT_BUS": BUS},
        }
        return {
            "REGCRED_VAULT_ADDR": self.vault.addr,
            "REGCRED_VAULT_AUTH": "jwt",
            "REGCRED_VAULT_AUTH_MOUNT": LAMBDA_MOUNT,
            "REGCRED_VAULT_AUDIENCE": AUDIENCE,
            "REGCRED_VAULT_ROLE": name,
            **own[name],
        }

    def down(self) -> None:
        """Stop everything, also after a crash, and delete everything except the logs."""
        with self._lock():
            self.lambda_.down()
            self.node.down()
            self.system.down()
            with ThreadPoolExecutor() as pool:
                parts = (self.kubernetes, self.aws, self.gitea, self.registry, self.vault, self.internet)
                for step in [pool.submit(part.down) for part in parts]:
                    step.result()
            for name in self.processes.running():
                self.processes.stop(name, grace=2)
            self.processes.sweep()
            self.node.clean()
            self._state.clear()
            for folder in (self.processes.pids, self.directory / "bin"):
                shutil.rmtree(folder, ignore_errors=True)
            shutil.rmtree(self.platform, ignore_errors=True)
            for name in ("env.sh", "ecr-token.key", used_secrets.FILE):
                (self.directory / name).unlink(missing_ok=True)

    def push_image(self, repository: str, *, tag: str = "1") -> None:
        """Push a small image that runs until it is stopped. Every registry host name serves it."""
        push_pause(self.registry, repository, tag=tag, note=f"{repository}:{tag}")

    def project_role(self, project: str, *, account: str = ACCOUNT, **role: Any) -> str:
        """Create a project's own IAM role, as infra/aws does, and return its ARN.

        Only the rotate function may assume it, with the project as ExternalId and as session tag `project`.

        Args:
            project: the project.
            account: the account whose registry it pulls from.
            role: more arguments of `Aws.add_role`, such as a policy.
        """
        trusted = self.lambda_.role("rotate")
        arn = f"arn:aws:iam::{account}:role/regcred/{project}"
        return self.aws.add_role(arn, trusted=trusted, external_id=project, tags={"project": project}, **role)

    def remember_secret(self, value: str) -> str:
        """Record a secret of a test, which no log may contain, and return it."""
        self.directory.mkdir(parents=True, exist_ok=True)
        used_secrets.remember(self.directory, value)
        return value

    def used_secrets(self) -> set[str]:
        """Return all secrets that were used so far: those of tests and stand-ins, and Vault's own."""
        stored = self._state.part("vault")
        own = {str(stored[name]) for name in ("root_token", "unseal_key") if name in stored}
        return used_secrets.used(self.directory) | own

    def environment(self) -> dict[str, str]:
        """Return the variables of `env.sh`, with which people and programs use the parts that are up."""
        up = self.parts_up()
        values: dict[str, str] = {"REGCRED_LOCAL": str(self.directory)}
        if "vault" in up:
            token = {"VAULT_TOKEN": self.vault.root_token, "BAO_TOKEN": self.vault.root_token}
            values |= {"VAULT_ADDR": self.vault.addr, "BAO_ADDR": self.vault.addr, **token}
            values |= {"REGCRED_PLATFORM": str(self.platform)}
        if "kubernetes" in up:
            values |= {"KUBECONFIG": str(self.kubernetes.kubeconfig)}
        if "registry" in up:
            values |= {"REGCRED_LOCAL_REGISTRY": self.registry.host}
        if "aws" in up:
            values |= {
                **self.aws.environment,
                "REGCRED_QUEUE_URL": self.aws.queue_url,
                "REGCRED_EVENT_BUS": BUS,
            }
            values |= {"AWS_ACCOUNT_ID": ACCOUNT, "OTHER_AWS_ACCOUNT_ID": OTHER_ACCOUNT}
        return {**values, **self.internet.environment}

    def _wanted(self, parts: Sequence[str] | None) -> set[str]:
        if unknown := sorted(set(parts or ()) - set(PARTS)):
            raise ValueError(f"no such part: {', '.join(unknown)}; the parts are {', '.join(PARTS)}")
        wanted = set(parts or (part for part in PARTS if part not in ON_REQUEST))
        for part in tuple(wanted):
            wanted |= set(_NEEDS.get(part, ()))
        if "node" in wanted and (reason := self.node.impossible()):
            if parts is not None or os.environ.get("CI") == "true":
                raise StartError(f"no node can run here: {reason}")
            say(f"Skipping the node: {reason}. Pulls are checked with crane instead.")
            wanted.discard("node")
        return wanted

    def _start_system(self) -> None:
        self.system.up(role=self.lambda_.role("token"), environment=self.function_environment("token"))

    def _step(self, what: str, start: Callable[[], None]) -> None:
        began = time.monotonic()
        start()
        if (seconds := time.monotonic() - began) > 0.5:
            say(f"started {what} ({seconds:.0f} s)")

    @property
    def platform(self) -> Path:
        """The folder with the declaration of this stack's Vault (REGCRED_PLATFORM)."""
        return self.directory / "platform"

    def _apply_platform(self) -> None:
        """Apply the declaration in infra/vault to Vault, with this cluster and these functions."""
        if "vault" not in self.parts_up():
            return
        self._write_declaration()
        vault = signed_in(Server(self.vault.addr), TokenLogin(lambda: SecretStr(self.vault.root_token)))
        apply_platform(vault, load(self.platform))

    def _write_declaration(self) -> None:
        up = self.parts_up()
        shutil.rmtree(self.platform, ignore_errors=True)
        self.platform.mkdir(parents=True)
        declaration = yaml.safe_load((ROOT / "infra" / "vault" / "platform.yaml").read_text())
        if "kubernetes" in up:
            trust = {
                "issuer": self.kubernetes.service_account_issuer,
                "public_keys": [self.kubernetes.service_account_public_key],
                "console_service_account": "regcred-console",
                **({"token_service_account": "regcred-token"} if self.system.prepared else {}),
            }
            declaration["clusters"] = {"local": trust}
        declaration["system_registry"] = self.system.prepared
        if "aws" in up:
            issuer = self.aws.web_identity_issuer()
            declaration["lambda_jwt"] = {
                "issuer": issuer,
                "audience": AUDIENCE,
                "dispatch": [self.lambda_.role("dispatch")],
                "rotate": [self.lambda_.role("rotate")],
                "console": [self.lambda_.role("console")],
                **({"token": [self.lambda_.role("token")]} if self.system.prepared else {}),
                "jwks_url": f"{issuer}/.well-known/jwks.json",
                "jwks_ca_pem": self.internet.certificate.read_text(),
            }
        (self.platform / "platform.yaml").write_text(yaml.safe_dump(declaration, sort_keys=False))

    def _write_environment(self) -> None:
        tools = self.directory / "bin"
        shutil.rmtree(tools, ignore_errors=True)
        tools.mkdir(parents=True)
        for name in ("kubectl", "crane", "ctr", "helm"):
            if BINARIES[name].path().exists():
                (tools / name).symlink_to(BINARIES[name].path())
        lines = [f"export {key}={shlex.quote(value)}" for key, value in self.environment().items()]
        path = f"export PATH={shlex.quote(f'{tools}:{Path(sys.executable).parent}')}:$PATH"
        modules = f"export PYTHONPATH={shlex.quote(str(LOCAL))}${{PYTHONPATH:+:$PYTHONPATH}}"
        head = "# Source this file to use the local parts. `make up` creates it, and `make down` removes it."
        write_private(self.directory / "env.sh", "\n".join([head, *lines, path, modules, ""]))

    @contextmanager
    def _lock(self) -> Iterator[None]:
        self.directory.mkdir(parents=True, exist_ok=True)
        with (self.directory / "stack.lock").open("w") as handle:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                say(f"waiting for another `up` or `down` in {self.directory} ...")
                fcntl.flock(handle, fcntl.LOCK_EX)
            yield
