"""The output of `sam build`: arm64, Python 3.13, with bytecode.

It runs under emulation, in Lambda's own arm64 runtime.
"""

from __future__ import annotations

import _imp
import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from fakes.function_url import event
from infra.deployment import function_policies
from real.cloudside import HOST, CloudSide
from real.tokenfunction import PROJECT, basic, identity, mint, send, start_system

from realparts.aws import REGION
from realparts.debian import arm64_root, python313
from realparts.images import push_pause
from realparts.lambda_ import ROOT, Artifact, Function
from realparts.pulling import manifest_status
from realparts.stack import AUDIENCE, Stack
from realparts.system_registry import HOST as SYSTEM_HOST
from regcred.registry.catalog import names
from regcred.vault.records.index import State

pytestmark = [pytest.mark.real, pytest.mark.timeout(900)]

ELF_AARCH64 = 183
"""The number of arm64 in an ELF header (e_machine)."""

VENDOR_PACKAGES = (
    "import google.auth.aws, google.auth.impersonated_credentials, azure.identity, jwt, "
    "cryptography.hazmat.bindings._rust"
)
SOURCE_HASH_OFFSET = 8
PATIENCE = 500
"""Seconds for one invocation: an emulated processor is slow, and so is a busy machine."""


@pytest.fixture(scope="session")
def artifact(built: Path) -> Artifact:
    """The output of `sam build`, with the Python that runs it."""
    return Artifact(built, arm64_root())


@pytest.fixture(scope="session")
def magic() -> bytes:
    """The magic number at the start of bytecode of Lambda's Python."""
    code = "import importlib.util; print(importlib.util.MAGIC_NUMBER.hex())"
    return bytes.fromhex(subprocess.check_output([python313(), "-c", code], text=True))


@pytest.fixture(scope="module")
def cloud(aws_stack: Stack, artifact: Artifact) -> Iterator[CloudSide]:
    push_pause(aws_stack.registry, "team/app")
    side = CloudSide(aws_stack, artifact=artifact)
    yield side
    side.stop()


@pytest.fixture(scope="module")
def system(stack: Stack) -> Stack:
    start_system(stack)
    return stack


@pytest.fixture
def start(system: Stack, artifact: Artifact) -> Iterator[Callable[[str], Function]]:
    """Starts a web function with the environment and the policy that template.yaml gives it."""
    policies = function_policies(REGION, VaultAudience=AUDIENCE, Token="enabled", Console="enabled")
    started = []

    def start(name: str) -> Function:
        started.append(f"artifact-{name}")
        return system.lambda_.start(
            name,
            system.function_environment(name),
            instance=started[-1],
            policy=policies[name],
            artifact=artifact,
            timeout_seconds=PATIENCE,
        )

    yield start
    for name in started:
        system.lambda_.stop(name)


def run(command: Sequence[str | Path], layers: Sequence[Path], code: str, **environment: str) -> str:
    """Run code in a Python that can import only the layers, and return what it printed."""
    done = subprocess.run(
        [*command, "-S", "-c", code],
        env={"PYTHONPATH": ":".join(map(str, layers)), "PATH": "/usr/bin", "LANG": "C.UTF-8", **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def foreign_binaries(layers: Sequence[Path]) -> list[Path]:
    """Binaries for another processor than Lambda's."""
    binaries = [path for folder in layers for path in folder.rglob("*.so*") if path.is_file()]
    assert binaries
    headers = {path: path.read_bytes()[:20] for path in binaries}
    return [
        path
        for path, header in headers.items()
        if header[:4] != b"\x7fELF" or int.from_bytes(header[18:20], "little") != ELF_AARCH64
    ]


def wrong_bytecode(layers: Sequence[Path], magic: bytes) -> list[str]:
    """Bytecode of another Python, of another source than the one beside it, or checked against it at each
    start."""
    found = []
    for path in (path for folder in layers for path in folder.rglob("*.pyc")):
        header = path.read_bytes()[:16]
        source = path.parent.parent / f"{path.name.split('.')[0]}.py"
        if header[:4] != magic:
            found.append(f"{path} is of another Python")
        elif int.from_bytes(header[4:8], "little") != 1:
            found.append(f"{path} is checked against its source at each start")
        elif not source.exists() or header[SOURCE_HASH_OFFSET:] != _source_hash(magic, source.read_bytes()):
            found.append(f"{path} is of another source")
    return found


def _source_hash(magic: bytes, source: bytes) -> bytes:
    """The hash of PEP 552, keyed by the Python that compiled; this process may be another."""
    return _imp.source_hash(int.from_bytes(magic, "little"), source)


def test_every_binary_in_the_layers_is_for_arm64(artifact: Artifact, tmp_path: Path) -> None:
    assert foreign_binaries(artifact.layers(web=True)) == []
    foreign = tmp_path / "wrong.so"
    shutil.copy(importlib.util.find_spec("pydantic_core._pydantic_core").origin, foreign)
    assert foreign_binaries([tmp_path]) == [foreign]


def test_the_bytecode_matches_lambdas_python_and_the_sources(
    artifact: Artifact, magic: bytes, tmp_path: Path
) -> None:
    """Lambda never checks it (unchecked-hash), so bytecode of other sources would run unseen."""
    layers = artifact.layers(web=True)
    assert sum(1 for folder in layers for _ in folder.rglob("*.pyc")) > 500
    assert wrong_bytecode(layers, magic) == []
    shutil.copytree(layers[-1] / "regcred/rotate", tmp_path / "rotate")
    assert wrong_bytecode([tmp_path], magic) == []
    with (tmp_path / "rotate/rotate_project.py").open("a") as source:
        source.write("\n# newer\n")
    (stale,) = wrong_bytecode([tmp_path], magic)
    assert "rotate_project.cpython-313.pyc is of another source" in stale


def contents(folder: Path) -> dict[str, tuple[bool, bytes]]:
    """For each path, whether the file is executable, and its bytes."""
    return {
        str(path.relative_to(folder)): (bool(path.stat().st_mode & 0o100), path.read_bytes())
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.mark.parametrize("layer", ["CoreLayer", "DepsLayer", "WebLayer"])
def test_a_second_build_in_another_folder_gives_the_same_bytes(
    artifact: Artifact, tmp_path: Path, layer: str
) -> None:
    command = ["make", "--silent", "-C", ROOT / "layers", f"build-{layer}", f"ARTIFACTS_DIR={tmp_path}"]
    uv = Path(sys.executable).parent / "uv"
    subprocess.run([*command, f"PYTHON313={python313()}", f"UV={uv}"], check=True)
    again, before = contents(tmp_path), contents(artifact.build / layer)
    assert before.keys() == again.keys()
    assert [name for name, content in before.items() if content != again[name]] == []
    assert any(name.endswith(".pyc") for name in before)


def with_the_rest_compiled(layer: Path, target: Path) -> Path:
    """A copy of a layer with bytecode for the files that it ships without: the emulated processor needs a
    minute to compile what the vendors' packages import. The bytecode that the layer has stays as it is."""
    shutil.copytree(layer, target, copy_function=os.link)
    bare = [
        path
        for path in target.rglob("*.py")
        if not (path.parent / f"__pycache__/{path.stem}.cpython-313.pyc").exists()
    ]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPYCACHEPREFIX"}
    # A file that can't be compiled fails the import, if anything imports it.
    command = [python313(), "-m", "compileall", "-q", "-i", "-"]
    subprocess.run(command, input="\n".join(map(str, bare)), text=True, env=environment, check=False)
    return target


def test_the_layers_contain_every_module_of_the_functions_and_every_package_of_the_vendors(
    artifact: Artifact, tmp_path: Path
) -> None:
    deps, core = artifact.layers()
    layers = [with_the_rest_compiled(deps, tmp_path / "python"), core]
    code = (
        f"{VENDOR_PACKAGES}; import regcred.wiring.dispatch, regcred.wiring.rotate, "
        "regcred.registry.catalog as catalog; [catalog.provider_for(name) for name in catalog.names()]; "
        "import platform, sys; print(platform.machine(), sys.version_info[:2], len(catalog.names()))"
    )
    machine, version, providers = (
        run(artifact.python(), layers, code, PYTHONDONTWRITEBYTECODE="1").replace(", ", ",").split()
    )
    assert (machine, version) == ("aarch64", "(3,13)")
    assert int(providers) >= len(names())


def test_the_cold_start_is_printed_with_and_without_bytecode(
    artifact: Artifact, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The same layers for this machine's processor, natively.

    Lambda can't write bytecode to /opt, so it would compile each time.
    """
    packages = f"ARTIFACTS_DIR={tmp_path}"
    here = "PLATFORM=x86_64-manylinux2014"
    command = [
        "make",
        "--silent",
        "-C",
        ROOT / "layers",
        "build-DepsLayer",
        here,
        packages,
        f"PYTHON313={python313()}",
    ]
    subprocess.run([*command, f"UV={Path(sys.executable).parent / 'uv'}"], check=True)
    layers = [tmp_path / "python", artifact.layers()[-1]]
    code = "import regcred.wiring.rotate, boto3, hvac"
    with_it = _seconds(layers, code)
    without = _seconds(layers, f"import sys; sys.pycache_prefix = '/nowhere'; {code}")
    with capsys.disabled():
        print(f"\ncold import of rotate: {with_it:.2f} s with bytecode, {without:.2f} s without")
    assert with_it < without


def _seconds(layers: Sequence[Path], code: str) -> float:
    """Processor seconds of an import in a new process: the second of two, when the files are in memory."""
    measured = f"import time; began = time.process_time(); exec({code!r}); print(time.process_time() - began)"
    never = {"PYTHONDONTWRITEBYTECODE": "1"}
    return [float(run([python313()], layers, measured, **never)) for _ in range(2)][1]


def test_dispatch_and_rotate_create_a_credential_that_pulls(cloud: CloudSide) -> None:
    project = cloud.project("artifact")
    password = cloud.stack.registry.add_user("artifact", pull=["team/*"])
    ecr = cloud.ecr(f"{project}/ecr", probe="team/app:1")
    plain = cloud.basic(f"{project}/plain", "artifact", password, probe="team/app:1")
    message = cloud.message(project, ecr="new", plain="new")
    with ThreadPoolExecutor() as pool:  # each spends its time on its own imports
        rotated = pool.submit(cloud.rotate.invoke, message, timeout=PATIENCE)
        report = cloud.dispatch.invoke({}, timeout=PATIENCE)
    assert report
    assert rotated.result() == {"batchItemFailures": []}
    for reference in (ecr, plain):
        entry = cloud.entry(reference)
        assert entry is not None
        assert (entry.state, entry.version) == (State.OK, 1)
    assert manifest_status(cloud.stack, f"{HOST}/team/app:1", *cloud.login(plain)) == 200


def test_the_console_seals_a_cookie_with_a_key_from_vault(start: Callable[[str], Function]) -> None:
    answer = start("console").invoke(event("/sign-in"), timeout=PATIENCE)
    assert answer["statusCode"] == 200
    assert "<form" in answer["body"]
    assert any(cookie.startswith("__Host-regcred-sign-in=") for cookie in answer["cookies"])


def test_the_token_server_signs_a_token_for_a_projects_role(
    start: Callable[[str], Function], system: Stack
) -> None:
    function = start("token")
    status, login = mint(function, identity(system, PROJECT))
    assert status == 201
    scope = f"repository:{PROJECT}/app:pull"
    status, token = send(function, "/token", authorization=basic(login), service=SYSTEM_HOST, scope=scope)
    assert (status, token["scope"]) == (200, scope)
