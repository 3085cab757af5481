"""What a malformed reference does, and what counts as one."""

import random
import string

import pytest
import yaml
from helm import CHART
from real.admission.examples import ECR, MALFORMED
from real.controlplane import Cluster, inherited, label, pod, references, secret_names, workload

from regcred.cluster.annotations import ANNOTATED, REFERENCES, REQUEST_PREFIX
from regcred.errors import MalformedError
from regcred.reference import Reference

pytestmark = pytest.mark.real


def test_what_is_malformed_adds_nothing_beside_the_label_by_which_sync_can_say_so(
    cluster: Cluster, namespace: str
):
    wrong = {f"registry.regcred.dev/w{number}": value for number, value in enumerate(MALFORMED)}
    created = cluster.create(workload("Deployment", namespace, "malformed", own=wrong, template=wrong))
    assert references(created) is None
    assert inherited(created) is None
    assert label(created) == "true"
    made = cluster.create(pod(namespace, annotations=wrong))
    assert secret_names(made) == []


def test_what_is_malformed_does_not_hide_what_is_right(cluster: Cluster, namespace: str):
    mixed = {**ECR, "registry.regcred.dev/wrong": "a/b/c"}
    assert (
        references(cluster.create(workload("Deployment", namespace, "mixed", own=mixed)))
        == "payments/ecr-prod"
    )
    assert secret_names(cluster.create(pod(namespace, annotations=mixed))) == ["regcred.payments.ecr-prod"]


def test_the_policies_and_the_sync_agree_on_what_a_reference_is(cluster: Cluster, namespace: str):
    chance = random.Random(1)
    alphabet = string.ascii_lowercase[:3] + "0-/A._"
    texts = {"".join(chance.choices(alphabet, k=chance.randint(1, 8))) for _ in range(400)}
    texts |= {
        "".join(chance.choices("ab0-", k=3)) + "/" + "".join(chance.choices("ab0-", k=3)) for _ in range(100)
    }
    texts |= {f"{'a' * left}/{'b' * right}" for left in (62, 63, 64) for right in (62, 63, 64)} | set(
        MALFORMED
    )
    asked = {f"{REQUEST_PREFIX}k{number}": text for number, text in enumerate(sorted(texts))}
    right = sorted(text for text in texts if is_reference(text))
    assert len(right) > 20
    created = cluster.create(workload("Deployment", namespace, "agree", own=asked))
    assert references(created) == ",".join(right)
    assert secret_names(cluster.create(pod(namespace, annotations=asked))) == [
        Reference.parse(text).secret_name for text in right
    ]


def test_the_names_in_the_policies_are_those_of_the_sync():
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


def test_whoever_applies_a_malformed_reference_is_warned_at_once(cluster: Cluster, namespace: str):
    item = workload("Deployment", namespace, "warned", template={"registry.regcred.dev/ecr": "a/b/c"})
    said = cluster.kubernetes.kubectl("apply", "-f", "-", stdin=yaml.safe_dump(item)).stderr
    assert 'registry.regcred.dev/ecr: "a/b/c"' in said
    assert "<project>/<registry>" in said
