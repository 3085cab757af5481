"""The serverless side on real parts: dispatch and rotate in the Lambda emulator, with SQS, Vault and
registries."""

from __future__ import annotations

import json
import secrets as random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from infra.deployment import function_policies
from pydantic import SecretStr

from realparts.aws import ACCOUNT, QUEUE, REGION
from realparts.lambda_ import Artifact, Function
from realparts.stack import AUDIENCE, Stack
from realparts.waiting import eventually
from regcred.registry.parsing import parse
from regcred.registry.secret_destination import destination_text
from regcred.registry_reference import Reference
from regcred.vault.http import Server
from regcred.vault.kv2 import connect
from regcred.vault.login import TokenLogin
from regcred.vault.records.declared import Action, Definition, ProjectPolicy, Request
from regcred.vault.records.index import IndexEntry
from regcred.vault.store import Store

HOST = "registry.example.com"
ECR_HOST = f"{ACCOUNT}.dkr.ecr.{REGION}.amazonaws.com"


@dataclass
class CloudSide:
    """Both functions, running, and the actions of project admins and operators."""

    stack: Stack
    artifact: Artifact | None = None
    """The output of `sam build`, to run instead of the sources of the checkout."""
    secrets: list[str] = field(default_factory=list)
    mark: str = field(default_factory=lambda: random.token_hex(3))
    """Ends the names of projects, so that a reused stack is like a fresh one."""

    def __post_init__(self) -> None:
        root = SecretStr(self.stack.vault.root_token)
        self.store = Store(connect(Server(self.stack.vault.addr), TokenLogin(lambda: root)))
        self.policies = self._policies()
        # The functions of `make up` would receive our messages.
        self.others = bool(self.stack.processes.pid("lambda-rotate"))
        for name in ("schedule", "poller"):
            self.stack.lambda_.stop_polling(name)
        self.dispatch, self.rotate = self.start("dispatch"), self.start("rotate")

    def start(self, name: str, *, instance: str = "") -> Function:
        """Start a function with the environment and the policy that template.yaml gives it."""
        return self.stack.lambda_.start(
            name,
            self.stack.function_environment(name),
            instance=instance or f"cloud-{name}",
            policy=self.policies[name],
            artifact=self.artifact,
            timeout_seconds=600 if self.artifact else 60,
        )

    def stop(self) -> None:
        """Stop the functions."""
        for name in ("cloud-dispatch", "cloud-rotate"):
            self.stack.lambda_.stop(name)
        if self.others:
            self.stack.start_functions()

    def _policies(self) -> dict[str, Any]:
        """The policies that template.yaml gives the functions, for the name of the local queue."""
        text = json.dumps(function_policies(REGION, VaultAudience=AUDIENCE))
        found: dict[str, Any] = json.loads(text.replace("regcred-rotate.fifo", QUEUE))
        return found

    def project(
        self, name: str, *, accounts: tuple[str, ...] = (ACCOUNT,), hosts: tuple[str, ...] = (HOST,)
    ) -> str:
        """Set up a project with its own role, and return its full name."""
        name = f"{name}-{self.mark}"
        arn = self.stack.aws.add_role(
            f"arn:aws:iam::{ACCOUNT}:role/regcred/{name}",
            trusted=self.stack.lambda_.role("rotate"),
            external_id=name,
            tags={"project": name},
        )
        policy = ProjectPolicy(accounts=list(accounts), hosts=list(hosts), role_arn=arn)
        self.store.change_project(name, lambda _old: policy)
        return name

    def ecr(self, reference: str, **fields: Any) -> Reference:
        """Register a private ECR registry."""
        return self.define(reference, {"provider": "ecr", "regions": [REGION]} | fields)

    def basic(self, reference: str, user: str, password: str, **fields: Any) -> Reference:
        """Register a registry with a password."""
        parsed = self.define(reference, {"provider": "basic", "hosts": [HOST]} | fields)
        upstream = {"username": SecretStr(user), "password": SecretStr(password)}
        found = self.store.definition(parsed)
        assert found
        bound_to = destination_text(parse(found.value.content(), where=reference))
        version = self.store.upstream_version(parsed)
        self.store.write_upstream(parsed, upstream, bound_to=bound_to, cas=version)
        self.secrets.append(password)
        return parsed

    def define(self, reference: str, content: dict[str, Any]) -> Reference:
        """Write a definition."""
        parsed = Reference.parse(reference)
        version = self.store.definition_version(parsed)
        self.store.write_definition(parsed, Definition.model_validate(content), cas=version)
        return parsed

    def request(self, reference: Reference, action: Action) -> None:
        """Write a request, as a project admin does."""
        self.store.write_request(reference, Request(action=action, requested_at=datetime.now(UTC)))

    def entry(self, reference: Reference) -> IndexEntry | None:
        """The entry of a registry in the index of its project."""
        index = self.store.index(reference.project)
        return index.value.registries.get(reference.registry) if index else None

    def login(self, reference: Reference) -> tuple[str, str]:
        """The user and password in force."""
        stored = self.store.credential(reference)
        assert stored, f"{reference} has no credential"
        password = stored.value.password.get_secret_value()
        self.secrets.append(password)
        return stored.value.username, password

    def empty_queue(self) -> None:
        """Delete the messages that rotate has not received yet."""
        self.stack.aws.client("sqs").purge_queue(QueueUrl=self.stack.aws.queue_url)

    def sweep(self, **event: Any) -> dict[str, Any]:
        """Invoke dispatch, as the schedule does."""
        answer: dict[str, Any] = self.dispatch.invoke(event)
        return answer

    @contextmanager
    def polling(self) -> Iterator[None]:
        """Let rotate receive the messages of the queue in the meantime.

        The emulator runs one invocation at a time, so don't invoke rotate yourself.
        """
        self.stack.lambda_.poll(self.rotate, batch_size=1)
        try:
            yield
        finally:
            self.stack.lambda_.stop_polling()

    @contextmanager
    def fault(self, operation: str, kind: str, *, seconds: float = 0) -> Iterator[None]:
        """Let calls of an AWS operation fail in the meantime, see :meth:`realparts.aws.Aws.fault`."""
        self.stack.aws.fault(operation, kind, seconds=seconds)
        try:
            yield
        finally:
            self.stack.aws.clear_faults()

    def message(self, project: str, **registries: str) -> dict[str, Any]:
        """An event for rotate, with one SQS message."""
        body = json.dumps({"project": project, "registries": registries})
        return {
            "Records": [
                {
                    "messageId": f"m-{time.monotonic_ns()}",
                    "body": body,
                    "attributes": {"MessageGroupId": project},
                    "eventSource": "aws:sqs",
                }
            ]
        }

    def events(self, project: str, *, count: int = 1) -> list[tuple[str, str]]:
        """Wait for events of a project from EventBridge; return the type and registry of each, in order.

        Events of other projects are dropped, because those of an earlier test can still arrive.
        """
        found: list[tuple[str, str]] = []

        def arrived() -> bool:
            details = ((event["detail-type"], event["detail"]) for event in self._received())
            found.extend((kind, about["registry"]) for kind, about in details if about["project"] == project)
            return len(found) >= count

        eventually(arrived, what=f"{count} events of {project}")
        return found

    def _received(self) -> list[dict[str, Any]]:
        sqs = self.stack.aws.client("sqs")
        found = []
        url = self.stack.aws.events_url
        while messages := sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages", []):
            for message in messages:
                found.append(json.loads(message["Body"]))
                sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
        return found
