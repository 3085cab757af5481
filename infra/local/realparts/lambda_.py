"""Lambda functions in AWS's runtime interface emulator, and their queue poller.

A function's process sees only what Lambda provides, and not the environment of this checkout: the function's
folder, the layers in the order of /opt/python, and the runtime (`awslambdaric`), in a Python without
site-packages.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import pki
from .aws import ACCOUNT, Aws
from .build import LOCAL, binary, python_packages
from .debian import emulated, with_bytecode
from .internet import Internet, python_environment
from .invocation import invoke
from .procs import Processes, free_ports, listening
from .state import State

PART = "lambda"
ARM64 = ("--python-version", "3.13", "--python-platform", "aarch64-manylinux2014", "--only-binary", ":all:")
"""Options of `uv pip install` for Lambda's Python on arm64."""
ROOT = LOCAL.parents[1]
WEB = ("console", "token")
"""The functions that also have the layer of the web edges."""
_EXECUTION = {
    "Version": "2012-10-17",
    "Statement": [
        {
            "Effect": "Allow",
            "Action": ["sts:AssumeRole", "sts:TagSession"],
            "Resource": "arn:aws*:iam::*:role/regcred/*",
        },
        {"Effect": "Allow", "Action": ["sts:GetWebIdentityToken", "sts:GetCallerIdentity"], "Resource": "*"},
        {"Effect": "Allow", "Action": ["sqs:*", "events:PutEvents"], "Resource": "*"},
    ],
}


class FunctionError(RuntimeError):
    """The function raised an error. `payload` is Lambda's response."""

    def __init__(self, name: str, payload: Any) -> None:
        super().__init__(f"{name}: {payload.get('errorType')}: {payload.get('errorMessage')}")
        self.payload = payload


@dataclass(frozen=True)
class Artifact:
    """The output of `sam build`, and the arm64 Python that runs it under emulation."""

    build: Path
    """The build folder of `sam build`."""
    root: Path
    """The folder of :func:`realparts.debian.arm64_root`."""

    def function(self, logical_id: str) -> Path:
        """Return the folder of a function.

        Its name in template.yaml is capitalized. That of a web edge ends with `Function`.
        """
        return self.build / f"{logical_id.capitalize()}{'Function' if logical_id in WEB else ''}"

    def layers(self, *, web: bool = False) -> list[Path]:
        """Return the folders that Lambda has as /opt/python. `web` adds the layer of the web edges."""
        names = [*(["WebLayer"] if web else []), "DepsLayer", "CoreLayer"]
        return [self.build / name / "python" for name in names]

    def runtime(self) -> Path:
        """Return Lambda's Python runtime for arm64, with bytecode, as Lambda has it."""
        return with_bytecode(
            python_packages("lambda-runtime-arm64", LOCAL / "lambda-runtime.txt", platform=ARM64)
        )

    def python(self) -> list[str]:
        """Return the command that runs Python."""
        return emulated(self.root)


@dataclass(frozen=True)
class Function:
    """A running function."""

    name: str
    url: str
    log: Path
    lock: Path

    def invoke(self, event: Any, *, timeout: float = 120) -> Any:
        """Invoke the function and return its response. Invocations of a function wait for each other.

        Raises:
            FunctionError: the function raised an error.
        """
        payload = invoke(self.url, event, lock=self.lock, timeout=timeout)
        if isinstance(payload, dict) and "errorType" in payload:
            raise FunctionError(self.name, payload)
        return payload


class Lambda:
    """The handle of all functions."""

    def __init__(self, processes: Processes, state: State, aws: Aws, internet: Internet) -> None:
        self._processes = processes
        self._state = state
        self._aws = aws
        self._internet = internet
        self.directory = processes.directory / PART

    def role(self, name: str) -> str:
        """Return the ARN of a function's execution role."""
        return f"arn:aws:iam::{ACCOUNT}:role/regcred-{name}"

    def up(self) -> None:
        """Prepare the layers and the execution roles of all functions."""
        self.layers()
        for folder in sorted((ROOT / "functions").glob("*/app.py")):
            self._aws.add_role(self.role(folder.parent.name), trust=_LAMBDA_TRUST, policy=_EXECUTION)
        self._state.update(PART, prepared=True)

    def layers(self) -> list[Path]:
        """Return the folders that Lambda has as /opt/python, dependencies first, then the core layer."""
        return [
            python_packages("layer-deps", ROOT / "layers/deps/requirements.txt"),
            ROOT / "layers/core/python",
        ]

    def start(
        self,
        name: str,
        env: Mapping[str, str],
        *,
        folder: Path | None = None,
        instance: str | None = None,
        handler: str = "app.handler",
        policy: Mapping[str, Any] | None = None,
        timeout_seconds: int = 60,
        artifact: Artifact | None = None,
    ) -> Function:
        """Start `functions/<name>` and return its handle.

        This replaces a running function of the same instance.

        Args:
            name: the folder's name.
            env: the function's environment variables, as in template.yaml. The credentials of its execution
                role, the AWS endpoint and the proxy are added.
            folder: the function's folder if it is not `functions/<name>`.
            instance: the name of the process, for a second process of the same function.
            handler: the module and the function.
            policy: the permissions of the execution role; those of all functions together if None.
            timeout_seconds: the function's Timeout.
            artifact: the build to run; the sources of the checkout with this machine's Python if None.
        """
        process = f"lambda-{instance or name}"
        self._processes.stop(process, grace=2)
        self.directory.mkdir(parents=True, exist_ok=True)
        port, runtime_port = free_ports(2)
        function = folder or (artifact.function(name) if artifact else ROOT / "functions" / name)
        role = self.role(name)
        self._aws.add_role(
            role, trust=_LAMBDA_TRUST, policy=dict(policy or _EXECUTION), max_session_seconds=43200
        )
        if artifact:
            path = [function, *artifact.layers(web=name in WEB), artifact.runtime()]
        else:
            web = [python_packages("layer-web", ROOT / "layers/web/requirements.txt")] if name in WEB else []
            runtime = python_packages("lambda-runtime", LOCAL / "lambda-runtime.txt")
            path = [function, *web, *self.layers(), runtime]
        environment = {
            "PATH": "/usr/local/bin:/usr/bin:/bin",
            "LANG": "C.UTF-8",
            "TZ": ":UTC",
            "PYTHONPATH": ":".join(str(folder) for folder in path),
            **(
                {"PYTHONDONTWRITEBYTECODE": "1"}
                if artifact
                else {"PYTHONPYCACHEPREFIX": str(self.directory / "pycache")}
            ),
            "LAMBDA_TASK_ROOT": str(function),
            "_HANDLER": handler,
            "AWS_LAMBDA_FUNCTION_NAME": f"regcred-{name}",
            "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "512",
            "AWS_LAMBDA_FUNCTION_TIMEOUT": str(timeout_seconds),
            **self._internet.environment,
            **self._aws.session_environment(role, f"regcred-{name}"),
            **env,
        }
        self._processes.start(
            process,
            [
                binary("aws-lambda-rie"),
                "--runtime-interface-emulator-address",
                f"127.0.0.1:{port}",
                "--runtime-api-address",
                f"127.0.0.1:{runtime_port}",
                "--log-level",
                "error",
                *(artifact.python() if artifact else [sys.executable]),
                "-S",
                "-m",
                "awslambdaric",
                handler,
            ],
            ready=lambda: listening(port),
            env=environment,
            cwd=function,
        )
        url = f"http://127.0.0.1:{port}/2015-03-31/functions/function/invocations"
        self._state.update(PART, **{process: {"name": name, "url": url}})
        return self.get(instance or name)

    def get(self, instance: str) -> Function:
        """Return the handle of a running function that this or another process has started.

        Raises:
            LookupError: no function with this name runs.
        """
        process = f"lambda-{instance}"
        stored = self._state.part(PART).get(process)
        if stored is None or not self._processes.pid(process):
            raise LookupError(f"no function runs as {instance}; start it with Stack.lambda_.start")
        log, lock = self._processes.logs / f"{process}.log", self.directory / f"{process}.lock"
        return Function(stored["name"], stored["url"], log, lock)

    def stop(self, instance: str) -> None:
        """Stop a function."""
        self._processes.stop(f"lambda-{instance}", grace=2)

    def poll(
        self, function: Function, *, queue_url: str | None = None, batch_size: int = 10, name: str = "poller"
    ) -> None:
        """Feed a function from a queue, as Lambda's event source mapping does, until `stop_polling`.

        Args:
            function: the function for the messages.
            queue_url: the queue; the queue of rotations if None.
            batch_size: the maximum number of messages for one invocation.
            name: the name of the process.
        """
        config = {"queue_url": queue_url or self._aws.queue_url, "batch_size": batch_size}
        self._start_trigger(name, "realparts.poller", function, config)

    def schedule(self, function: Function, *, seconds: int = 60, name: str = "schedule") -> None:
        """Invoke dispatch at each full interval, and at each nudge, until `stop_polling(name)`."""
        config = {"queue_url": self._aws.nudges_url, "seconds": seconds}
        self._start_trigger(name, "realparts.schedule", function, config)

    def _start_trigger(self, name: str, module: str, function: Function, config: dict[str, Any]) -> None:
        self._processes.stop(name)
        config |= {
            "function_url": function.url,
            "lock": str(function.lock),
            "environment": self._aws.environment,
        }
        path = pki.write_private(self.directory / f"{name}.json", json.dumps(config))
        log = self._processes.logs / f"{name}.log"
        started = log.stat().st_size if log.exists() else 0
        self._processes.start(
            name,
            [sys.executable, "-m", module, path],
            ready=lambda: log.stat().st_size > started,
            env=python_environment(),
        )

    def stop_polling(self, name: str = "poller") -> None:
        """Stop a poller or a schedule. Messages that it has not deleted return to the queue."""
        self._processes.stop(name)

    def down(self) -> None:
        """Stop all functions and pollers."""
        for name in self._processes.running():
            if name.startswith(("lambda-", "poller", "schedule")):
                self._processes.stop(name, grace=2)
        shutil.rmtree(self.directory, ignore_errors=True)
        self._state.remove(PART)


_LAMBDA_TRUST = {
    "Version": "2012-10-17",
    "Statement": [
        {"Effect": "Allow", "Principal": {"Service": "lambda.amazonaws.com"}, "Action": "sts:AssumeRole"}
    ],
}
