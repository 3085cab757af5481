"""The scripts of the release workflow: they compare versions, take the notes from the changelog, and write
image digests to the charts."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from runpy import run_path
from typing import Any

import pytest
import yaml
from helm import CHART, render

ROOT = CHART.parents[3]
NOTES = run_path(str(ROOT / "infra/release/notes.py"))
PIN = run_path(str(ROOT / "infra/release/pin_images.py"))
IMAGES = {
    function: f"ghcr.io/example/regcred-{function}@sha256:{digit * 64}"
    for function, digit in (("sync", "a"), ("console", "b"), ("token", "c"))
}


def test_all_parts_have_the_same_version() -> None:
    versions: Callable[[], dict[str, set[str]]] = NOTES["versions"]
    found = versions()
    assert len(set().union(*found.values())) == 1, found
    assert all(found.values())


def test_the_notes_of_a_release_are_its_section_of_the_changelog() -> None:
    notes: Callable[[str, str], str] = NOTES["notes"]
    text = (
        "# Changelog\n\n## [Unreleased]\n\n- later\n\n## [1.2.0] - 2027-01-01\n\n- now\n\n## [1.1.0]\n\n- "
        "before\n"
    )
    assert notes(text, "1.2.0") == "- now\n"
    assert notes(text, "1.1.0") == "- before\n"
    for missing in ("1.3.0", "1.2"):
        with pytest.raises(ValueError, match="rename"):
            notes(text, missing)


def test_a_tag_that_differs_from_the_version_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    main: Callable[[str], int] = NOTES["main"]
    assert main("v99.0.0") == 1
    assert "Chart.yaml" in capsys.readouterr().err


@pytest.fixture
def charts(tmp_path: Path) -> Path:
    shutil.copytree(CHART.parent, tmp_path / "charts")
    return tmp_path / "charts"


def digests(folder: Path, **images: str) -> Path:
    folder.mkdir()
    for function, image in {**IMAGES, **images}.items():
        (folder / function).write_text(image + "\n")
    return folder


def test_a_released_chart_uses_images_by_digest(charts: Path, tmp_path: Path) -> None:
    """So `helm install` from the README needs no `image.repository`, and a moved tag changes nothing."""
    pin: Callable[..., None] = PIN["pin"]
    pin(digests(tmp_path / "digests"), charts)
    values = {"image.repository": IMAGES["sync"].partition("@")[0], "console.enabled": True}
    values |= {"console.url": "https://regcred.example.com"}
    objects = render(values, chart=charts / "regcred")
    used = {
        container["image"]
        for item in objects
        if item["kind"] == "Deployment"
        for container in item["spec"]["template"]["spec"]["containers"]
    }
    assert used == {IMAGES["sync"], IMAGES["console"]}
    registry: dict[str, Any] = yaml.safe_load((charts / "regcred-registry/values.yaml").read_text())
    image = registry["tokenServer"]["image"]
    assert f"{image['repository']}@{image['digest']}" == IMAGES["token"]
    assert registry["registry"]["image"]["digest"] == ""


@pytest.mark.parametrize("wrong", ["ghcr.io/example/regcred-console:1.0", "x@sha256:abc", ""])
def test_an_image_without_a_digest_is_refused(charts: Path, tmp_path: Path, wrong: str) -> None:
    pin: Callable[..., None] = PIN["pin"]
    with pytest.raises(ValueError, match="sha256"):
        pin(digests(tmp_path / "digests", console=wrong), charts)


def test_two_builds_of_the_package_are_identical(tmp_path: Path) -> None:
    environment = {**os.environ, "SOURCE_DATE_EPOCH": "1795521600"}
    found = []
    for name in ("first", "second"):
        command = [Path(sys.executable).parent / "uv", "build", "--quiet", "--out-dir", tmp_path / name, ROOT]
        subprocess.run(command, check=True, env=environment, cwd=tmp_path)
        found.append({path.name: path.read_bytes() for path in (tmp_path / name).glob("regcred-*")})
    assert len(found[0]) == 2, "a wheel and a source distribution"
    assert found[0] == found[1]
