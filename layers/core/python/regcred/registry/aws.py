"""What the providers on AWS share: clients of a session's credentials, roles, and errors translated once."""

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
"""Longest inline session policy in characters (STS AssumeRole)."""

CHAIN_SECONDS = 3600
"""Longest session of a role that was assumed by a role, in seconds (role chaining)."""

CREATING = Lock()
"""botocore's default session is not safe for several threads that create clients; the clients are."""

_SURROUNDINGS = ("AWS_ENDPOINT_URL", "AWS_CA_BUNDLE", "HTTPS_PROXY", "https_proxy", "NO_PROXY", "no_proxy")
"""The environment that a client keeps from when it was made."""

_SESSION_NAME_MAX = 64

_PARAMETER = re.compile(r"parameter (\w[\w.\[\]]*), value")
"""How botocore names what it refuses; the value behind it may be anything."""

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
"""Throttles and time-outs: some come with the status of a refusal (botocore.retries.standard; SQS's own for KMS)."""

_CLOCK = frozenset(
    {"RequestExpired", "RequestTimeTooSkewed", "SignatureDoesNotMatch", "InvalidSignatureException"}
)
_UNKNOWN_REGION = frozenset({"UnsupportedCommandException"})
_MISSING = frozenset({"RepositoryNotFoundException", "RegistryNotFoundException", "NoSuchEntity"})


def client(
    service: Any, credentials: AwsCredentials, *, region: str, fips: bool = False, dual_stack: bool = False
) -> Any:
    """A client of one service in one region; AWS_ENDPOINT_URL is honoured as botocore documents it.

    Making one takes longer than a call, so those of a session are kept; they are safe for threads.
    """
    with CREATING:
        surroundings = tuple(os.environ.get(name, "") for name in _SURROUNDINGS)
        return _client(service, credentials, surroundings, region=region, fips=fips, dual_stack=dual_stack)


@lru_cache(maxsize=64)
def _client(
    service: Any,
    credentials: AwsCredentials,
    surroundings: tuple[str, ...],  # noqa: ARG001 - the cache's key: what botocore reads when a client is made
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
    """Botocore writes whole answers, tokens and all, at level DEBUG, whatever level the root logger has."""
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
    """Assume a role from the project's own role, with the project's name as external id.

    Args:
        role_arn: The role; its trust policy names the project's role and the external id.
        context: Whose identity it is.
        region: Whose STS to ask.
        policy: A session policy, which can only narrow what the role may do.
        fips: Whether to use STS's FIPS endpoint.

    Raises:
        MalformedError: The policy is longer than STS takes.
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
    """The name of the session in CloudTrail: which registry it was for."""
    return f"regcred-{context.reference.project}-{context.reference.registry}"[:_SESSION_NAME_MAX]


def compact(policy: dict[str, Any]) -> str:
    """The text of a session policy.

    Raises:
        MalformedError: It is longer than STS takes.
    """
    text = json.dumps(policy, separators=(",", ":"))
    if len(text) > POLICY_MAX:
        raise MalformedError(
            f"repositories: the session policy for them has {len(text)} characters, and AWS takes {POLICY_MAX}; "
            "name fewer, or prefixes that end in '/'",
            field="repositories",
        )
    return text


@contextmanager
def own_setup() -> Iterator[None]:
    """Say what is missing to ask AWS at all: a function has it from Lambda, a person must bring it.

    Raises:
        MissingError: There is no region, or the process has no credentials.
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
        raise MissingError("there is no AWS region to ask in; set AWS_DEFAULT_REGION") from None
    except (
        NoCredentialsError,
        PartialCredentialsError,
        ProfileNotFound,
        SSOError,
        TokenRetrievalError,
    ) as error:
        raise MissingError(
            f"there are no AWS credentials to ask with ({type(error).__name__}); sign in to AWS, or run under an IAM role"
        ) from None


@contextmanager
def translated(action: str, *, remedy: str) -> Iterator[None]:
    """Turn what botocore raises into the types of regcred.errors, once.

    Args:
        action: What is being done, for the error text.
        remedy: What to do if AWS refuses.

    Raises:
        TransientError: A throttle, a 5xx, no connection, a time-out.
        RefusedError: A missing permission, a refused identity, a clock that is wrong.
        MissingError: What was asked for does not exist; see also :func:`own_setup`.
        MalformedError: The input is none that AWS takes, or the answer is not AWS's.
    """
    from botocore.exceptions import BotoCoreError, ClientError, ParamValidationError
    from botocore.parsers import ResponseParserError

    try:
        with own_setup(), limits.one_call():
            yield
    except ClientError as error:
        raise _client_error(error, action, remedy) from None
    except ParamValidationError as error:  # raised before anything is sent
        names = ", ".join(_PARAMETER.findall(str(error)))
        raise MalformedError(
            f"{action}: AWS takes no such {names or 'input'}; check the definition"
        ) from None
    except (BotoCoreError, ResponseParserError) as error:
        cause = getattr(error, "kwargs", {}).get("error")
        said = cause if isinstance(cause, RegcredError) else type(error).__name__
        raise TransientError(f"{action}: no answer from AWS ({said}); it will be tried again") from None
    except (AttributeError, KeyError, TypeError, ValueError):
        # botocore's parsers trip like this over an answer that is not AWS's: a proxy's page, for one.
        raise MalformedError(
            f"{action}: the answer is not one of AWS; check the endpoint and the proxy"
        ) from None


def _client_error(error: ClientError, action: str, remedy: str) -> Exception:
    code = str(error.response.get("Error", {}).get("Code", ""))
    status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    if code in _PASSING or transport.passing(status):
        return TransientError(f"{action}: AWS answered {code or status}; it will be tried again")
    if code in _CLOCK:
        return RefusedError(f"{action}: AWS answered {code}; check that the clock is right")
    if code in _UNKNOWN_REGION:
        return RefusedError(f"{action}: AWS answered {code}; the service does not exist in this region")
    if code in _MISSING:
        return MissingError(f"{action}: AWS answered {code}; {remedy}")
    return RefusedError(f"{action}: AWS answered {code or status}; {remedy}")
