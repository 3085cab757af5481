"""What admission does with malformed references, and which references are malformed."""

import random
import re
import string
from typing import Any

import pytest
import yaml
from helm import CHART
from real.admission.examples import ECR, MALFORMED
from real.controlplane import Cluster, inherited, label, pod, references, secret_names, workload

from regcred.cluster.annotations import ANNOTATED, KEYS_MAX, REFERENCES, REQUEST_PREFIX, requested
from regcred.errors import MalformedError
from regcred.registry_reference import Reference

pytestmark = pytest.mark.real


def test_a_malformed_reference_adds_only_the_label_by_which_sync_finds_the_workload(
    cluster: Cluster, namespace: str
):
    wrong = {f"registry.regcred.dev/w{number}": value for number, value in enumerate(MALFORMED)}
    created = cluster.create(workload("Deployment", namespace, "malformed", own=wrong, template=wrong))
    assert references(created) is None
    assert inherited(created) is None
    assert label(created) == "true"
    made = cluster.create(pod(namespace, annotations=wrong))
    assert secret_names(made) == []


def test_a_malformed_reference_does_not_hide_a_valid_one(cluster: Cluster, namespace: str):
    mixed = {**ECR, "registry.regcred.dev/wrong": "a/b/c"}
    assert (
        references(cluster.create(workload("Deployment", namespace, "mixed", own=mixed)))
        == "payments/ecr-prod"
    )
    assert secret_names(cluster.create(pod(namespace, annotations=mixed))) == ["regcred.payments.ecr-prod"]


def test_the_policies_and_sync_accept_the_same_references(cluster: Cluster, namespace: str):
    chance = random.Random(1)
    alphabet = string.ascii_lowercase[:3] + "0-/A._"
    texts = {"".join(chance.choices(alphabet, k=chance.randint(1, 8))) for _ in range(400)}
    texts |= {
        "".join(chance.choices("ab0-", k=3)) + "/" + "".join(chance.choices("ab0-", k=3)) for _ in range(100)
    }
    texts |= {f"{'a' * left}/{'b' * right}" for left in (62, 63, 64) for right in (62, 63, 64)} | set(
        MALFORMED
    )
    ordered = sorted(texts)
    assert sum(map(is_reference, ordered)) > 20
    for start in range(0, len(ordered), KEYS_MAX):
        some = ordered[start : start + KEYS_MAX]
        right = [text for text in some if is_reference(text)]
        annotations = {f"{REQUEST_PREFIX}k{number}": text for number, text in enumerate(some)}
        created = cluster.create(workload("Deployment", namespace, f"agree-{start}", own=annotations))
        assert references(created) == (",".join(right) or None)
        assert secret_names(cluster.create(pod(namespace, annotations=annotations))) == [
            Reference.parse(text).secret_name for text in right
        ]


def test_the_policies_use_the_same_names_as_sync():
    text = "".join(path.read_text() for path in (CHART / "files" / "admission").iterdir())
    assert f"'{REQUEST_PREFIX}'" in text
    assert f"'{REFERENCES}'" in text
    assert f"'{ANNOTATED}'" in text


def is_reference(text: str) -> bool:
    try:
        Reference.parse(text)
    except MalformedError:
        return False
    return True


def test_a_user_who_applies_a_malformed_reference_gets_a_warning(cluster: Cluster, namespace: str):
    item = workload("Deployment", namespace, "warned", template={"registry.regcred.dev/ecr": "a/b/c"})
    shown = cluster.kubernetes.kubectl("apply", "-f", "-", stdin=yaml.safe_dump(item)).stderr
    assert 'registry.regcred.dev/ecr: "a/b/c"' in shown
    assert "<project>/<registry>" in shown


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ("payments/ecr\n", "(has U+000A LINE FEED, which is not a-z"),
        ("payments/ecr\t", "(has U+0009 TAB, "),
        ("payments/ecr\u00a0", "(has U+00A0 NO-BREAK SPACE, "),
        ("p\u0430yments/ecr", "(has U+0430 CYRILLIC SMALL LETTER A, "),
        ("payments/e\u200bcr", "(has U+200B ZERO WIDTH SPACE, "),
        ("payments\u2215ecr", "(has U+2215 DIVISION SLASH, "),
        ("payments/ecr\u2011prod", "(has U+2011 NON-BREAKING HYPHEN, "),
        ("payments/\u0451cr", "(has U+0451, "),
        ("payments/\u0f00", "(has U+0F00, "),
        ("payments/\U0001f433", "(has U+1F433, "),
        ("payments/\U0010fffd", "(has U+10FFFD, "),
        ("x" * 200_000, "(200000 characters, at most 127 are allowed)"),
        ("Payments/ecr", 'registry.regcred.dev/ecr: "Payments/ecr"'),
    ],
)
def test_a_warning_names_the_problem_of_any_value(cluster: Cluster, namespace: str, value: str, problem: str):
    item = workload("Deployment", namespace, "named", own={"registry.regcred.dev/ecr": value})
    shown = warnings(cluster, item)
    assert "Regcred ignores malformed annotations: registry.regcred.dev/ecr" in shown
    assert problem in shown


def test_a_warning_and_sync_use_the_same_name_for_a_character() -> None:
    """Sync's Event and ``regcred explain`` use each name that is in the policy."""
    policy = yaml.safe_load((CHART / "files" / "admission" / "warnings.yaml").read_text())
    (table,) = (v["expression"] for v in policy["spec"]["variables"] if v["name"] == "names")
    named = re.findall(r"(\d+): '([^']+)'", table)
    assert len(named) > 20
    for code, name in named:
        (line,) = requested({f"{REQUEST_PREFIX}x": f"payments/e{chr(int(code))}cr"}).malformed
        assert f"U+{int(code):04X} {name};" in line


@pytest.mark.parametrize("value", ["x" * 120, "x" * 110 + "\U0010fffd"])
def test_many_wrong_annotations_give_one_warning_that_names_some(
    cluster: Cluster, namespace: str, value: str
):
    wrong = {f"registry.regcred.dev/{number:03}{'k' * 60}": value for number in range(60)}
    shown = warnings(cluster, workload("Deployment", namespace, "many", own=wrong))
    assert "and 52 more annotations; write <project>/<registry>" in shown


def warnings(cluster: Cluster, item: dict[str, Any]) -> str:
    """The warnings that kubectl prints when a user creates an object."""
    return cluster.kubernetes.kubectl(
        "create", "-f", "-", "--dry-run=server", stdin=yaml.safe_dump(item)
    ).stderr


@pytest.mark.parametrize("number", [65, 400, 7000])
def test_the_policies_and_sync_use_the_same_first_64_of_too_many_keys(
    cluster: Cluster, namespace: str, number: int
):
    many = {f"{REQUEST_PREFIX}k{n:05}": f"t/r{n:05}" for n in range(number)}
    found = requested(many)
    assert len(found.references) == KEYS_MAX
    expected = [str(reference) for reference in found.references]
    names = [reference.secret_name for reference in found.references]
    made = cluster.create(workload("Deployment", namespace, f"many-{number}", own=many))
    assert label(made) == "true"
    assert references(made) == ",".join(expected)
    assert inherited(made) == ",".join(expected)
    by_template = workload("Deployment", namespace, f"template-{number}", template=many)
    assert "only the first 64 annotations" in warnings(cluster, by_template)
    assert references(cluster.create(by_template)) == ",".join(expected)
    assert secret_names(cluster.create(pod(namespace, annotations=many))) == names
    handed_down = {"regcred.dev/inherited": ",".join(many.values())}
    assert secret_names(cluster.create(pod(namespace, annotations=handed_down))) == names


def test_many_keys_of_a_workload_and_of_its_template_count_together(cluster: Cluster, namespace: str):
    own = {f"{REQUEST_PREFIX}k{n:05}": f"t/b{n:05}" for n in range(4000)}
    template = {f"{REQUEST_PREFIX}k{n:05}": f"t/a{n:05}" for n in range(40)}
    made = cluster.create(workload("Deployment", namespace, "both", own=own, template=template))
    whole = requested(own, template)
    assert references(made) == ",".join(map(str, whole.references))
    annotations = made["spec"]["template"]["metadata"]["annotations"]
    assert secret_names(cluster.create(pod(namespace, annotations=annotations))) == [
        reference.secret_name for reference in whole.references
    ]
