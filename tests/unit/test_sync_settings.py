"""The settings of sync in its environment, and what it serves over HTTP."""

from __future__ import annotations

import inspect
import json
import logging
from datetime import timedelta

import aiohttp
import pytest

from regcred.cluster.model import Mode, custom_kind
from regcred.errors import MalformedError
from regcred.wiring.sync import main, resource_of
from regcred.wiring.sync.log_setup import JsonFormatter
from regcred.wiring.sync.metrics import Metrics
from regcred.wiring.sync.server import serve
from regcred.wiring.sync.settings import SyncSettings

VALID = {"REGCRED_CLUSTER": "c1", "REGCRED_VAULT_ADDR": "https://vault.example.com:8200"}


def test_two_variables_are_enough() -> None:
    settings = SyncSettings.load(VALID)
    rules = settings.options().rules
    assert (rules.cluster, rules.mode, rules.grace) == ("c1", Mode.ADMISSION, timedelta(minutes=10))
    assert settings.pace().poll == timedelta(seconds=30)


def test_vault_addr_is_an_alternative() -> None:
    assert SyncSettings.load({"REGCRED_CLUSTER": "c1", "VAULT_ADDR": "http://v"}).vault_addr == "http://v"


@pytest.mark.parametrize("variable", ["REGCRED_GRACE_SECONDS", "REGCRED_MAX_REMOVAL_SHARE"])
def test_a_setting_that_is_not_a_number_is_refused_by_its_name(variable: str) -> None:
    with pytest.raises(MalformedError, match=f"{variable}: must be a number"):
        SyncSettings.load({**VALID, variable: "soon"})


def test_custom_kinds_are_a_list() -> None:
    text = "argoproj.io/v1alpha1/rollouts/Rollout,serving.knative.dev/v1/services/Service:spec.template"
    kinds = SyncSettings.load({**VALID, "REGCRED_WORKLOAD_KINDS": text}).kinds()
    assert [kind.path("shop") for kind in kinds[-2:]] == [
        "/apis/argoproj.io/v1alpha1/namespaces/shop/rollouts",
        "/apis/serving.knative.dev/v1/namespaces/shop/services",
    ]


def test_all_modes_are_allowed_by_default() -> None:
    assert SyncSettings.load(VALID).options().rules.allowed == set(Mode)
    rules = SyncSettings.load({**VALID, "REGCRED_ALLOWED_MODES": "none"}).options().rules
    assert [mode for mode in Mode if rules.allows(mode)] == [Mode.ADMISSION, Mode.NONE]


@pytest.mark.parametrize(
    "given",
    [
        {"REGCRED_ALLOWED_MODES": "admission,serviceaccount,none"},
        {"REGCRED_ALLOWED_MODES": "none", "REGCRED_MODE": "serviceaccount"},
        {"REGCRED_ALLOWED_MODES": "none", "REGCRED_EVICT_STUCK_PODS": "true"},
    ],
)
def test_whole_pods_are_read_only_if_their_serviceaccount_or_state_can_matter(given: dict[str, str]) -> None:
    assert SyncSettings.load({**VALID, **given}).whole_pods
    assert not SyncSettings.load({**VALID, "REGCRED_ALLOWED_MODES": "admission,none"}).whole_pods


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("REGCRED_CLUSTER", "C1"),
        ("REGCRED_CLUSTER", ""),
        ("REGCRED_VAULT_ADDR", "vault.example.com"),
        ("REGCRED_MODE", "webhook"),
        ("REGCRED_ALLOWED_MODES", "none,webhook"),
        ("REGCRED_GRACE_SECONDS", "-1"),
        ("REGCRED_MAX_REMOVAL_SHARE", "20"),
        ("REGCRED_POLL_SECONDS", "often"),
        ("REGCRED_METRICS_PORT", "99999"),
        ("REGCRED_LOG_LEVEL", "loud"),
    ],
)
def test_an_error_about_a_wrong_setting_names_it(name: str, value: str) -> None:
    with pytest.raises(MalformedError, match=name) as raised:
        SyncSettings.load({**VALID, name: value})
    assert raised.value.field == name


@pytest.mark.parametrize(
    "text", ["rollouts", "argoproj.io/v1alpha1/rollouts", "v1/pods/Pod", "a.b/x/c/D", "a.b/v1/c/D:"]
)
def test_a_wrong_kind_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(MalformedError, match="Rollout"):
        custom_kind(text)


def test_an_unknown_argument_is_reported(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--onse"], VALID) == 2
    assert "unknown argument '--onse'" in capsys.readouterr().err


def test_a_missing_setting_is_one_line_and_exit_code_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([], {}) == 2
    assert capsys.readouterr().err == "REGCRED_CLUSTER is not set; REGCRED_VAULT_ADDR is not set\n"


@pytest.mark.parametrize(
    ("path", "resource"),
    [
        ("/api/v1/namespaces", "namespaces"),
        ("/api/v1/namespaces/shop", "namespaces"),
        ("/api/v1/namespaces/shop/secrets/regcred.a.b", "secrets"),
        ("/apis/apps/v1/deployments", "deployments"),
        ("/apis/apps/v1/namespaces/shop/deployments/web", "deployments"),
    ],
)
def test_requests_are_counted_by_resource(path: str, resource: str) -> None:
    assert resource_of(path) == resource


def test_a_log_line_is_one_json_object_with_its_fields() -> None:
    record = logging.LogRecord("regcred.sync", logging.WARNING, "", 0, "it happened", (), None)
    record.fields = {"project": "payments"}
    line = json.loads(JsonFormatter().format(record))
    assert (line["level"], line["message"], line["project"]) == ("warning", "it happened", "payments")


class Loop:
    alive = True
    ready = False


async def test_probes_and_metrics_are_served() -> None:
    from realparts.procs import free_ports

    metrics = Metrics()
    metrics.replace("credential_expiry_timestamp_seconds", [({"project": "p", "registry": "r"}, 17.0)])
    metrics.replace("refusals", [({"reason": "clash"}, 2)])
    metrics.replace("refusals", [])
    metrics.count("events_total", reason="NotGranted")
    (port,) = free_ports(1)
    loop = Loop()
    async with (
        serve(loop, metrics, port=port, host="127.0.0.1"),
        aiohttp.ClientSession(f"http://127.0.0.1:{port}") as http,
    ):
        assert (await http.get("/healthz")).status == 200
        assert (await http.get("/readyz")).status == 503
        loop.ready = True
        assert (await http.get("/readyz")).status == 200
        text = await (await http.get("/metrics")).text()
    assert 'regcred_credential_expiry_timestamp_seconds{project="p",registry="r"} 17.0' in text
    assert 'regcred_events_total{reason="NotGranted"} 1.0' in text
    assert "clash" not in text


async def test_a_port_in_use_is_reported() -> None:
    from realparts.procs import free_ports

    (port,) = free_ports(1)
    async with serve(Loop(), Metrics(), port=port, host="127.0.0.1"):
        with pytest.raises(MalformedError, match="REGCRED_METRICS_PORT"):
            async with serve(Loop(), Metrics(), port=port, host="127.0.0.1"):
                pass


def test_no_submodule_replaces_a_function_of_the_package() -> None:
    """An import of a submodule with the same name would replace the function, and sync could not start."""
    import regcred.wiring.sync
    import regcred.wiring.sync.log_setup

    modules = {name for name, value in vars(regcred.wiring.sync).items() if inspect.ismodule(value)}
    assert callable(regcred.wiring.sync.log)
    assert not modules & {"log", "main", "open_store"}
