"""The order of the tests, and their servers (OpenBao, Kubernetes, an AWS stand-in, a registry).

A test run has one set of servers. The first test that needs a server starts it. The servers keep their files
in ``.test``, or in the folder that REGCRED_TEST_FOLDER names. Two runs at the same time need different
folders. ``REGCRED_TEST_STACK=.local`` uses the servers of `make up` and leaves them running, which is faster
while you write a test. With CI=true, a test whose server can't run fails with the reason.
"""

from __future__ import annotations

import functools
import gc
import os
import random
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings

if TYPE_CHECKING:  # so that unit tests do not import it
    from realparts.stack import Stack

pytest_plugins = ["sam"]
settings.register_profile("busy", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("busy")  # on a busy machine, any example can be slow

ROOT = Path(__file__).resolve().parents[1]
LAST = "test_no_secret_is_in_any_log"
"""Runs after all other tests, because it searches the logs that they have written."""
HEAVIEST = "test_hostile_tenants.py"
"""Runs after all other modules, because it writes hundreds of megabytes to the API server and the disk."""
REQUIRED_VARIABLES = {"hashicorp": "VAULT_BIN", "every_kubernetes": "REGCRED_EVERY_KUBERNETES"}
"""The environment variable of each marker. Without the variable, pytest deselects the tests with the marker.

No package registry has HashiCorp Vault's binary, and only `make test-kubernetes` builds every supported
Kubernetes version.
"""
SHUFFLED = ("unit", "contract")
"""Folders whose tests run in random order; pytest prints the seed, and `--randomly-seed=N` repeats it."""


def pytest_report_header() -> list[str]:
    """Report whether the tests use HashiCorp Vault, and which Kubernetes versions they use."""
    vault_binary = os.environ.get("VAULT_BIN")
    vault = f"{vault_binary} beside OpenBao in the contract tests, and instead of it in all others"
    every = os.environ.get("REGCRED_EVERY_KUBERNETES")
    return [
        f"HashiCorp Vault: {vault if vault_binary else 'not tested, because VAULT_BIN is not set'}",
        "Kubernetes: every supported version"
        if every
        else "Kubernetes: the oldest and the newest; the rest by `make test-kubernetes`",
    ]


def pytest_configure(config: pytest.Config) -> None:
    """Leave the order to :func:`pytest_collection_modifyitems`: tests on servers group by their fixtures."""
    config.option.randomly_reorganize = False


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """Use one worker more than there are processors for `-n auto`, because some tests wait."""
    return (os.cpu_count() or 1) + 1


@pytest.hookimpl(wrapper=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> Iterator[None]:
    """Order the tests.

    Unit and contract tests run in random order, all others in the order of their files. Fast folders run
    first. The heaviest module and the search of all logs run last.
    """
    shuffle = random.Random(config.getoption("randomly_seed"))
    modules = list(dict.fromkeys(item.path for item in items))
    ranks = {path: shuffle.random() for path in modules}
    shuffled = [item for item in items if _folder(item) in SHUFFLED]
    places = {item: (ranks[item.path], shuffle.random()) for item in shuffled}
    items[:] = [*sorted(shuffled, key=places.__getitem__), *(item for item in items if item not in places)]
    yield  # pytest groups tests here that share a parametrised fixture
    for item in items:
        if item.get_closest_marker("hypothesis"):
            item.add_marker("no_cover")  # random values would change the coverage of each run
    for marker, variable in REQUIRED_VARIABLES.items():
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
    return _folder_of(item.path)


@functools.cache
def _folder_of(path: Path) -> str:
    return path.relative_to(ROOT / "tests").parts[0]


def pytest_collection_finish() -> None:
    """Exclude the imported modules and the collected tests from garbage collection.

    Python would scan these hundreds of thousands of objects repeatedly, although they live until the end.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)


@contextmanager
def _not_traced() -> Iterator[None]:
    tracer = sys.gettrace()
    sys.settrace(None)
    try:
        yield
    finally:
        sys.settrace(tracer)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtestloop(session: pytest.Session) -> Iterator[object]:
    """Trace the workers of xdist only, and not the process that distributes the tests."""
    if sys.gettrace() is None or not session.config.getoption("numprocesses"):
        return (yield)
    with _not_traced():
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[object]:
    """Trace the import of the measured modules, and no other import."""
    if sys.gettrace() is None:
        return (yield)
    from realparts import pure_modules

    pure_modules.import_all()
    with _not_traced():
        return (yield)


@pytest.hookimpl(wrapper=True, trylast=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[object]:
    """Do not trace tests with the marker `no_cover`.

    In a worker of xdist, pytest-cov pauses its second tracer for them, and its first one continues.
    """
    if sys.gettrace() is None or not item.get_closest_marker("no_cover"):
        return (yield)
    with _not_traced():
        return (yield)


@pytest.fixture(autouse=True)
def _own_aws_session(monkeypatch: pytest.MonkeyPatch) -> None:
    """Drop boto3's default session, which caches the AWS credentials of an earlier test."""
    if "boto3" in sys.modules:
        monkeypatch.setattr("boto3.DEFAULT_SESSION", None)


@pytest.fixture(scope="session")
def stack() -> Iterator[Stack]:
    """The servers of the tests. None is started yet."""
    from realparts.stack import Stack

    if reused := os.environ.get("REGCRED_TEST_STACK"):
        stack = Stack(ROOT / reused)
        stack.stop_functions()  # they would process what the tests write to Vault
        yield stack
        return
    stack = Stack(ROOT / os.environ.get("REGCRED_TEST_FOLDER", ".test"))
    stack.down()
    yield stack
    stack.down()


@pytest.fixture(scope="session")
def vault_stack(stack: Stack) -> Stack:
    """The stack with OpenBao running."""
    stack.up(["vault"])
    return stack


@pytest.fixture(scope="session")
def kubernetes_stack(stack: Stack) -> Stack:
    """The stack with OpenBao and a Kubernetes control plane running."""
    stack.up(["vault", "kubernetes"])
    return stack


@pytest.fixture(scope="session")
def aws_stack(stack: Stack) -> Stack:
    """The stack with OpenBao, the AWS stand-in, the Lambda emulator and the registry running."""
    stack.up(["vault", "aws", "registry", "lambda"])
    return stack


@pytest.fixture(scope="session")
def whole_stack(stack: Stack) -> Stack:
    """The stack with every server and the node running."""
    from nodes import need_node

    need_node(stack)
    stack.up(["vault", "kubernetes", "aws", "registry", "lambda", "node"])
    return stack
