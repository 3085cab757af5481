"""The system registry: who may sign in, push and pull, on OpenBao and on Distribution 3 and 2.8."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from real.systemregistry import SystemRegistry

from realparts.internet import Internet
from realparts.procs import Processes
from realparts.state import State
from realparts.vault import Vault

pytestmark = pytest.mark.real


@pytest.fixture(scope="module", params=["kid", "x5c"])
def system(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[SystemRegistry]:
    directory = tmp_path_factory.mktemp("system")
    processes = Processes(directory)
    internet = Internet(processes, State(directory))
    vault = Vault(processes, State(directory), internet)
    internet.up()
    vault.up()
    system = SystemRegistry(vault, processes, directory, internet, header=request.param)
    try:
        system.set_up("payments", "shop")
        with system.serving():
            yield system
    finally:
        for name in processes.running():
            processes.stop(name)
        processes.sweep()


@pytest.fixture(scope="module", params=["3", "2.8"])
def host(request: pytest.FixtureRequest, system: SystemRegistry) -> str:
    if system.header == "kid" and request.param == "2.8":
        pytest.skip("Distribution 2.8 knows no JWK set: it has the bundle, and tokens name their certificate")
    return system.registry(f"v{request.param}", request.param)


@pytest.fixture(scope="module")
def admin(system: SystemRegistry) -> tuple[str, str]:
    return system.login(system.person("ann", "regcred-admins-payments"))


def test_an_admin_of_a_project_pushes_and_a_reader_only_pulls(
    system: SystemRegistry, host: str, admin: tuple[str, str], tmp_path: Path
) -> None:
    image = tmp_path / "image.tar"
    (tmp_path / "hello").write_text("hello")
    import tarfile

    with tarfile.open(image, "w") as tar:
        tar.add(tmp_path / "hello", "hello")
    pushed = system.crane(
        admin, "append", "--oci-empty-base", "-f", str(image), "-t", f"{host}/payments/web:1"
    )
    assert pushed.returncode == 0, pushed.stderr
    reader = system.login(system.person("rae", "regcred-readers-payments"))
    assert system.crane(reader, "manifest", f"{host}/payments/web:1").returncode == 0
    refused = system.crane(
        reader, "append", "--oci-empty-base", "-f", str(image), "-t", f"{host}/payments/web:2"
    )
    assert refused.returncode != 0
    assert system.crane(admin, "manifest", f"{host}/shop/web:1").returncode != 0
    assert system.crane(None, "manifest", f"{host}/payments/web:1").returncode != 0
