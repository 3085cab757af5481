"""The template, translated by SAM's own translator and deployed to moto's CloudFormation."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import boto3
import pytest
import yaml
from bench.cost import ALARM_METRICS, METRICS
from infra.deployment import (
    REGION,
    ROOT,
    VAULT,
    _document,
    deploy,
    fake_account,
    translated,
)

from realparts.aws_policy import allowed, pinned

pytestmark = pytest.mark.filterwarnings("ignore:Tried to parse")
"""moto's CloudFormation ignores the resources that it does not support; cfn-lint checks those."""


@pytest.fixture(scope="module")
def aws() -> Iterator[boto3.Session]:
    with fake_account() as session:
        yield session


@pytest.fixture(scope="module")
def outputs(aws: boto3.Session) -> dict[str, str]:
    """The outputs of the created stack."""
    return deploy(aws)


def test_the_roles_have_the_names_that_vault_binds(outputs: dict[str, str]) -> None:
    assert outputs["DispatchRoleArn"].endswith(":role/regcred-dispatch")
    assert outputs["RotateRoleArn"].endswith(":role/regcred-rotate")


def test_the_queue_is_fifo_and_moves_failed_messages_to_the_dead_letter_queue(
    aws: boto3.Session, outputs: dict[str, str]
) -> None:
    attributes = aws.client("sqs").get_queue_attributes(QueueUrl=outputs["QueueUrl"], AttributeNames=["All"])[
        "Attributes"
    ]
    assert attributes["FifoQueue"] == "true"
    assert json.loads(attributes["RedrivePolicy"])["maxReceiveCount"] in (3, "3")
    function = aws.client("lambda").get_function_configuration(FunctionName="regcred-rotate")
    assert int(attributes["VisibilityTimeout"]) >= 6 * function["Timeout"]


def test_each_function_reads_each_variable_that_the_template_sets(
    aws: boto3.Session, outputs: dict[str, str]
) -> None:
    from regcred.settings import DispatchSettings, RotateSettings

    for name, model in (("dispatch", DispatchSettings), ("rotate", RotateSettings)):
        function = aws.client("lambda").get_function_configuration(FunctionName=f"regcred-{name}")
        environment = function["Environment"]["Variables"]
        settings = model.load(environment)
        assert (settings.vault_addr, settings.vault_role, settings.vault_audience) == (VAULT, name, "vault")
        known = {f"REGCRED_{field.upper()}" for field in model.model_fields}
        assert {key for key in environment if key.startswith("REGCRED_")} <= known
        assert function["Runtime"] == "python3.13"


@pytest.fixture(scope="module")
def web(aws: boto3.Session) -> dict[str, str]:
    """The outputs of a stack with the token server."""
    return deploy(aws, Name="web", Token="enabled", VaultAudience="vault", VaultNamespace="team/eu")


def test_the_stack_has_a_token_server_only_if_it_is_enabled(
    aws: boto3.Session, outputs: dict[str, str], web: dict[str, str]
) -> None:
    from regcred.settings import TokenServerSettings

    names = {item["FunctionName"] for item in aws.client("lambda").list_functions()["Functions"]}
    assert {"regcred-dispatch", "web-dispatch", "web-token"} <= names
    assert "regcred-token" not in names
    assert "TokenRoleArn" not in outputs
    assert web["TokenRoleArn"].endswith(":role/web-token")
    function = aws.client("lambda").get_function_configuration(FunctionName="web-token")
    environment = function["Environment"]["Variables"]
    settings = TokenServerSettings.load(environment)
    assert (settings.vault_addr, settings.vault_role, settings.vault_audience) == (VAULT, "token", "vault")
    known = {f"REGCRED_{field.upper()}" for field in TokenServerSettings.model_fields}
    assert {key for key in environment if key.startswith("REGCRED_")} <= known
    assert (function["Runtime"], function["Role"]) == ("python3.13", web["TokenRoleArn"])


def test_each_function_uses_the_vault_namespace_of_the_stack(
    aws: boto3.Session, outputs: dict[str, str], web: dict[str, str]
) -> None:
    def namespace(function: str) -> str:
        found = aws.client("lambda").get_function_configuration(FunctionName=function)
        return str(found["Environment"]["Variables"]["REGCRED_VAULT_NAMESPACE"])

    assert outputs
    assert web
    assert {namespace(f"web-{name}") for name in ("dispatch", "rotate", "token")} == {"team/eu"}
    assert {namespace(f"regcred-{name}") for name in ("dispatch", "rotate")} == {""}


def test_the_token_server_may_only_sign_in_to_vault_and_write_its_log(
    aws: boto3.Session, web: dict[str, str]
) -> None:
    (policy,) = policies_of(aws, "web-token")

    def may(action: str, resource: str, context: dict[str, str] | None = None) -> bool:
        return allowed([policy], action, resource, context or {})

    log = f"arn:aws:logs:{REGION}:123456789012:log-group:/aws/lambda/web"
    assert may("logs:PutLogEvents", f"{log}-token:log-stream:x")
    assert not may("logs:PutLogEvents", f"{log}-rotate:log-stream:x")
    vault = {"sts:IdentityTokenAudience": "vault", "sts:DurationSeconds": "300"}
    assert may("sts:GetWebIdentityToken", "*", vault)
    assert not may(
        "sts:GetWebIdentityToken", "*", vault | {"sts:IdentityTokenAudience": "https://x.example.com"}
    )
    assert not may("sts:GetWebIdentityToken", "*", vault | {"sts:DurationSeconds": "3600"})
    actions = {action for statement in policy["Statement"] for action in _listed(statement["Action"])}
    assert actions == {"logs:CreateLogStream", "logs:PutLogEvents", "sts:GetWebIdentityToken"}


def _listed(value: Any) -> list[str]:
    return [value] if isinstance(value, str) else list(value)


def test_anyone_may_call_the_token_server_by_its_url_only() -> None:
    """Since October 2025, a function URL needs both permissions
    (https://docs.aws.amazon.com/lambda/latest/dg/urls-auth.html)."""
    resources = translated()["Resources"].values()
    permissions = [
        item["Properties"]
        for item in resources
        if item["Type"] == "AWS::Lambda::Permission"
        and item["Properties"]["FunctionName"] == {"Ref": "TokenFunction"}
    ]
    by_url = {
        "lambda:InvokeFunctionUrl": ("FunctionUrlAuthType", "NONE"),
        "lambda:InvokeFunction": ("InvokedViaFunctionUrl", True),
    }
    assert {item["Action"] for item in permissions} == set(by_url)
    for item in permissions:
        name, value = by_url[item["Action"]]
        assert item[name] == value


def test_functions_and_layers_are_for_arm64() -> None:
    resources = translated()["Resources"].values()
    functions = [item["Properties"] for item in resources if item["Type"] == "AWS::Lambda::Function"]
    layers = [item["Properties"] for item in resources if item["Type"] == "AWS::Lambda::LayerVersion"]
    assert {tuple(function["Architectures"]) for function in functions} == {("arm64",)}
    assert {tuple(layer["CompatibleArchitectures"]) for layer in layers} == {("arm64",)}


def test_the_lease_outlives_the_function(aws: boto3.Session, outputs: dict[str, str]) -> None:
    from regcred.settings import RotateSettings

    function = aws.client("lambda").get_function_configuration(FunctionName="regcred-rotate")
    lease = RotateSettings.load(function["Environment"]["Variables"]).lease_seconds
    assert lease >= 2 * function["Timeout"]


def test_the_schedule_passes_the_scheduled_time(outputs: dict[str, str]) -> None:
    resources = translated()["Resources"].values()
    schedule = next(item["Properties"] for item in resources if item["Type"] == "AWS::Scheduler::Schedule")
    assert json.loads(schedule["Target"]["Input"]) == {"time": "<aws.scheduler.scheduled-time>"}
    assert schedule["FlexibleTimeWindow"] == {"Mode": "OFF"}


def test_the_event_source_reports_partial_failures_and_limits_concurrency() -> None:
    resources = translated()["Resources"].values()
    source = next(
        item["Properties"] for item in resources if item["Type"] == "AWS::Lambda::EventSourceMapping"
    )
    assert source["FunctionResponseTypes"] == ["ReportBatchItemFailures"]
    assert source["ScalingConfig"] == {"MaximumConcurrency": {"Ref": "MaximumConcurrency"}}


def alarms() -> dict[str, dict[str, Any]]:
    resources = translated()["Resources"].items()
    return {key: item["Properties"] for key, item in resources if item["Type"] == "AWS::CloudWatch::Alarm"}


def test_alarms_use_the_metrics_of_their_own_installation_only() -> None:
    """An account can have several installations with different names. A sweep of one must not silence the
    alarm of another."""
    text = json.dumps(list(alarms().values()))
    services = re.findall(r'"Name": "service", "Value": (\S+ \S+?\})', text)
    assert len(services) > 6
    assert set(services) == {'{"Ref": "Dispatch"}', '{"Ref": "Rotate"}'}
    body = translated()["Resources"]["Dashboard"]["Properties"]["DashboardBody"]["Fn::Sub"]
    assert set(re.findall(r'"service", "(.*?)"', body)) == {"${Dispatch}"}


def test_alarms_use_metrics_that_the_functions_emit() -> None:
    sources = [(ROOT / f"functions/{name}/app.py").read_text() for name in ("dispatch", "rotate")]
    emitted = set(re.findall(r'add_metric\(\s*"(\w+)"', "".join(sources)))
    text = json.dumps(list(alarms().values()))
    used = set(re.findall(r'"MetricName": "(\w+)"', text))
    assert used - emitted == {"ApproximateNumberOfMessagesVisible", "Throttles"}


def test_the_cost_estimate_counts_the_existing_metrics() -> None:
    texts = [(ROOT / f"functions/{name}/app.py").read_text() for name in ("dispatch", "rotate")]
    assert sum(len(set(re.findall(r'add_metric\(\s*"(\w+)"', text))) for text in texts) == METRICS
    assert json.dumps(list(alarms().values())).count('"MetricName"') == ALARM_METRICS


def test_one_failed_delivery_does_not_raise_the_alarm_that_nothing_was_rotated() -> None:
    """A failed message is invisible for six minutes. A single period of an hour would count its first
    minutes as the whole hour."""
    alarm = alarms()["NothingRotated"]
    periods = {metric["MetricStat"]["Period"] for metric in alarm["Metrics"] if "MetricStat" in metric}
    assert alarm["EvaluationPeriods"] > 1
    assert {alarm["EvaluationPeriods"] * period for period in periods} == {3600}


def test_the_functions_use_a_certificate_bundle_from_the_users_layer(
    aws: boto3.Session,
) -> None:
    """REQUESTS_CA_BUNDLE is the remedy that the error about a registry with a private CA names."""
    layer = f"arn:aws:lambda:{REGION}:123456789012:layer:certificates:3"
    deploy(aws, Name="private", CaBundleLayerArn=layer, CaBundle="/opt/all.pem")
    for name in ("dispatch", "rotate"):
        function = aws.client("lambda").get_function_configuration(FunctionName=f"private-{name}")
        assert function["Environment"]["Variables"]["REQUESTS_CA_BUNDLE"] == "/opt/all.pem"
    functions = [i for i in translated()["Resources"].values() if i["Type"] == "AWS::Lambda::Function"]
    for item in functions:
        without = _layers(item, set())
        assert _layers(item, {"HasCaBundleLayer"}) == [*without, "CaBundleLayerArn"]


def _layers(function: dict[str, Any], true: set[str]) -> list[str]:
    """The layers of a function under these conditions. moto does not return them."""
    found = []
    for layer in function["Properties"]["Layers"]:
        condition, then, otherwise = layer.get("Fn::If", ("", layer, layer))
        found.append((then if condition in true else otherwise)["Ref"])
    return [name for name in found if name != "AWS::NoValue"]


def test_functions_send_traces_with_the_packages_of_the_users_layer(
    aws: boto3.Session,
) -> None:
    layer = f"arn:aws:lambda:{REGION}:123456789012:layer:otel:3"
    deploy(aws, Name="traced", OtelLayerArn=layer, OtlpEndpoint="http://collector:4318", Console="enabled")
    resources = translated()["Resources"]
    for name, resource in {"dispatch": "Dispatch", "rotate": "Rotate", "console": "ConsoleFunction"}.items():
        function = aws.client("lambda").get_function_configuration(FunctionName=f"traced-{name}")
        assert function["Environment"]["Variables"]["OTEL_EXPORTER_OTLP_ENDPOINT"] == "http://collector:4318"
        item = resources[resource]
        both = [*_layers(item, set()), "OtelLayerArn", "CaBundleLayerArn"]
        assert _layers(item, {"HasOtelLayer"}) == both[:-1]
        assert _layers(item, {"HasOtelLayer", "HasCaBundleLayer"}) == both


def test_without_a_collector_no_function_has_a_variable_of_opentelemetry(
    aws: boto3.Session, outputs: dict[str, str]
) -> None:
    for name in ("dispatch", "rotate"):
        function = aws.client("lambda").get_function_configuration(FunctionName=f"regcred-{name}")
        assert not [key for key in function["Environment"]["Variables"] if key.startswith("OTEL_")]


def test_each_invocation_of_rotate_gets_one_message() -> None:
    """If a vendor does not answer until Lambda ends the function, the whole batch fails and is delivered
    again only after six minutes, so a batch must not contain other projects' messages."""
    resources = translated()["Resources"].values()
    source = next(
        item["Properties"] for item in resources if item["Type"] == "AWS::Lambda::EventSourceMapping"
    )
    assert source["BatchSize"] == 1


@pytest.mark.parametrize("name", ["project-role", "ecr-pull-role"])
def test_the_shipped_roles_are_created_and_may_only_pull(aws: boto3.Session, name: str) -> None:
    text = (ROOT / f"infra/aws/{name}.yaml").read_text()
    given = {
        "project-role": {
            "Project": "payments",
            "RotateRoleArns": "arn:aws:iam::123456789012:role/regcred-rotate",
            "Repositories": f"arn:aws:ecr:{REGION}:123456789012:repository/payments/*",
        },
        "ecr-pull-role": {
            "Project": "payments",
            "ProjectRoleArn": "arn:aws:iam::123456789012:role/regcred/regcred-payments",
        },
    }[name]
    cloudformation = aws.client("cloudformation")
    cloudformation.create_stack(
        StackName=name,
        TemplateBody=text,
        Parameters=[{"ParameterKey": key, "ParameterValue": value} for key, value in given.items()],
        Capabilities=["CAPABILITY_NAMED_IAM"],
    )
    role = cloudformation.describe_stacks(StackName=name)["Stacks"][0]["Outputs"][0]["OutputValue"]
    path = "role/regcred/" if name == "project-role" else "role/regcred-pull/"
    assert path in role
    actions = set(_actions(yaml.load(text, Loader=_Loader)))
    assert not {action for action in actions if action.startswith("ecr:")} - {
        "ecr:GetAuthorizationToken",
        "ecr:BatchCheckLayerAvailability",
        "ecr:BatchGetImage",
        "ecr:GetDownloadUrlForLayer",
        "ecr:BatchImportUpstreamImage",
        "ecr:CreateRepository",
    }
    assert not {action for action in actions if "*" in action}


CALLERS = {
    "project-role": ("RotateRoleArns", "arn:aws:iam::123456789012:role/regcred-rotate"),
    "ecr-pull-role": ("ProjectRoleArn", "arn:aws:iam::123456789012:role/regcred/regcred-trusting"),
}
"""For each template, the parameter with the roles that may assume its role, and a value."""


@pytest.fixture(scope="module")
def trusts(aws: boto3.Session) -> dict[str, Any]:
    """For each template, the trust policy of its role for the project `trusting`."""
    for name, (parameter, caller) in CALLERS.items():
        given = {"Project": "trusting", parameter: caller}
        aws.client("cloudformation").create_stack(
            StackName=f"{name}-trusting",
            TemplateBody=(ROOT / f"infra/aws/{name}.yaml").read_text(),
            Parameters=[{"ParameterKey": key, "ParameterValue": value} for key, value in given.items()],
            Capabilities=["CAPABILITY_NAMED_IAM"],
        )
    iam = aws.client("iam")
    roles = {"project-role": "regcred-trusting", "ecr-pull-role": "regcred-pull-trusting"}
    return {
        name: iam.get_role(RoleName=role)["Role"]["AssumeRolePolicyDocument"] for name, role in roles.items()
    }


@pytest.mark.parametrize(
    ("name", "tag"),
    [("project-role", "aws:RequestTag/project"), ("ecr-pull-role", "aws:PrincipalTag/project")],
)
def test_the_shipped_roles_trust_one_caller_with_the_projects_external_id_and_tag(
    trusts: dict[str, Any], name: str, tag: str
) -> None:
    caller = CALLERS[name][1]
    good = {"sts:ExternalId": "trusting", tag: "trusting", "aws:TagKeys": "project"}

    def may(by: str, context: dict[str, str]) -> bool:
        return allowed([trusts[name]], "sts:AssumeRole", "*", context | {"aws:PrincipalArn": by}, by)

    assert may(caller, good)
    assert not may(caller.replace("role/", "role/another-"), good)
    for key in ("sts:ExternalId", tag):
        assert not may(caller, good | {key: "payments"})
        assert not may(caller, {name: value for name, value in good.items() if name != key})


def saved(name: str, trusts: dict[str, Any], caller_id: str) -> dict[str, Any]:
    """The trust policy as AWS stores it, with the caller's role as this unique id."""
    return pinned(trusts[name], {CALLERS[name][1]: caller_id})


@pytest.mark.parametrize(
    ("name", "tag"),
    [("project-role", "aws:RequestTag/project"), ("ecr-pull-role", "aws:PrincipalTag/project")],
)
def test_a_caller_whose_role_was_deleted_and_created_again_is_still_trusted(
    trusts: dict[str, Any], name: str, tag: str
) -> None:
    """Redeploying Regcred's stack, or a project's role, gives the role a new unique id."""
    caller = CALLERS[name][1]
    context = {
        "sts:ExternalId": "trusting",
        tag: "trusting",
        "aws:TagKeys": ["project"],
        "aws:PrincipalArn": caller,
    }
    policy = saved(name, trusts, "AROABEFORE")
    for unique_id in ("AROABEFORE", "AROAAFTERWARDS"):
        assert allowed([policy], "sts:AssumeRole", "*", context, caller, principal_id=unique_id)


def test_a_project_role_trusts_the_rotate_role_of_each_region_and_no_similar_name(
    aws: boto3.Session,
) -> None:
    callers = [f"arn:aws:iam::123456789012:role/regcred{region}-rotate" for region in ("", "-standby")]
    create(aws, "project-role", "twice", RotateRoleArns=",".join(callers), Project="twice")
    trust = aws.client("iam").get_role(RoleName="regcred-twice")["Role"]["AssumeRolePolicyDocument"]

    def may(by: str) -> bool:
        context = {"sts:ExternalId": "twice", "aws:RequestTag/project": "twice", "aws:PrincipalArn": by}
        return allowed([trust], "sts:AssumeRole", "*", context, by)

    assert [may(by) for by in callers] == [True, True]
    assert not may("arn:aws:iam::123456789012:role/regcred-other-rotate")
    assert not may("arn:aws:iam::210987654321:role/regcred-rotate")
    assert not may("arn:aws:iam::123456789012:root")


def create(aws: boto3.Session, template: str, name: str, **given: str) -> None:
    aws.client("cloudformation").create_stack(
        StackName=name,
        TemplateBody=(ROOT / f"infra/aws/{template}.yaml").read_text(),
        Parameters=[{"ParameterKey": key, "ParameterValue": value} for key, value in given.items()],
        Capabilities=["CAPABILITY_NAMED_IAM"],
    )


def policies_of(aws: boto3.Session, role: str) -> list[dict[str, Any]]:
    iam = aws.client("iam")
    names = iam.list_role_policies(RoleName=role)["PolicyNames"]
    return [
        _document(iam.get_role_policy(RoleName=role, PolicyName=name)["PolicyDocument"]) for name in names
    ]


@pytest.mark.parametrize("template", ["project-role", "ecr-pull-role"])
def test_the_shipped_roles_allow_a_pull_through_cache_and_ecr_public_only_if_enabled(
    aws: boto3.Session, template: str
) -> None:
    cached = f"arn:aws:ecr:{REGION}:123456789012:repository/docker-hub/library/alpine"
    wanted = [
        ("ecr:BatchImportUpstreamImage", cached),
        ("ecr:CreateRepository", cached),
        ("ecr-public:GetAuthorizationToken", "*"),
        ("sts:GetServiceBearerToken", "*"),
    ]
    caller, prefix, role = {
        "project-role": (
            {"RotateRoleArns": CALLERS["project-role"][1]},
            {"PullThroughRepositories": cached.replace("library/alpine", "*")},
            "regcred-",
        ),
        "ecr-pull-role": (
            {"ProjectRoleArn": CALLERS["ecr-pull-role"][1], "RepositoryPrefix": "own/"},
            {"PullThroughPrefix": "docker-hub/"},
            "regcred-pull-",
        ),
    }[template]
    extra = {"CreateRepositories": "true", "EcrPublic": "true"}
    create(aws, template, f"{template}-plain", Project="plain", **caller)
    create(aws, template, f"{template}-cache", Project="cache", **caller, **prefix, **extra)

    def may(project: str, action: str, resource: str) -> bool:
        return any(allowed([each], action, resource) for each in policies_of(aws, f"{role}{project}"))

    assert [may("cache", *each) for each in wanted] == [True] * 4
    assert [may("plain", *each) for each in wanted] == [False] * 4
    assert may("cache", "ecr:BatchGetImage", cached)
    assert not may("cache", "ecr:CreateRepository", cached.replace("docker-hub", "own"))


def test_each_queue_has_a_policy_for_that_queue_only() -> None:
    """SQS refuses a queue's policy if a statement names another queue."""
    resources = translated()["Resources"]
    queues = {name for name, item in resources.items() if item["Type"] == "AWS::SQS::Queue"}
    covered = []
    for item in resources.values():
        if item["Type"] != "AWS::SQS::QueuePolicy":
            continue
        [queue] = [each["Ref"] for each in item["Properties"]["Queues"]]
        for statement in item["Properties"]["PolicyDocument"]["Statement"]:
            assert statement["Resource"] == {"Fn::GetAtt": [queue, "Arn"]}
        covered.append(queue)
    assert sorted(covered) == sorted(queues)


def test_a_standby_stack_has_no_schedule_and_no_alarm_about_it() -> None:
    resources = translated()["Resources"]
    schedule = next(
        item["Properties"] for item in resources.values() if item["Type"] == "AWS::Scheduler::Schedule"
    )
    assert schedule["State"] == {"Fn::If": ["Scheduled", "ENABLED", "DISABLED"]}
    quiet = {"Fn::If": ["Scheduled", "breaching", "notBreaching"]}
    assert resources["NoSweep"]["Properties"]["TreatMissingData"] == quiet


class _Loader(yaml.SafeLoader):
    """Reads YAML with CloudFormation's short tags, and ignores the tags."""


_Loader.add_multi_constructor(
    "!",
    lambda loader, _, node: (
        loader.construct_sequence(node, deep=True) if isinstance(node, yaml.SequenceNode) else None
    ),
)


def _actions(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        for key, value in node.items():
            if key == "Action":
                yield from re.findall(r"[a-z-]+:[A-Za-z*]+", json.dumps(value))
            else:
                yield from _actions(value)
    elif isinstance(node, list):
        for item in node:
            yield from _actions(item)
