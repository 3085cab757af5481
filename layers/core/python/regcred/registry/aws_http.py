"""Lets botocore send by our transport, so that a call to AWS has the same deadline and limits as any other.

botocore has time-outs for connecting and for the next bytes only. Its event ``before-send`` takes an answer from a handler
instead of sending by itself (https://github.com/boto/botocore/blob/develop/botocore/endpoint.py).
"""

from __future__ import annotations

import os
from io import BytesIO
from typing import TYPE_CHECKING, Any

from regcred.errors import RegcredError
from regcred.registry import transport

if TYPE_CHECKING:
    from botocore.awsrequest import AWSPreparedRequest, AWSResponse


def bind(client: Any) -> Any:
    """The client, which from now on sends by our transport."""
    client.meta.events.register("before-send", _send)
    return client


def _send(request: AWSPreparedRequest, **_: Any) -> AWSResponse:
    """One signed request, sent as it is.

    Raises:
        HTTPClientError: There is no whole answer; botocore may try again. Its ``kwargs["error"]`` says why.
    """
    from botocore.awsrequest import AWSResponse
    from botocore.exceptions import HTTPClientError
    from urllib3 import HTTPResponse

    body: Any = request.body  # what ECR and STS are asked with is short, never a stream
    headers: Any = request.headers
    try:
        answer = transport.send_signed(
            request.method,
            request.url,
            headers={name: _text(value) for name, value in headers.items()},
            body=body.encode() if isinstance(body, str) else body,
            ca_bundle=os.environ.get("AWS_CA_BUNDLE", ""),
        )
    except RegcredError as error:
        raise HTTPClientError(error=error) from None
    raw: Any = HTTPResponse(BytesIO(answer.body), preload_content=False)
    got: Any = answer.headers
    return AWSResponse(request.url, answer.status, got, raw)


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value
