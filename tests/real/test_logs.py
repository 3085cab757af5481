"""The logs of a whole run contain no secret.

The search runs last (tests/conftest.py), after all tests that write logs.
"""

import os
from concurrent.futures import ThreadPoolExecutor

import pytest

from realparts import used_secrets

pytestmark = pytest.mark.real


@pytest.mark.parametrize("form", ["as it is", "in a dockerconfigjson's auth", "in base64 of a document"])
def test_a_secret_is_found_in_every_form_that_a_log_can_contain(form, tmp_path):
    import base64

    secret = "corr3ct-horse/battery+staple"
    text = {
        "as it is": secret,
        "in a dockerconfigjson's auth": base64.b64encode(f"robot:{secret}".encode()).decode(),
        "in base64 of a document": base64.b64encode(f'{{"password":"{secret}"}}'.encode()).decode(),
    }[form]
    log = tmp_path / "some.log"
    log.write_text(f"level=info msg={text} more\n")
    assert used_secrets.leaks(log, {secret, "an0ther-secret"}) == ["a used secret that begins with 'cor'"]
    log.write_text("level=info msg=nothing of it\n")
    assert used_secrets.leaks(log, {secret}) == []


def test_no_secret_is_in_any_log(stack):
    """The logs are the output of all processes and commands, and the audit logs of Vault and Kubernetes."""
    secrets = stack.used_secrets()
    logs = sorted(path for path in stack.logs_dir.rglob("*") if path.is_file())
    assert (secrets and logs) or os.environ.get("CI") != "true", "there is nothing to search"
    with ThreadPoolExecutor(os.cpu_count()) as pool:  # grep does most of the work, in processes of its own
        found = list(pool.map(lambda path: used_secrets.leaks(path, secrets), logs))
    assert {path: what for path, what in zip(logs, found, strict=True) if what} == {}
