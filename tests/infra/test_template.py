"""template.yaml and infra/aws: linters, scanners and the build by SAM."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from sam import ROOT, Sam

LAYER_MAX = 32_000_000
"""The maximum size of the zipped layer of third-party packages, in bytes."""


def test_sam_accepts_the_template(sam: Sam) -> None:
    result = sam("validate", "--lint", "--template", ROOT / "template.yaml")
    assert result.returncode == 0, result.stdout + result.stderr


def test_the_guides_parameter_for_a_private_ca_survives_sams_parser(
    sam_program: Path, tmp_path: Path
) -> None:
    """SAM's parser of parameters splits unquoted values at spaces."""
    written = re.search(r'`("VaultCaCertificate=.*?)`', (ROOT / "docs/deploy.md").read_text())
    assert written
    pem = "-----BEGIN CERTIFICATE-----\nMIIC/zCCAeegAwIBAgI=\n-----END CERTIFICATE-----"
    (tmp_path / "ca.pem").write_text(f"{pem}\n")
    read = (
        "import sys; from samcli.cli.types import CfnParameterOverridesType as Parameters; "
        "print(Parameters().convert((sys.argv[1],), None, None)['VaultCaCertificate'])"
    )
    command = f'{sam_program.with_name("python")} -c "$READ" {written[1]}'
    done = subprocess.run(
        ["bash", "-c", command],
        cwd=tmp_path,
        env={"PATH": os.environ["PATH"], "READ": read},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.rstrip("\n") == pem, done.stderr


@pytest.mark.parametrize(
    "name", ["template.yaml", "infra/aws/project-role.yaml", "infra/aws/ecr-pull-role.yaml"]
)
def test_cfn_lint_accepts_the_templates(name: str) -> None:
    linter = Path(sys.executable).with_name("cfn-lint")
    result = subprocess.run(
        [linter, "--include-checks", "I", "--", ROOT / name], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stdout


def test_checkov_accepts_the_templates(checkov_program: Path) -> None:
    files = ["template.yaml", "infra/aws/project-role.yaml", "infra/aws/ecr-pull-role.yaml"]
    command = [checkov_program, "--framework", "cloudformation", "--output", "json", "--quiet", "-f", *files]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    report = json.loads(result.stdout)
    failed = [f"{check['check_id']} {check['resource']}" for check in report["results"]["failed_checks"]]
    assert failed == []
    assert report["summary"]["passed"] > 30


def zipped(folder: Path) -> int:
    """The size of a layer as SAM packages it."""
    archive = Path(shutil.make_archive(str(folder.parent / f"{folder.name}-layer"), "zip", folder))
    size = archive.stat().st_size
    archive.unlink()
    return size


def test_the_layers_are_for_arm64_and_the_python_of_lambda(built: Path) -> None:
    extensions = [path.name for path in (built / "DepsLayer").rglob("*.so")]
    assert extensions
    assert all("aarch64" in name or "abi3" in name for name in extensions)
    assert (built / "CoreLayer/python/regcred/rotate/rotate_project.py").exists()
    assert not list((built / "CoreLayer").rglob("tests"))
    assert not [path for path in built.rglob("*.pyc") if "cpython-313" not in path.name]


def test_the_layers_contain_bytecode(built: Path) -> None:
    assert (built / "CoreLayer/python/regcred/rotate/__pycache__/rotate_project.cpython-313.pyc").exists()
    assert (built / "DepsLayer/python/boto3/__pycache__/session.cpython-313.pyc").exists()


def test_the_packages_of_the_console_are_in_the_web_layer_only(built: Path) -> None:
    assert (built / "WebLayer/python/starlette/__pycache__/routing.cpython-313.pyc").exists()
    assert not (built / "DepsLayer/python/starlette").exists()
    assert (built / "CoreLayer/python/regcred/console/templates/overview.html").exists()
    assert (built / "CoreLayer/python/regcred/console/static/app.css").exists()


def test_the_packages_of_the_token_server_are_in_the_layers(built: Path) -> None:
    for package in ("starlette", "mangum", "jwt", "cryptography", "anyio"):
        assert (built / f"WebLayer/python/{package}/__pycache__/__init__.cpython-313.pyc").exists(), package
    assert (built / "CoreLayer/python/regcred/token/__pycache__/web.cpython-313.pyc").exists()


def test_the_layer_of_all_vendors_stays_small(built: Path) -> None:
    size = zipped(built / "DepsLayer")
    print(f"deps layer, all vendors: {size / 1e6:.1f} MB zipped")
    assert size <= LAYER_MAX


def test_the_layer_for_aws_alone_is_smaller(sam: Sam, tmp_path: Path) -> None:
    result = sam(
        "build",
        "DepsLayer",
        "--build-dir",
        tmp_path / "build",
        "--cache-dir",
        tmp_path,
        REGCRED_VENDORS="aws",
    )
    assert result.returncode == 0, result.stdout + result.stderr
    size = zipped(tmp_path / "build/DepsLayer")
    print(f"deps layer, AWS alone: {size / 1e6:.1f} MB zipped")
    assert size < LAYER_MAX * 0.8
    assert not (tmp_path / "build/DepsLayer/python/azure").exists()


def test_each_function_contains_its_handler_only(built: Path) -> None:
    for name in ("Dispatch", "Rotate", "ConsoleFunction", "TokenFunction"):
        assert [path.name for path in (built / name).iterdir()] == ["app.py"]
