"""The alerts and the dashboard use metrics that exist, in valid PromQL."""

import json
import re

import promql_parser
import pytest
import yaml
from helm import CHART, render

from regcred.wiring.sync.metrics import COUNTERS, GAUGES, HISTOGRAMS, PREFIX

FILES = CHART / "files" / "monitoring"
RUNBOOK = CHART.parents[3] / "docs/alarms.md"
API_SERVER = {
    "apiserver_mutating_admission_policy_check_total",
    "apiserver_mutating_admission_policy_check_duration_seconds_bucket",
}
"""The real API server's metrics, which tests/real/admission checks."""


def rules() -> list[dict]:
    (group,) = yaml.safe_load((FILES / "alerts.yaml").read_text())["groups"]
    return group["rules"]


def dashboard_queries() -> list[str]:
    board = json.loads((FILES / "dashboard.json").read_text())
    return [
        target["expr"].replace("$__rate_interval", "5m")
        for panel in board["panels"]
        for target in panel["targets"]
    ]


def known_labels() -> dict[str, set[str]]:
    known = {
        PREFIX + name: set(labels) for about in (GAUGES, COUNTERS) for name, (_, labels) in about.items()
    }
    for name, (_, labels) in HISTOGRAMS.items():
        known |= {f"{PREFIX}{name}_{part}": {*labels, "le"} for part in ("bucket", "count", "sum")}
    return known | {name: {"policy", "error_type", "le"} for name in API_SERVER}


@pytest.mark.parametrize("expression", [*(rule["expr"] for rule in rules()), *dashboard_queries()])
def test_each_query_parses_and_uses_existing_metrics_and_labels(expression: str):
    promql_parser.parse(expression)
    names = set(re.findall(r"\b(?:regcred|apiserver)_[a-z_]+", expression))
    assert names <= known_labels().keys()
    wanted = {
        label.strip() for found in re.findall(r"by \(([^)]*)\)", expression) for label in found.split(",")
    }
    wanted |= set(re.findall(r"([a-z_]+)[!=]~?\"", expression))
    assert wanted <= set().union(*(known_labels()[name] for name in names))


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: rule["alert"])
def test_each_alert_has_a_summary_a_description_and_a_runbook(rule: dict):
    assert rule["labels"]["severity"] in {"warning", "critical"}
    assert set(rule["annotations"]) == {"summary", "description", "runbook_url"}
    used = set(re.findall(r"\$labels\.([a-z_]+)", str(rule["annotations"])))
    kept = {
        label.strip() for found in re.findall(r"by \(([^)]*)\)", rule["expr"]) for label in found.split(",")
    }
    assert used <= kept, "a label that the query drops would be empty in the text"


def test_each_alarm_links_to_its_section_of_the_runbook():
    page = set(re.findall(r"^### (\S+)$", RUNBOOK.read_text(), re.MULTILINE))
    assert {rule["annotations"]["runbook_url"]: rule["alert"] for rule in rules()} == {
        f"docs/alarms.md#{rule['alert'].lower()}": rule["alert"] for rule in rules()
    }
    template = (RUNBOOK.parents[1] / "template.yaml").read_text()
    alarms = re.findall(
        r"AlarmName: !Sub \$\{Name\}-([a-z-]+)\n +AlarmDescription: >-\n((?: {8}\S.*\n)+)", template
    )
    assert len(alarms) == template.count("AWS::CloudWatch::Alarm")
    for name, description in alarms:
        assert " ".join(description.split()).endswith(f" See docs/alarms.md#{name}")
    assert page == {rule["alert"] for rule in rules()} | {name for name, _ in alarms}


def test_a_value_sets_the_address_of_the_runbook():
    values = {
        "metrics.prometheusRule.enabled": True,
        "metrics.prometheusRule.runbook": "https://wiki.example.com/regcred",
    }
    (rule,) = [item for item in render(values) if item["kind"] == "PrometheusRule"]
    links = [found["annotations"]["runbook_url"] for found in rule["spec"]["groups"][0]["rules"]]
    assert links == [f"https://wiki.example.com/regcred#{found['alert'].lower()}" for found in rules()]


def test_the_chart_contains_the_alerts_with_the_clusters_name_and_the_dashboard():
    on = {f"metrics.{part}.enabled": True for part in ("serviceMonitor", "prometheusRule", "dashboard")}
    objects = {item["kind"]: item for item in render(on)}
    alerts = (FILES / "alerts.yaml").read_text()
    for placeholder in ("--cluster C ", "confirm-removals C"):
        alerts = alerts.replace(placeholder, placeholder.replace("C", "test"))
    assert objects["PrometheusRule"]["spec"] == yaml.safe_load(alerts)
    assert objects["ConfigMap"]["data"]["regcred.json"] == (FILES / "dashboard.json").read_text()
    assert (
        objects["ServiceMonitor"]["spec"]["selector"]["matchLabels"].items()
        <= objects["Service"]["metadata"]["labels"].items()
    )


def test_the_panels_do_not_overlap():
    taken: set[tuple[int, int]] = set()
    for panel in json.loads((FILES / "dashboard.json").read_text())["panels"]:
        at = panel["gridPos"]
        cells = {(at["x"] + x, at["y"] + y) for x in range(at["w"]) for y in range(at["h"])}
        assert not taken & cells
        assert at["x"] + at["w"] <= 24
        taken |= cells


def test_the_commands_in_alerts_name_the_cluster():
    objects = render({"cluster": "c-7", "metrics.prometheusRule.enabled": True})
    (rule,) = (obj for obj in objects if obj["kind"] == "PrometheusRule")
    text = " ".join(entry["annotations"]["description"] for entry in rule["spec"]["groups"][0]["rules"])
    assert "regcred sync --cluster c-7 --dry-run" in text
    assert "regcred cluster confirm-removals c-7" in text
    assert text.count("regcred sync ") == text.count("regcred sync --cluster c-7 ")
