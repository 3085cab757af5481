"""The AWS side and its handle: moto for SQS, EventBridge and other services, behind `aws_front`."""

from __future__ import annotations

import json
import secrets
import shutil
import sys
from pathlib import Path
from typing import Any

import boto3

from . import journal
from .aws_front.web_identity import issuer, public_keys
from .control_client import control
from .internet import Internet, python_environment
from .procs import Processes, free_ports, listening
from .registry import ecr_key
from .state import State

PART = "aws"
ACCOUNT = "123456789012"
OTHER_ACCOUNT = "210987654321"
REGION = "eu-west-1"
QUEUE = "regcred-rotations.fifo"
BUS = "regcred"
DEAD_LETTERS = "regcred-rotations-dead.fifo"
# For programs without AWS_ENDPOINT_URL: the AWS hosts that the local internet routes to the front.
HOST_NAMES = ("sts.*.amazonaws.com", "sts.*.amazonaws.com.cn", "api.ecr.*", "*.tokens.sts.global.api.aws")
_EVERYTHING = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}
PULL_ONLY = {
    "Version": "2012-10-17",
    "Statement": [
        {
            "Effect": "Allow",
            "Action": ["ecr:GetAuthorizationToken", "sts:GetWebIdentityToken"],
            "Resource": "*",
        },
        {"Effect": "Allow", "Action": ["ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"], "Resource": "*"},
    ],
}


class Aws:
    """The handle of the AWS side."""

    def __init__(self, processes: Processes, state: State, internet: Internet) -> None:
        self._processes = processes
        self._state = state
        self._internet = internet
        self.directory = processes.directory / PART

    @property
    def endpoint_url(self) -> str:
        """The value for AWS_ENDPOINT_URL."""
        return f"http://127.0.0.1:{self._stored['port']}"

    @property
    def environment(self) -> dict[str, str]:
        """The environment variables of an administrator of the local account."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint_url,
            "AWS_REGION": REGION,
            "AWS_DEFAULT_REGION": REGION,
            "AWS_ACCESS_KEY_ID": self._stored["access_key"],
            "AWS_SECRET_ACCESS_KEY": self._stored["secret_key"],
        }

    @property
    def queue_url(self) -> str:
        """The FIFO queue of rotations."""
        return str(self._stored["queue_url"])

    @property
    def dead_letter_url(self) -> str:
        """The queue for messages that failed three times."""
        return str(self._stored["dead_letter_url"])

    @property
    def events_url(self) -> str:
        """A queue that gets a copy of every event of Regcred's EventBridge bus."""
        return str(self._stored["events_url"])

    @property
    def nudges_url(self) -> str:
        """A queue that gets the nudges from that bus, which start dispatch early."""
        return str(self._stored["nudges_url"])

    def up(self) -> None:
        """Start moto and the front, and create the queues."""
        if "port" not in self._stored:
            port, control, moto = free_ports(3)
            self._state.update(
                PART,
                port=port,
                control_port=control,
                moto_port=moto,
                access_key=f"AKIA{secrets.token_hex(8).upper()}",
                secret_key=secrets.token_urlsafe(30),
            )
        stored = self._stored
        self.directory.mkdir(parents=True, exist_ok=True)
        fresh = not self._processes.pid("moto")
        if fresh:
            moto_server = Path(sys.executable).with_name("moto_server")
            self._processes.start(
                "moto",
                [moto_server, "-H", "127.0.0.1", "-p", str(stored["moto_port"])],
                ready=lambda: listening(stored["moto_port"]),
                env={**python_environment(), "MOTO_ENABLE_ISO_REGIONS": "true"},
            )
        if not self._processes.pid("aws-front"):
            self._processes.start(
                "aws-front",
                [
                    sys.executable,
                    "-m",
                    "realparts.aws_front",
                    f"--port={stored['port']}",
                    f"--control-port={stored['control_port']}",
                    f"--upstream=http://127.0.0.1:{stored['moto_port']}",
                    f"--directory={self.directory}",
                    f"--ecr-key={ecr_key(self._processes.directory)}",
                ],
                ready=lambda: listening(stored["port"]) and listening(stored["control_port"]),
                env=python_environment(),
            )
        self._control(
            "PUT",
            "callers",
            {
                "access_key": stored["access_key"],
                "secret": stored["secret_key"],
                "account": ACCOUNT,
                "arn": f"arn:aws:iam::{ACCOUNT}:user/local",
                "principal": f"arn:aws:iam::{ACCOUNT}:user/local",
                "policies": [_EVERYTHING],
            },
        )
        if fresh:
            self._make_queues()
        for name in HOST_NAMES:
            self._internet.route(name, stored["port"])

    def down(self) -> None:
        """Stop both and delete their data."""
        for name in ("aws-front", "moto"):
            self._processes.stop(name, grace=3)
        shutil.rmtree(self.directory, ignore_errors=True)
        self._state.remove(PART)

    def client(self, service: str, **session: str) -> Any:
        """Return a boto3 client of the local administrator, or with other arguments of `boto3.Session`."""
        administrator = {
            "aws_access_key_id": self._stored["access_key"],
            "aws_secret_access_key": self._stored["secret_key"],
        }
        arguments: dict[str, Any] = {"region_name": REGION, **administrator, **session}
        create: Any = boto3.Session(**arguments).client
        return create(service, endpoint_url=self.endpoint_url)

    def add_role(
        self,
        arn: str,
        *,
        trusted: str | list[str] | None = None,
        external_id: str | None = None,
        tags: dict[str, str] | None = None,
        policy: dict[str, Any] | None = None,
        trust: dict[str, Any] | None = None,
        max_session_seconds: int = 3600,
    ) -> str:
        """Create or replace a role, and return its ARN.

        Args:
            arn: the role's ARN, which contains its account.
            trusted: ARNs of the principals that may assume it.
            external_id: the ExternalId that they must send.
            tags: the session tags that they must set.
            policy: the permissions of the role; pulls from all repositories if None.
            trust: a trust policy, instead of the three arguments above.
            max_session_seconds: the role's MaxSessionDuration.
        """
        body = {
            "arn": arn,
            "trust": trust or _trust(trusted or f"arn:aws:iam::{ACCOUNT}:root", external_id, tags or {}),
            "policy": policy or PULL_ONLY,
            "max_session_seconds": max_session_seconds,
        }
        self._control("PUT", "roles", body)
        return arn

    def remove_role(self, arn: str) -> None:
        """Delete a role, so that AssumeRole is refused."""
        self._control("POST", "roles/remove", {"arn": arn})

    def session_environment(self, arn: str, name: str, *, seconds: float = 43200) -> dict[str, str]:
        """Return the environment variables of a role's session, as Lambda sets them for a function."""
        session = self._control("POST", "sessions", {"arn": arn, "name": name, "seconds": seconds})
        return {
            "AWS_ENDPOINT_URL": self.endpoint_url,
            "AWS_REGION": REGION,
            "AWS_DEFAULT_REGION": REGION,
            "AWS_ACCESS_KEY_ID": session["access_key"],
            "AWS_SECRET_ACCESS_KEY": session["secret"],
            "AWS_SESSION_TOKEN": session["token"],
        }

    def set_ecr_token_lifetime(self, seconds: float) -> None:
        """Set the lifetime of ECR logins that are issued from now on. The default is 12 hours."""
        self._control("PUT", "settings", {"ecr_token_seconds": seconds})

    def disable_outbound_federation(self, *accounts: str) -> None:
        """Make GetWebIdentityToken fail in these accounts only."""
        self._control("PUT", "settings", {"outbound_federation_disabled": list(accounts)})

    def fault(self, operation: str, kind: str, *, times: int = 1_000_000, seconds: float = 0) -> None:
        """Make the next calls of an operation fail.

        Args:
            operation: as in `GetAuthorizationToken`.
            kind: `throttle`, `refuse` (access denied), `error` (500) or `delay`.
            times: the number of calls.
            seconds: the length of a delay.
        """
        self._control("PUT", f"faults/{operation}", {"kind": kind, "times": times, "seconds": seconds})

    def clear_faults(self) -> None:
        """End all faults."""
        self._control("DELETE", "faults", {})

    def calls(self, **wanted: Any) -> list[dict[str, Any]]:
        """Return all calls, oldest first: `time`, `service`, `operation`, `outcome` (answered, refused),
        `code`, `caller`.

        Only those are returned whose values equal the given ones.
        """
        return journal.read(self.directory, **wanted)

    def web_identity_issuer(self, account: str = ACCOUNT) -> str:
        """Return the `iss` of an account's GetWebIdentityToken tokens."""
        return issuer(account)

    @property
    def web_identity_public_keys(self) -> list[str]:
        """The public keys of those tokens in PEM: RS256, then ES384."""
        return public_keys(self.directory)

    @property
    def _stored(self) -> dict[str, Any]:
        return self._state.part(PART)

    def _make_queues(self) -> None:
        sqs, events = self.client("sqs"), self.client("events")
        fifo = {"FifoQueue": "true", "ContentBasedDeduplication": "false"}
        dead = sqs.create_queue(QueueName=DEAD_LETTERS, Attributes=fifo)["QueueUrl"]
        redrive = {"deadLetterTargetArn": _queue_arn(DEAD_LETTERS), "maxReceiveCount": "3"}
        attributes = {**fifo, "VisibilityTimeout": "30", "RedrivePolicy": json.dumps(redrive)}
        queue = sqs.create_queue(QueueName=QUEUE, Attributes=attributes)["QueueUrl"]
        copies = sqs.create_queue(QueueName="regcred-events")["QueueUrl"]
        nudges = sqs.create_queue(QueueName="regcred-nudges")["QueueUrl"]
        events.create_event_bus(Name=BUS)
        for name, pattern in (
            ("regcred-events", {"account": [ACCOUNT]}),
            ("regcred-nudges", {"detail-type": ["SweepRequested"]}),
        ):
            events.put_rule(Name=name, EventBusName=BUS, EventPattern=json.dumps(pattern))
            target = {"Id": "queue", "Arn": _queue_arn(name)}
            events.put_targets(Rule=name, EventBusName=BUS, Targets=[target])
        self._state.update(PART, queue_url=queue, dead_letter_url=dead, events_url=copies, nudges_url=nudges)

    def _control(self, method: str, path: str, body: dict[str, Any]) -> Any:
        return control(self._stored["control_port"], method, path, body)


def _queue_arn(name: str) -> str:
    return f"arn:aws:sqs:{REGION}:{ACCOUNT}:{name}"


def _trust(trusted: str | list[str], external_id: str | None, tags: dict[str, str]) -> dict[str, Any]:
    wanted = {f"aws:RequestTag/{key}": value for key, value in tags.items()}
    if external_id is not None:
        wanted["sts:ExternalId"] = external_id
    statement: dict[str, Any] = {
        "Effect": "Allow",
        "Principal": {"AWS": trusted},
        "Action": ["sts:AssumeRole", "sts:TagSession"],
    }
    if wanted:
        statement["Condition"] = {"StringEquals": wanted}
    return {"Version": "2012-10-17", "Statement": [statement]}
