"""Checks requests and the stand-ins' answers against the vendors' own machine-readable descriptions.

- Amazon: botocore's models of STS, ECR and ECR Public (botocore/data).
- Google: the Discovery documents of STS and IAM Credentials (googleapiclient/discovery_cache/documents).
- Azure: the models generated from Container Registry's OpenAPI description (azure-containerregistry).
- Docker Hub: an excerpt of its OpenAPI description, docker_hub.yaml beside this file.

Only successful answers are checked: the descriptions omit errors, or allow any object.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Callable, Iterator, Mapping
from importlib import resources
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import yaml
from fakes.vendors.network import Network, Request, Response
from jsonschema import Draft202012Validator

Problems = list[str]
"""Where a request or an answer does not match its description."""

Check = Callable[[Request, Response], Problems]

CHECKS: dict[str, str] = {
    "sts.*amazonaws.com*": "sts",
    "sts-fips.*": "sts",
    "api.ecr.*": "ecr",
    "ecr-fips.*": "ecr",
    "api.ecr-public.us-east-1.amazonaws.com": "ecr-public",
}
"""For each pattern of host names, the AWS service."""


def describe(network: Network) -> None:
    """Check the requests of a network to the vendors that publish a description, and the answers."""
    for pattern, service in CHECKS.items():
        network.describe(pattern, aws(service))
    network.describe("sts.googleapis.com", google("sts.v1"))
    network.describe("iamcredentials.googleapis.com", google("iamcredentials.v1"))
    for pattern in ("*.azurecr.io", "*.azurecr.us", "*.azurecr.cn"):
        network.describe(pattern, azure)
    network.describe("hub.docker.com", openapi(Path(__file__).with_name("docker_hub.yaml")))


def succeeds(response: Response) -> bool:
    return 200 <= response.status < 300 and not response.dripping


# Amazon


def aws(service: str) -> Check:
    return functools.partial(_aws, service)


@functools.cache
def model(service: str) -> Any:
    import botocore.session

    return botocore.session.get_session().get_service_model(service)


def _aws(service: str, request: Request, response: Response) -> Problems:
    described = model(service)
    if described.metadata["protocol"] == "query":
        form = dict(request.form_items or request.query)
        name, version = form.pop("Action", ""), form.pop("Version", "")
        sent: Any = _unflattened(form)
    else:
        prefix, _, name = request.header("X-Amz-Target").partition(".")
        version = described.api_version if prefix == described.metadata["targetPrefix"] else prefix
        sent = request.document
    if name not in described.operation_names or version != described.api_version:
        return [f"{service} has no operation {name} of version {version}"]
    operation = described.operation_model(name)
    found = _invalid(sent, operation.input_shape, "the request")
    if succeeds(response):
        found += _answer_of_aws(described, operation, response)
    return found


def _answer_of_aws(described: Any, operation: Any, response: Response) -> Problems:
    if described.metadata["protocol"] == "json":
        return _invalid(json.loads(response.encoded()), operation.output_shape, "the answer")
    from botocore.parsers import create_parser

    raw = {"body": response.encoded(), "headers": {}, "status_code": response.status}
    parsed = create_parser("query").parse(raw, operation.output_shape)
    parsed.pop("ResponseMetadata", None)
    known = set(_members(operation.output_shape)) | {operation.output_shape.serialization["resultWrapper"]}
    tags = {node.tag.partition("}")[2] or node.tag for node in ET.fromstring(response.encoded()).iter()}
    unknown = tags - known - {f"{operation.name}Response", "ResponseMetadata", "RequestId"}
    return [
        *_invalid(parsed, operation.output_shape, "the answer"),
        *(f"unknown element {tag}" for tag in unknown),
    ]


def _invalid(value: Any, shape: Any, what: str) -> Problems:
    from botocore.validate import ParamValidator

    report = ParamValidator().validate(value, shape)
    return [f"{what}: {report.generate_report()}"] if report.has_errors() else []


def _members(shape: Any) -> Iterator[str]:
    if shape.type_name == "structure":
        for name, member in shape.members.items():
            yield name
            yield from _members(member)
    elif shape.type_name == "list":
        yield from _members(shape.member)


def _unflattened(form: Mapping[str, str]) -> dict[str, Any]:
    """Parameters of the query protocol (``Tags.member.1.Key=project``) as a document with lists."""
    found: dict[str, Any] = {}
    for name, value in form.items():
        head, _, rest = name.partition(".member.")
        if not rest:
            found[head] = int(value) if value.isdecimal() and head.endswith("Seconds") else value
            continue
        number, _, member = rest.partition(".")
        items = found.setdefault(head, {})
        if member:
            items.setdefault(int(number), {})[member] = value
        else:
            items[int(number)] = value
    return {
        name: [value[key] for key in sorted(value)] if isinstance(value, dict) else value
        for name, value in found.items()
    }


# Google


@functools.cache
def google(name: str) -> Check:
    folder = resources.files("googleapiclient.discovery_cache") / "documents"
    document = json.loads((folder / f"{name}.json").read_text("utf-8"))
    schemas = {key: _closed(value) for key, value in document["schemas"].items()}
    return functools.partial(_google, list(_methods(document)), schemas)


def _methods(document: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    yield from document.get("methods", {}).values()
    for resource in document.get("resources", {}).values():
        yield from _methods(resource)


def _closed(schema: Any) -> Any:
    """A schema of a Discovery document as a JSON schema that allows no other fields."""
    if isinstance(schema, list):
        return [_closed(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    kept = {"type", "enum", "items", "properties", "additionalProperties", "pattern"}
    found = {key: _closed(value) for key, value in schema.items() if key in kept}
    if "properties" in schema:
        found["properties"] = {key: _closed(value) for key, value in schema["properties"].items()}
        found.setdefault("additionalProperties", False)
    if "$ref" in schema:
        found["$ref"] = f"#/$defs/{schema['$ref']}"
    return found


def _google(
    methods: list[dict[str, Any]], schemas: Mapping[str, Any], request: Request, response: Response
) -> Problems:
    method = next((item for item in methods if _is_for(item, request)), None)
    if method is None:
        return [f"no method is {request.method} {request.path}"]
    unknown = [f"unknown parameter {name}" for name, _ in request.query if name not in method["parameters"]]
    if request.header("Content-Type").startswith("application/x-www-form-urlencoded"):
        sent: Any = {_camel(name): value for name, value in request.form_items}
    else:
        # null is the default of any field (protobuf's JSON mapping); google-auth sends it for delegates
        sent = {name: value for name, value in request.document.items() if value is not None}
    found = [*unknown, *_mismatches(sent, method["request"]["$ref"], schemas, "the request")]
    if succeeds(response):
        answer = json.loads(response.encoded())
        found += _mismatches(answer, method["response"]["$ref"], schemas, "the answer")
    return found


def _is_for(method: Mapping[str, Any], request: Request) -> bool:
    pattern = re.escape(method["path"])
    for name, parameter in method.get("parameters", {}).items():
        form = parameter.get("pattern", "^[^/]+$")[1:-1]
        pattern = pattern.replace(re.escape(f"{{+{name}}}"), form).replace(re.escape(f"{{{name}}}"), form)
    return method["httpMethod"] == request.method and re.fullmatch(f"/{pattern}", request.path) is not None


def _camel(name: str) -> str:
    """A field name in camel case; Google accepts both forms (protobuf's JSON mapping)."""
    return re.sub(r"_([a-z])", lambda match: match[1].upper(), name)


def _mismatches(value: Any, name: str, schemas: Mapping[str, Any], what: str) -> Problems:
    validator = Draft202012Validator({"$ref": f"#/$defs/{name}", "$defs": schemas})
    return [f"{what}: {error.json_path}: {error.message}" for error in validator.iter_errors(value)]


# Azure


def azure(request: Request, response: Response) -> Problems:
    from azure.containerregistry._generated import models

    sends = {
        "/oauth2/exchange": (
            models.Paths108HwamOauth2ExchangePostRequestbodyContentApplicationXWwwFormUrlencodedSchema,
            models.AcrRefreshToken,
        ),
        "/oauth2/token": (
            models.PathsV3R3RxOauth2TokenPostRequestbodyContentApplicationXWwwFormUrlencodedSchema,
            models.AcrAccessToken,
        ),
    }
    if request.method != "POST" or request.path not in sends:
        return []  # the description does not cover the registry's own API
    form, answer = sends[request.path]
    fields = {field["key"]: name for name, field in form._attribute_map.items()}
    required = {
        form._attribute_map[name]["key"] for name, rule in form._validation.items() if rule.get("required")
    }
    sent = dict(request.form_items)
    found = [f"the request: unknown field {name}" for name in sent if name not in fields]
    found += [f"the request: no field {name}" for name in required if not sent.get(name)]
    if sent.get("grant_type") not in {str(item.value) for item in models.PostContentSchemaGrantType}:
        found.append(f"the request: unknown grant_type {sent.get('grant_type')}")
    if succeeds(response):
        known = {field["key"] for field in answer._attribute_map.values()}
        found += [
            f"the answer: unknown field {name}"
            for name in json.loads(response.encoded())
            if name not in known
        ]
    return found


# OpenAPI


@functools.cache
def openapi(file: Path) -> Check:
    document = yaml.safe_load(file.read_text("utf-8"))
    return functools.partial(_openapi, document)


def _openapi(document: Mapping[str, Any], request: Request, response: Response) -> Problems:
    operation = next(
        (
            item[request.method.lower()]
            for path, item in document["paths"].items()
            if re.fullmatch(re.sub(r"\{\w+\}", "[^/]+", path), request.path)
            and request.method.lower() in item
        ),
        None,
    )
    if operation is None:
        return [f"no operation is {request.method} {request.path}"]
    schemas = document["components"]["schemas"]
    found = [
        f"the request: unknown parameter {name}"
        for name, _ in request.query
        if name not in operation.get("query", ())
    ]
    if "request" in operation:
        found += _mismatches(request.document, operation["request"], schemas, "the request")
    elif request.body:
        found.append("the request: has a body")
    answers = operation["answers"]
    if succeeds(response):
        if response.status not in answers:
            found.append(f"the answer: unknown status {response.status}")
        elif answers[response.status]:
            found += _mismatches(
                json.loads(response.encoded()), answers[response.status], schemas, "the answer"
            )
    return found
