"""What `sam build` makes: arm64, Python 3.13, with bytecode. It runs here under emulation, by Lambda's own arm64 runtime."""

from __future__ import annotations

import importlib.util
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from real.cloudside import HOST, CloudSide

from realparts.debian import arm64_root, python313
from realparts.images import push_pause
from realparts.lambda_ import Artifact
from realparts.pulling import manifest_status
from realparts.stack import Stack
from regcred.registry.catalog import names
from regcred.vault.records.index import State

pytestmark = [pytest.mark.real, pytest.mark.timeout(600)]

ELF_AARCH64 = 183
"""The machine number of arm64 in an ELF header (e_machine)."""

VENDOR_PACKAGES = "import google.auth.aws, google.auth.impersonated_credentials, azure.identity, jwt, cryptography.hazmat.bindings._rust"
SOURCE_HASH_OFFSET = 8


@pytest.fixture(scope="session")
def artifact(built: Path) -> Artifact:
    """What `sam build` made, with the Python that runs it."""
    return Artifact(built, arm64_root())


@pytest.fixture(scope="module")
def cloud(aws_stack: Stack, artifact: Artifact) -> Iterator[CloudSide]:
    push_pause(aws_stack.registry, "team/app")
    side = CloudSide(aws_stack, artifact=artifact)
    yield side
    side.stop()


def python(artifact: Artifact, code: str, *, options: tuple[str, ...] = ()) -> tuple[str, float]:
    """What code printed in a process that sees the layers and nothing else, and the seconds it took."""
    path = ":".join(str(folder) for folder in artifact.layers())
    began = time.monotonic()
    done = subprocess.run(
        [*artifact.python(), "-S", *options, "-c", code],
        env={"PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1", "PATH": "/usr/bin", "LANG": "C.UTF-8"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip(), time.monotonic() - began


def test_every_binary_in_the_layers_is_for_arm64(artifact: Artifact) -> None:
    binaries = [path for folder in artifact.layers() for path in folder.rglob("*.so*") if path.is_file()]
    assert binaries
    for binary in binaries:
        header = binary.read_bytes()[:20]
        assert header[:4] == b"\x7fELF"
        assert int.from_bytes(header[18:20], "little") == ELF_AARCH64, f"{binary} is for another processor"


def test_the_bytecode_is_of_lambdas_python_and_of_the_sources_beside_it(artifact: Artifact) -> None:
    """Lambda never checks it (unchecked-hash), so bytecode of other sources would run unseen."""
    magic = subprocess.run(
        [python313(), "-c", "import importlib.util; print(importlib.util.MAGIC_NUMBER.hex())"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    compiled = [path for folder in artifact.layers() for path in folder.rglob("*.pyc")]
    assert len(compiled) > 500
    for path in compiled:
        header = path.read_bytes()[:16]
        source = path.parent.parent / f"{path.name.split('.')[0]}.py"
        assert header[:4].hex() == magic, f"{path} is of another Python"
        assert int.from_bytes(header[4:8], "little") == 1, (
            f"{path} is checked against its source at each start"
        )
        hashed = _source_hash(int.from_bytes(header[:2], "little"), source.read_bytes())
        assert header[SOURCE_HASH_OFFSET:] == hashed, f"{path} is older than its source"


def _source_hash(magic: int, source: bytes) -> bytes:
    """The hash of PEP 552, keyed by the Python that compiled; this process may be another."""
    import _imp

    assert importlib.util.source_hash(b"") == _imp.source_hash(
        int.from_bytes(importlib.util.MAGIC_NUMBER[:2], "little") | 0x0A0D0000, b""
    )
    return _imp.source_hash(magic | 0x0A0D0000, source)


def test_the_layers_hold_every_module_of_the_functions_and_every_package_of_the_vendors(
    artifact: Artifact,
) -> None:
    code = (
        f"{VENDOR_PACKAGES}; import regcred.wiring.dispatch, regcred.wiring.rotate, regcred.registry.catalog as catalog; "
        "[catalog.provider_for(name) for name in catalog.names()]; "
        "import platform, sys; print(platform.machine(), sys.version_info[:2], len(catalog.names()))"
    )
    machine, version, providers = python(artifact, code)[0].replace(", ", ",").split()
    assert (machine, version) == ("aarch64", "(3,13)")
    assert int(providers) >= len(names())


def test_the_cold_start_is_printed_with_and_without_bytecode(artifact: Artifact) -> None:
    """On an emulated processor: the ratio is what to read. Lambda can't write bytecode to /opt, so it would compile each time."""
    code = "import regcred.wiring.rotate"
    _, with_it = python(artifact, code)
    _, without = python(artifact, f"import sys; sys.pycache_prefix = '/nowhere'; {code}")
    print(f"cold import of rotate on emulated arm64: {with_it:.1f} s with bytecode, {without:.1f} s without")


def test_dispatch_and_rotate_make_a_credential_that_pulls(cloud: CloudSide) -> None:
    project = cloud.project("artifact")
    password = cloud.stack.registry.add_user("artifact", pull=["team/*"])
    ecr = cloud.ecr(f"{project}/ecr", probe="team/app:1")
    plain = cloud.basic(f"{project}/plain", "artifact", password, probe="team/app:1")
    report = cloud.sweep()
    assert report
    answer = cloud.rotate.invoke(cloud.message(project, ecr="new", plain="new"), timeout=280)
    assert answer == {"batchItemFailures": []}
    for reference in (ecr, plain):
        entry = cloud.entry(reference)
        assert entry is not None
        assert (entry.state, entry.version) == (State.OK, 1)
    assert manifest_status(cloud.stack, f"{HOST}/team/app:1", *cloud.login(plain)) == 200
