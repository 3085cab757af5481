"""The settings of dispatch and rotate in environment variables."""

from __future__ import annotations

import pytest

from regcred.errors import MalformedError
from regcred.settings import DispatchSettings, RotateSettings, VaultAuth

VAULT = {"REGCRED_VAULT_ADDR": "https://vault.example.com:8200", "REGCRED_VAULT_ROLE": "rotate"}


def test_only_settings_without_a_default_are_required() -> None:
    settings = RotateSettings.load(VAULT | {"REGCRED_EVENT_BUS": "regcred", "REGCRED_VAULT_NAMESPACE": ""})
    assert (settings.vault_auth, settings.auth_mount) == (VaultAuth.JWT, "regcred-lambda")
    assert settings.lease.total_seconds() == 120


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"REGCRED_VAULT_ADDR": ""}, "REGCRED_VAULT_ADDR is not set"),
        ({"REGCRED_VAULT_ADDR": "vault:8200"}, "REGCRED_VAULT_ADDR"),
        ({"REGCRED_VAULT_AUTH": "token"}, "REGCRED_VAULT_AUTH: must be 'jwt' or 'aws'"),
        ({"REGCRED_INTERVAL_MINUTES": "7"}, "REGCRED_INTERVAL_MINUTES: must divide an hour"),
        ({"REGCRED_CHUNK": "many"}, "REGCRED_CHUNK"),
        ({"REGCRED_QUEUE_URL": "https://sqs/queue"}, "REGCRED_QUEUE_URL"),
    ],
)
def test_an_error_about_a_wrong_setting_is_one_line_with_its_name(
    changes: dict[str, str], message: str
) -> None:
    with pytest.raises(MalformedError) as caught:
        DispatchSettings.load(VAULT | {"REGCRED_QUEUE_URL": "https://sqs/queue.fifo"} | changes)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "template.yaml" in str(caught.value)
