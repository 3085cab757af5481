"""Sync and admission webhooks that deny Secrets as Kyverno and Gatekeeper do, on a real API server."""

from __future__ import annotations

import base64
import json
import ssl
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from real.controlplane import Cluster
from real.syncing import CLUSTER, World, world_of

from realparts import pki
from realparts.stack import Stack
from realparts.waiting import eventually

pytestmark = [pytest.mark.real, pytest.mark.timeout(240)]

CONFIGURATIONS = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations"

KYVERNO: dict[str, Any] = {
    "status": {
        "status": "Failure",
        "message": (
            "\n\nresource Secret/{space}/{name} was blocked due to the following policies \n\n"
            "require-team:\n  check-team: 'validation error: the label team is required. rule check-team\n"
            "    failed at path /metadata/labels/team/'\n"
        ),
    }
}
"""Neither a code nor a reason, so the API server answers 400 (kyverno: pkg/utils/admission/response.go,
``Response``, and pkg/webhooks/utils/block.go, ``GetBlockedMessages``)."""

GATEKEEPER: dict[str, Any] = {
    "status": {
        "reason": "Forbidden",
        "code": 403,
        "message": (
            '[all-must-have-team] you must provide labels: {{"team"}}\n'
            "[no-pull-secrets] the label team is required"
        ),
    },
    "warnings": ["[warn-only] this is not in the denial"],
}
"""gatekeeper: pkg/webhook/policy.go, ``Handle`` and ``getValidationMessages``."""

SILENT: dict[str, Any] = {}
"""A denial without a status: the API server says "denied the request without explanation"."""

ODD: dict[str, Any] = {
    "status": {"reason": "AlreadyExists", "code": 409, "message": "the label team is required"}
}
"""A webhook may choose the code and the reason of a name clash."""

GONE: dict[str, Any] = {
    "status": {"reason": "NotFound", "code": 404, "message": "the label team is required"}
}
"""A webhook may also choose those of a missing namespace."""


class Webhook:
    """A TLS server that denies Secrets of one namespace."""

    def __init__(self, certificate: Path, key: Path) -> None:
        self.verdict: dict[str, Any] | None = None
        self.reviewed: list[str] = []
        self.denies = {"CREATE", "UPDATE", "DELETE"}
        webhook = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                answer = json.dumps(webhook.review(json.loads(body)["request"])).encode()
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *_: Any) -> None:
                """Log nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.url = f"https://127.0.0.1:{self._server.server_port}/validate"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def review(self, request: dict[str, Any]) -> dict[str, Any]:
        self.reviewed.append(request["operation"])
        response: dict[str, Any] = {"uid": request["uid"], "allowed": True}
        if self.verdict is not None and request["operation"] in self.denies:
            response["allowed"] = False
            verdict = json.loads(json.dumps(self.verdict))
            if message := verdict.get("status", {}).get("message"):
                verdict["status"]["message"] = message.format(
                    space=request["namespace"], name=request["name"]
                )
            response |= verdict
        return {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response}


@pytest.fixture
def world(kubernetes_stack: Stack, cluster: Cluster, tmp_path: Path) -> Iterator[World]:
    with world_of(kubernetes_stack, cluster, tmp_path) as world:
        yield world


@pytest.fixture
def webhook(world: World, tmp_path: Path) -> Iterator[Webhook]:
    authority = pki.Authority(tmp_path / "pki", "webhook")
    webhook = Webhook(*authority.issue("webhook", user="webhook", hosts=("127.0.0.1",)))
    try:
        yield webhook
    finally:
        webhook.close()


@pytest.fixture
def watched_space(world: World, webhook: Webhook, tmp_path: Path) -> Iterator[str]:
    """A namespace whose Secrets the API server sends to the webhook."""
    space = world.namespace(workload_too=False)
    authority = (tmp_path / "pki" / "ca.crt").read_bytes()
    rule = {
        "apiGroups": [""],
        "apiVersions": ["v1"],
        "resources": ["secrets"],
        "operations": ["CREATE", "UPDATE", "DELETE"],
    }
    body = {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingWebhookConfiguration",
        "metadata": {"name": f"w-{space}"},
        "webhooks": [
            {
                "name": "validate.example.com",
                "clientConfig": {"url": webhook.url, "caBundle": base64.b64encode(authority).decode()},
                "rules": [rule],
                "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": space}},
                "sideEffects": "None",
                "admissionReviewVersions": ["v1"],
                "failurePolicy": "Fail",
                "timeoutSeconds": 5,
            }
        ],
    }
    kubernetes = world.stack.kubernetes
    kubernetes.request("POST", CONFIGURATIONS, body)
    probe = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "probe", "namespace": space}}

    def in_force() -> bool:
        kubernetes.request("POST", f"/api/v1/namespaces/{space}/secrets?dryRun=All", probe)
        return bool(webhook.reviewed)

    try:
        eventually(in_force)
        yield space
    finally:
        kubernetes.request("DELETE", f"{CONFIGURATIONS}/w-{space}")


@pytest.mark.parametrize(
    ("verdict", "words"),
    [
        (KYVERNO, "resource Secret/{space}/{name} was blocked due to the following policies"),
        (GATEKEEPER, '[all-must-have-team] you must provide labels: {{"team"}}'),
        (SILENT, "denied the request without explanation"),
        (ODD, "the label team is required"),
        (GONE, "the label team is required"),
    ],
    ids=["kyverno", "gatekeeper", "silent", "code-409", "code-404"],
)
def test_the_denial_of_a_new_secret_by_a_webhook_is_one_event_with_its_message(
    world: World, webhook: Webhook, watched_space: str, verdict: dict[str, Any], words: str
) -> None:
    webhook.verdict = verdict
    sync = world.running()
    world.annotate(watched_space)
    [(_, note)] = eventually(lambda: [e for e in world.events(watched_space) if e[0] == "NotWritten"])
    message = words.format(space=watched_space, name=world.name)
    assert message in note
    assert 'admission webhook "validate.example.com" denied the request' in note
    assert [reason for reason, _ in world.events(watched_space)] == ["NotWritten"], (
        "sync does not take it for a foreign Secret"
    )
    eventually(lambda: world.mount.refused(world.ref) == {watched_space: "not-written"})
    status = world.mount.store.status(CLUSTER, world.project)
    assert status
    assert message in status.value.registries["main"].details[watched_space]
    assert "denied the request" in sync.log.read_text()
    assert "s3cret" not in sync.log.read_text()
    webhook.verdict = None
    eventually(lambda: world.password(watched_space) == "s3cret-one", seconds=45)
    eventually(lambda: world.mount.refused(world.ref) == {})


CHANGES = {"UPDATE", "DELETE"}


@pytest.mark.parametrize(
    ("verdict", "denies"),
    [(KYVERNO, CHANGES), (ODD, CHANGES | {"CREATE"}), (GONE, CHANGES | {"CREATE"})],
    ids=["kyverno-all-but-create", "code-409", "code-404"],
)
def test_a_webhook_that_denies_a_renewal_or_a_removal_leaves_the_secret_in_place(
    world: World, webhook: Webhook, watched_space: str, verdict: dict[str, Any], denies: set[str]
) -> None:
    webhook.denies = denies
    world.running()
    world.annotate(watched_space)
    eventually(lambda: world.password(watched_space) == "s3cret-one")
    webhook.verdict = verdict
    world.mint("s3cret-two")
    eventually(lambda: "NotWritten" in [reason for reason, _ in world.events(watched_space)])
    assert world.password(watched_space) == "s3cret-one"
    assert "SecretNameTaken" not in [reason for reason, _ in world.events(watched_space)]
    webhook.reviewed.clear()
    world.grant({})
    eventually(lambda: "DELETE" in webhook.reviewed, seconds=45)
    time.sleep(2)
    assert world.password(watched_space) == "s3cret-one"
    assert watched_space in {space for spaces in world.placed().values() for space in spaces}, (
        "it is still in the ledger"
    )
    webhook.verdict = None
    eventually(lambda: world.password(watched_space) is None, seconds=45)
    eventually(lambda: not world.placed())


def test_an_unreachable_webhook_delays_a_secret_and_loses_none(
    world: World, webhook: Webhook, watched_space: str
) -> None:
    webhook.close()
    world.running()
    world.annotate(watched_space)
    eventually(lambda: world.mount.placed(world.ref) or world.mount.refused(world.ref), seconds=30)
    assert world.password(watched_space) is None
    configuration = f"{CONFIGURATIONS}/w-{watched_space}"
    world.stack.kubernetes.request(
        "PATCH",
        configuration,
        [{"op": "replace", "path": "/webhooks/0/failurePolicy", "value": "Ignore"}],
        content_type="application/json-patch+json",
    )
    eventually(lambda: world.password(watched_space) == "s3cret-one", seconds=60)
