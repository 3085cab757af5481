"""Shared code of the AWS providers: clients for a session's credentials, roles, and translated errors."""

from __future__ import annotations

import json
import logging
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from threading import Lock
from typing import TYPE_CHECKING, Any

from pydantic import SecretStr

from regcred.errors import MalformedError, MissingError, RefusedError, RegcredError, TransientError
from regcred.registry import aws_http, limits, transport
from regcred.registry.interface import AwsCredentials, MintContext

if TYPE_CHECKING:
    from botocore.exceptions import ClientError

POLICY_MAX = 2048
"""The maximum length of an inline session policy in characters (STS AssumeRole)."""

CHAIN_SECONDS = 3600
"""The maximum session of a role that another role has assumed, in seconds (role chaining)."""

CREATING = Lock()
"""Held while a client is created: botocore's default session is not thread-safe. Its clients are."""

_CLIENT_SETTINGS = (
    "AWS_ENDPOINT_URL",
    "AWS_CA_BUNDLE",
    "HTTPS_PROXY",
    "https_proxy",
    "NO_PROXY",
    "no_proxy",
)
"""The environment variables that a client reads when it is created."""

_SESSION_NAME_MAX = 64

_PARAMETER = re.compile(r"parameter (\w[\w.\[\]]*), value")
"""The part of botocore's error text that names a refused parameter. Its value follows, and is left out."""

_PASSING = frozenset(
    {
        "BandwidthLimitExceeded",
        "EC2ThrottledException",
        "KmsThrottled",
        "LimitExceededException",
        "PriorRequestNotComplete",
        "RequestLimitExceeded",
        "RequestThrottled",
        "RequestThrottledException",
        "RequestTimeout",
        "RequestTimeoutException",
        "SlowDown",
        "ThrottledException",
        "Throttling",
        "ThrottlingException",
        "TooManyRequestsException",
    }
)
"""Throttles and timeouts. Some have the status of a refusal (from botocore.retries.standard, and SQS's codes
for KMS)."""

_CLOCK = frozenset(
    {"RequestExpired", "RequestTimeTooSkewed", "SignatureDoesNotMatch", "InvalidSignatureException"}
)
_UNKNOWN_REGION = frozenset({"UnsupportedCommandException"})
_MISSING = frozenset({"RepositoryNotFoundException", "RegistryNotFoundException", "NoSuchEntity"})


def client(
    service: Any, credentials: AwsCredentials, *, region: str, fips: bool = False, dual_stack: bool = False
) -> Any:
    """A client of one service in one region. AWS_ENDPOINT_URL works as botocore documents it.

    Clients are cached for each session, because creating one takes longer than a call. They are thread-safe.
    """
    with CREATING:
        environment = tuple(os.environ.get(name, "") for name in _CLIENT_SETTINGS)
        return _client(service, credentials, environment, region=region, fips=fips, dual_stack=dual_stack)


@lru_cache(maxsize=64)
def _client(
    service: Any,
    credentials: AwsCredentials,
    environment: tuple[str, ...],  # noqa: ARG001 - part of the cache key: what botocore reads for a new client
    *,
    region: str,
    fips: bool,
    dual_stack: bool,
) -> Any:
    import boto3
    from botocore.config import Config

    silence()
    made = boto3.client(
        service,
        region_name=region,
        aws_access_key_id=credentials.access_key_id,
        aws_secret_access_key=credentials.secret_access_key.get_secret_value(),
        aws_session_token=credentials.session_token.get_secret_value(),
        config=Config(
            connect_timeout=5,
            read_timeout=15,
            retries={"mode": "standard", "total_max_attempts": 2},
            max_pool_connections=32,
            use_fips_endpoint=fips or None,
            use_dualstack_endpoint=dual_stack or None,
            user_agent_extra="regcred",
        ),
    )
    return aws_http.bind(made)


def silence() -> None:
    """Silence botocore's DEBUG logs.

    They contain whole responses with tokens, and ignore the root logger's level.
    """
    for name in ("botocore.endpoint", "botocore.parsers", "botocore.auth", "botocore.hooks"):
        logging.getLogger(name).setLevel(logging.INFO)


def assume(
    role_arn: str,
    context: MintContext,
    *,
    region: str,
    policy: dict[str, Any] | None = None,
    fips: bool = False,
) -> AwsCredentials:
    """Assume a role from the project's own role, with the project's name as external ID.

    Args:
        role_arn: The role. Its trust policy names the project's role and the external ID.
        context: The context of the registry, with the project's identity.
        region: The region whose STS to call.
        policy: A session policy, which can only restrict the role.
        fips: Whether to use STS's FIPS endpoint.

    Raises:
        MalformedError: The policy is longer than STS allows.
        RefusedError, TransientError: See :func:`translated`.
    """
    arguments: dict[str, Any] = {
        "RoleArn": role_arn,
        "RoleSessionName": session_name(context),
        "ExternalId": context.reference.project,
        "DurationSeconds": CHAIN_SECONDS,
    }
    if policy is not None:
        arguments["Policy"] = compact(policy)
    sts = client("sts", context.identity.aws(), region=region, fips=fips)
    trust = (
        f"check that the trust policy of {role_arn} names this project's role and the external id "
        f"{context.reference.project!r}, and that the project's role may sts:AssumeRole it"
    )
    with translated(f"assuming {role_arn}", remedy=trust):
        answer = sts.assume_role(**arguments)["Credentials"]
    return AwsCredentials(
        access_key_id=answer["AccessKeyId"],
        secret_access_key=SecretStr(answer["SecretAccessKey"]),
        session_token=SecretStr(answer["SessionToken"]),
        expires_at=answer["Expiration"],
    )


def session_name(context: MintContext) -> str:
    """The name of the session, so that CloudTrail shows the registry."""
    return f"regcred-{context.reference.project}-{context.reference.registry}"[:_SESSION_NAME_MAX]


def compact(policy: dict[str, Any]) -> str:
    """The text of a session policy.

    Raises:
        MalformedError: It is longer than STS allows.
    """
    text = json.dumps(policy, separators=(",", ":"))
    if len(text) > POLICY_MAX:
        raise MalformedError(
            f"repositories: their session policy has {len(text)} characters, but AWS allows {POLICY_MAX}; "
            "name fewer, or prefixes that end in '/'",
            field="repositories",
        )
    return text


@contextmanager
def own_setup() -> Iterator[None]:
    """Report a missing region or missing credentials. Lambda provides both; a person must configure them.

    Raises:
        MissingError: No region is configured, or there are no usable credentials.
    """
    from botocore.exceptions import (
        NoCredentialsError,
        NoRegionError,
        PartialCredentialsError,
        ProfileNotFound,
        SSOError,
        TokenRetrievalError,
    )

    try:
        yield
    except NoRegionError:
        raise MissingError("no AWS region is configured; set AWS_DEFAULT_REGION") from None
    except (
        NoCredentialsError,
        PartialCredentialsError,
        ProfileNotFound,
        SSOError,
        TokenRetrievalError,
    ) as error:
        raise MissingError(
            f"no AWS credentials can be used ({type(error).__name__}); sign in to AWS, or run this under an "
            "IAM role"
        ) from None


@contextmanager
def translated(action: str, *, remedy: str) -> Iterator[None]:
    """Translate botocore's exceptions to the types of regcred.errors.

    Args:
        action: The current action, for the error text ("assuming arn:aws:iam::…").
        remedy: What to do if AWS refuses.

    Raises:
        TransientError: A throttle, a 5xx, no connection, a time-out.
        RefusedError: A missing permission, a refused identity, or a wrong clock.
        MissingError: The requested object does not exist; see also :func:`own_setup`.
        MalformedError: AWS does not accept the input, or the response is not from AWS.
    """
    from botocore.exceptions import BotoCoreError, ClientError, ParamValidationError
    from botocore.parsers import ResponseParserError

    try:
        with own_setup(), limits.one_call():
            yield
    except ClientError as error:
        raise _client_error(error, action, remedy) from None
    except ParamValidationError as error:  # raised before any request is sent
        names = ", ".join(_PARAMETER.findall(str(error)))
        raise MalformedError(
            f"{action}: AWS does not accept {names or 'the input'}; check the definition"
        ) from None
    except (BotoCoreError, ResponseParserError) as error:
        cause = getattr(error, "kwargs", {}).get("error")
        cause_text = cause if isinstance(cause, RegcredError) else type(error).__name__
        raise TransientError(f"{action}: no response from AWS ({cause_text}); it will be retried") from None
    except (AttributeError, KeyError, TypeError, ValueError):
        # botocore's parsers fail like this on a response that is not from AWS, such as a proxy's page.
        raise MalformedError(
            f"{action}: the response is not from AWS; check the endpoint and the proxy"
        ) from None


def _client_error(error: ClientError, action: str, remedy: str) -> Exception:
    code = str(error.response.get("Error", {}).get("Code", ""))
    status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    if code in _PASSING or transport.is_transient_status(status):
        return TransientError(f"{action} failed with {code or status}; it will be retried")
    if code in _CLOCK:
        return RefusedError(f"{action} failed with {code}; check that the clock is right")
    if code in _UNKNOWN_REGION:
        return RefusedError(f"{action} failed with {code}; the service does not exist in this region")
    if code in _MISSING:
        return MissingError(f"{action} failed with {code}; {remedy}")
    return RefusedError(f"{action} failed with {code or status}; {remedy}")
