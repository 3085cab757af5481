"""The template as CloudFormation receives it, and its stack on moto."""

from __future__ import annotations

import ast
import io
import json
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto import mock_aws
from samtranslator.parser.parser import Parser
from samtranslator.translator.translator import Translator
from samtranslator.yaml_helper import yaml_parse

ROOT = Path(__file__).resolve().parents[2]
REGION = "eu-central-1"
BUCKET = "deployment"
VAULT = "https://vault.example.com:8200"


def translated() -> dict[str, Any]:
    """The template with SAM's resources expanded, and with code in a bucket, as `sam deploy` uploads it."""
    template = yaml_parse((ROOT / "template.yaml").read_text())
    for resource in template["Resources"].values():
        for field in ("CodeUri", "ContentUri"):
            if field in resource["Properties"]:
                resource["Properties"][field] = f"s3://{BUCKET}/code.zip"
    parameters = {
        name: given["Default"] for name, given in template["Parameters"].items() if "Default" in given
    }
    session = boto3.Session(region_name=REGION)
    result = Translator({}, Parser(), boto_session=session).translate(
        template, parameters | {"VaultAddress": VAULT}
    )
    # moto resolves a Ref to a bus to an object. CloudFormation resolves it to the bus's name, the parameter
    # Name.
    assert result["Resources"]["Bus"]["Properties"]["Name"] == {"Ref": "Name"}
    plain: dict[str, Any] = json.loads(json.dumps(result).replace('{"Ref": "Bus"}', '{"Ref": "Name"}'))
    for resource in plain["Resources"].values():
        if resource["Type"] == "AWS::Events::Rule":
            resource["DependsOn"] = ["Bus"]
    return plain


@contextmanager
def fake_account(region: str = REGION) -> Iterator[boto3.Session]:
    """An AWS account in this process, with the bucket that `sam deploy` would fill."""
    with pytest.MonkeyPatch.context() as patch, mock_aws(), warnings.catch_warnings():
        # moto's CloudFormation does not support alarms, schedules and queue policies; cfn-lint checks those.
        warnings.filterwarnings("ignore", message="Tried to parse")
        for name in ("AWS_ENDPOINT_URL", "AWS_PROFILE", "HTTPS_PROXY", "https_proxy"):
            patch.delenv(name, raising=False)
        patch.setenv("AWS_DEFAULT_REGION", region)
        session = boto3.Session(region_name=region)
        s3 = session.client("s3")
        s3.create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": region})
        code = io.BytesIO()
        with zipfile.ZipFile(code, "w") as archive:
            archive.writestr("app.py", "")
        s3.put_object(Bucket=BUCKET, Key="code.zip", Body=code.getvalue())
        yield session


def deploy(session: boto3.Session, **parameters: str) -> dict[str, str]:
    """Create a stack with the name of its parameter Name, and return its outputs."""
    given = {"Name": "regcred", "VaultAddress": VAULT} | parameters
    cloudformation = session.client("cloudformation")
    cloudformation.create_stack(
        StackName=given["Name"],
        TemplateBody=json.dumps(_without_addresses(translated())),
        Parameters=[{"ParameterKey": key, "ParameterValue": value} for key, value in given.items()],
        Capabilities=["CAPABILITY_NAMED_IAM"],
    )
    stack = cloudformation.describe_stacks(StackName=given["Name"])["Stacks"][0]
    assert stack["StackStatus"] == "CREATE_COMPLETE"
    return {output["OutputKey"]: output["OutputValue"] for output in stack["Outputs"]}


def _without_addresses(template: dict[str, Any]) -> dict[str, Any]:
    """The template without the outputs of function URLs, whose attributes moto does not support."""
    urls = {name for name, item in template["Resources"].items() if item["Type"] == "AWS::Lambda::Url"}
    kept = {
        name: output
        for name, output in template["Outputs"].items()
        if not isinstance(output["Value"], dict) or (output["Value"].get("Fn::GetAtt") or [""])[0] not in urls
    }
    return template | {"Outputs": kept}


def function_policies(region: str, **parameters: str) -> Mapping[str, dict[str, Any]]:
    """The policy of each function's role in a new stack, by function."""
    with fake_account(region) as session:
        deploy(session, **parameters)
        iam = session.client("iam")
        return {
            name: _document(
                iam.get_role_policy(RoleName=f"regcred-{name}", PolicyName=name)["PolicyDocument"]
            )
            for name in (
                "dispatch",
                "rotate",
                *(name for name in ("console", "token") if parameters.get(name.capitalize()) == "enabled"),
            )
        }


def _document(policy: Any) -> dict[str, Any]:
    """A policy document. moto returns it as the repr of a dict, with None for statements that a condition
    removes."""
    found = ast.literal_eval(policy) if isinstance(policy, str) else policy
    return dict(found) | {"Statement": [statement for statement in found["Statement"] if statement]}
