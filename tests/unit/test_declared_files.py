"""The files of a folder that 'regcred apply' reads. With '--prune', it removes the objects of others."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from regcred.cli.failures import BadInputError
from regcred.cli.text_input import read_text
from regcred.declare.files import paths
from regcred.errors import MissingError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "fleet"
    made.mkdir()
    (made / "a.yaml").touch()
    return made


def names(folder: Path) -> list[str]:
    return [str(path.relative_to(folder)) for path in paths(folder)]


def test_links_to_folders_are_followed_and_each_folder_is_read_once(folder, tmp_path):
    (tmp_path / "teams").mkdir()
    (tmp_path / "teams" / "b.yml").touch()
    (folder / "teams").symlink_to(tmp_path / "teams")
    (folder / "again").symlink_to(tmp_path / "teams")
    (folder / "loop").symlink_to(folder)
    assert names(folder) in (["a.yaml", "again/b.yml"], ["a.yaml", "teams/b.yml"])


def test_a_mounted_config_map_is_read(folder):
    (folder / "..2026_11_29").mkdir()
    (folder / "..2026_11_29" / "c.json").touch()
    (folder / "..data").symlink_to("..2026_11_29")
    (folder / "c.json").symlink_to("..data/c.json")
    assert names(folder) == ["a.yaml", "c.json"]


def test_a_file_whose_ending_is_in_capitals_is_read(folder):
    (folder / "B.YAML").touch()
    (folder / "c.yaml.orig").touch()
    assert names(folder) == ["B.YAML", "a.yaml"]


@pytest.mark.parametrize("name", ["teams", "b.yaml"])
def test_a_broken_link_is_an_error(folder, name):
    (folder / name).symlink_to("nowhere")
    with pytest.raises(MissingError, match=f"{name}: is a link to a file or folder that does not exist"):
        paths(folder)


def test_a_pipe_in_a_folder_is_an_error_and_is_not_opened(folder):
    os.mkfifo(folder / "b.yaml")
    with pytest.raises(MissingError, match=r"b\.yaml: is not a file"):
        paths(folder)


def test_a_folder_that_cannot_be_read_is_an_error(folder, monkeypatch):
    (folder / "teams").mkdir()
    listed = Path.iterdir

    def denied(path):
        if path.name == "teams":
            raise PermissionError(13, "Permission denied", str(path))
        return listed(path)

    monkeypatch.setattr(Path, "iterdir", denied)  # root may read every folder, so modes prove nothing
    with pytest.raises(MissingError, match="teams: can't be read: permission denied"):
        paths(folder)


def test_a_pipe_that_the_shell_names_is_read(tmp_path):
    reading, writing = os.pipe()
    os.write(writing, b"\xef\xbb\xbfa: 1\r\nb: 2\r\n")
    os.close(writing)
    (named,) = paths(Path(f"/dev/fd/{reading}"))
    assert read_text(str(named), maximum=100) == (f"/dev/fd/{reading}", "a: 1\nb: 2\n")
    os.close(reading)


def test_text_that_never_ends_is_an_error():
    with pytest.raises(BadInputError, match="/dev/zero: is larger than 1000 bytes"):
        read_text("/dev/zero", maximum=1000)
