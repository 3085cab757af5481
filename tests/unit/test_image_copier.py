"""The list of images for ``regcred system load``."""

import pytest

from regcred.errors import MalformedError
from regcred.wiring.cli.image_copier import CopyRequest, read_list


@pytest.fixture
def written(tmp_path):
    file = tmp_path / "images.yaml"

    def write(text):
        file.write_text(text, "utf-8")
        return file

    return write


def test_each_image_goes_to_the_community_unless_the_list_names_its_target(written):
    file = written("images:\n  - docker.io/library/nginx:1.29\n  - {source: ghcr.io/a/b:1, as: team/b:2}\n")
    assert read_list(file, "community") == [
        CopyRequest("docker.io/library/nginx:1.29", "community/nginx:1.29"),
        CopyRequest("ghcr.io/a/b:1", "team/b:2"),
    ]


def test_a_tag_that_looks_like_a_number_is_not_changed(written):
    file = written("images:\n  - {source: ghcr.io/a/b:1.10, as: b:1.10}\n")
    assert read_list(file, "community")[0].name == "b:1.10"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("images: [a/b:1]\nimages: [a/c:1]\n", "line 2: 'images' appears twice"),
        ("images:\n  - a/b:1\n  - {source: a/c:1, source: a/d:1}\n", "line 3: 'source' appears twice"),
        ("images:\n  - a/b:1\n  - a/c\n", "line 3: write an image with a tag"),
        ("images: [\n", "line 2"),
        ("- a/b:1\n", "images must be a list"),
        ("images: a/b:1\n", "images must be a list"),
        ("images: [a/b:1]\n---\nimages: [a/c:1]\n", "contains 2 documents"),
        ("", "images must be a list"),
        ("images: !!int x\n", "tag"),
    ],
)
def test_an_error_in_the_list_names_the_file_and_the_place(written, text, message):
    file = written(text)
    with pytest.raises(MalformedError) as caught:
        read_list(file, "community")
    assert str(caught.value).startswith(f"{file}: ")
    assert message in str(caught.value)


def test_a_list_that_is_not_text_is_refused(tmp_path):
    file = tmp_path / "images.yaml"
    file.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(MalformedError, match="is not UTF-8 text"):
        read_list(file, "community")
