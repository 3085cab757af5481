"""Image names, keys of pull credentials, and the normal form of a registry's host.

tests/contract/registry/test_kubelet_matching.py compares the same rules with the kubelet's own code.
"""

from __future__ import annotations

import pytest

from regcred import image_name
from regcred.image_name import ImageName


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("alpine", ImageName("docker.io", "library/alpine")),
        ("alpine:3", ImageName("docker.io", "library/alpine", "3")),
        ("docker.io/alpine", ImageName("docker.io", "library/alpine")),
        ("index.docker.io/alpine", ImageName("docker.io", "library/alpine")),
        ("registry-1.docker.io/team/app", ImageName("registry-1.docker.io", "team/app")),
        ("team/app@sha256:0", ImageName("docker.io", "team/app", "", "sha256:0")),
        ("localhost/app", ImageName("localhost", "app")),
        ("Team/app", ImageName("Team", "app")),
        ("r.io:5000/a/b:1@sha256:0", ImageName("r.io:5000", "a/b", "1", "sha256:0")),
        ("[2001:db8::1]:5000/app:1", ImageName("[2001:db8::1]:5000", "app", "1")),
        ("index.docker.io/alpine@sha256:0", ImageName("docker.io", "library/alpine", "", "sha256:0")),
        ("index.docker.io/team/app", ImageName("docker.io", "team/app")),
        ("r.io:5000/a/b@sha256:0", ImageName("r.io:5000", "a/b", "", "sha256:0")),
        ("", ImageName("docker.io", "library/")),
    ],
)
def test_an_image_name_is_parsed_as_in_container_runtimes(text: str, name: ImageName) -> None:
    assert image_name.parse(text) == name


@pytest.mark.parametrize(
    ("key", "image", "served"),
    [
        ("docker.io", "alpine", True),
        ("https://index.docker.io/v1/", "alpine", True),
        ("index.docker.io", "docker.io/team/app", True),
        ("index.docker.io/team/", "team/app", False),
        ("docker.io/library/", "alpine", True),
        ("docker.io/team/", "alpine", False),
        ("registry-1.docker.io", "alpine", False),
        ("r.io", "R.io/app", False),
        ("r.io:443", "r.io/app", False),
        ("http://r.io/", "r.io/app", True),
        ("r.io/v2/team/", "r.io/team/app", True),
        ("[2001:db8::1]:5000", "[2001:db8::1]:5000/app", True),
        ("[2001:db8::1]", "[2001:db8::1]/app", False),
        ("[2001:db8::1]", "[2001:db8::1]:5000/app", False),
        ("[2001:db8::2]:5000", "[2001:db8::1]:5000/app", False),
        ("index.docker.io", "docker.io/alpine", True),
        ("https://index.docker.io/v2/", "team/app", True),
        ("docker.io", "r.io/app", False),
        ("docker.io/library/alpine", "alpine:3", True),
        ("docker.io/library/", "docker.io/alpine", True),
        ("index.docker.io/team", "team/app", False),
        ("r.io", "r.io/team/app", True),
        ("r.io/", "r.io/app", True),
        ("r.io", "r.io:5000/app", False),
        ("R.io", "r.io/app", False),
        ("r.io/team/", "r.io/team/app", True),
        ("r.io/team/", "r.io/team2/app", False),
        ("r.io/team/app:1", "r.io/team/app:1", False),
        (
            "*.dkr.ecr.eu-central-1.amazonaws.com",
            "123456789012.dkr.ecr.eu-central-1.amazonaws.com/app",
            True,
        ),
        ("*.r.io", "a.b.r.io/app", False),
    ],
)
def test_a_key_matches_the_images_that_the_kubelet_tries_it_for(
    key: str, image: str, *, served: bool
) -> None:
    assert image_name.is_key_for(key, image) is served


def test_the_longest_path_is_tried_first_and_docker_hubs_default_key_only_if_no_other_matches() -> None:
    keys = ["https://index.docker.io/v1/", "docker.io", "docker.io/team/"]
    assert image_name.matching_keys(keys, "team/app") == ["docker.io/team/", "docker.io"]
    assert image_name.matching_keys(keys[:1], "team/app") == keys[:1]


@pytest.mark.parametrize(
    ("typed", "same"),
    [
        ("Registry.Example.com", "registry.example.com"),
        ("https://registry.example.com/", "registry.example.com"),
        ("registry.example.com:443", "registry.example.com"),
        ("registry.example.com.", "registry.example.com"),
        ("registry.example.com.:443", "registry.example.com"),
        ("registry.example.com:5000/v2/", "registry.example.com:5000"),
        ("https://index.docker.io/v1/", "docker.io"),
        ("REGISTRY-1.docker.io:443", "docker.io"),
        ("[2001:DB8:0:0::1]:5000", "[2001:db8::1]:5000"),
        ("2001:db8::1", "[2001:db8::1]"),
        ("[2001:db8::1]:443", "[2001:db8::1]"),
    ],
)
def test_all_forms_of_a_registrys_host_have_one_normal_form(typed: str, same: str) -> None:
    assert image_name.normal_host(typed) == same
    assert image_name.normal_host(same) == same


@pytest.mark.parametrize(
    "other", ["registry.example.com:5000", "example.com", "registry.example.com.evil.net"]
)
def test_another_registry_has_another_normal_form(other: str) -> None:
    assert image_name.normal_host(other) != image_name.normal_host("registry.example.com")
