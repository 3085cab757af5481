"""The real parts, one set for a whole run of the tests, each started by the first test that needs it.

They live in ``.test``, or in the folder that REGCRED_TEST_FOLDER names: two runs side by side need a folder
each. ``REGCRED_TEST_STACK=.local`` uses the parts of `make up` instead, and leaves them up: quicker while
writing a test. Under CI=true nothing may be missing: where a part can't run, its tests fail with the reason.
"""

from __future__ import annotations

import os
import random
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings

if TYPE_CHECKING:  # unit tests need none of what it imports
    from realparts.stack import Stack

pytest_plugins = ["sam"]
settings.register_profile("busy", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("busy")  # how long an example takes tells how busy the machine is

ROOT = Path(__file__).resolve().parents[1]
LAST = "test_no_secret_is_in_any_log"
HEAVIEST = "test_hostile_tenants.py"
"""Runs after all other tests: it fills the API server and the disk with hundreds of megabytes."""
NEEDED = {"hashicorp": "VAULT_BIN", "every_kubernetes": "REGCRED_EVERY_KUBERNETES"}
"""By marker of tests: the environment variable without which they are left out."""
SHUFFLED = ("unit", "contract")
"""Folders whose tests run in random order; pytest prints the seed, and `--randomly-seed=N` repeats it."""


def pytest_report_header() -> list[str]:
    """Say which Vault the contract meets, and which Kubernetes versions run."""
    named = os.environ.get("VAULT_BIN")
    every = os.environ.get("REGCRED_EVERY_KUBERNETES")
    return [
        f"HashiCorp Vault: {named or 'VAULT_BIN names none, so OpenBao and the fake stand for it'}",
        "Kubernetes: every supported version"
        if every
        else "Kubernetes: the oldest and the newest; the rest by `make test-kubernetes`",
    ]


def pytest_configure(config: pytest.Config) -> None:
    """Leave the order to :func:`pytest_collection_modifyitems`: tests on servers group by their fixtures."""
    config.option.randomly_reorganize = False


@pytest.hookimpl(wrapper=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> Iterator[None]:
    """Unit and contract tests in random order, all others as written; cheap ones first, the heaviest and the
    search of all logs last."""
    shuffle = random.Random(config.getoption("randomly_seed"))
    modules = list(dict.fromkeys(item.path for item in items))
    ranks = {path: shuffle.random() for path in modules}
    shuffled = [item for item in items if _folder(item) in SHUFFLED]
    places = {item: (ranks[item.path], shuffle.random()) for item in shuffled}
    items[:] = [*sorted(shuffled, key=places.__getitem__), *(item for item in items if item not in places)]
    yield  # pytest groups tests here that share a parametrised fixture
    for marker, variable in NEEDED.items():
        without = {item for item in items if item.get_closest_marker(marker) and not os.environ.get(variable)}
        config.hook.pytest_deselected(items=list(without))
        items[:] = [item for item in items if item not in without]
    order = ["unit", "infra", "contract", "edges", "real"]
    items.sort(
        key=lambda item: (
            item.originalname == LAST if isinstance(item, pytest.Function) else False,
            item.path.name == HEAVIEST,
            order.index(_folder(item)) if _folder(item) in order else len(order),
        )
    )


def _folder(item: pytest.Item) -> str:
    return item.path.relative_to(ROOT / "tests").parts[0]


@pytest.fixture(autouse=True)
def _own_aws_session(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no test have the AWS credentials that boto3 found in the environment of an earlier one."""
    if "boto3" in sys.modules:
        monkeypatch.setattr("boto3.DEFAULT_SESSION", None)


@pytest.fixture(scope="session")
def stack() -> Iterator[Stack]:
    """The handle of the real parts; nothing is up yet."""
    from realparts.stack import Stack

    if reused := os.environ.get("REGCRED_TEST_STACK"):
        stack = Stack(ROOT / reused)
        stack.stop_functions()  # they would act on what the tests put into Vault themselves
        yield stack
        return
    stack = Stack(ROOT / os.environ.get("REGCRED_TEST_FOLDER", ".test"))
    stack.down()
    yield stack
    stack.down()


@pytest.fixture(scope="session")
def vault_stack(stack: Stack) -> Stack:
    """The stack with OpenBao up."""
    stack.up(["vault"])
    return stack


@pytest.fixture(scope="session")
def kubernetes_stack(stack: Stack) -> Stack:
    """The stack with OpenBao and a Kubernetes control plane up."""
    stack.up(["vault", "kubernetes"])
    return stack


@pytest.fixture(scope="session")
def aws_stack(stack: Stack) -> Stack:
    """The stack with OpenBao, the AWS side and the registry up."""
    stack.up(["vault", "aws", "registry", "lambda"])
    return stack


@pytest.fixture(scope="session")
def whole_stack(stack: Stack) -> Stack:
    """The stack with everything up, the node too."""
    from nodes import need_node

    need_node(stack)
    stack.up(["vault", "kubernetes", "aws", "registry", "lambda", "node"])
    return stack
