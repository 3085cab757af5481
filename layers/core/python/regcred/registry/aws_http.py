"""Makes botocore send through our transport, so that AWS calls have the same deadline and limits.

botocore only limits the time to connect and the time to the next bytes. A handler of its event
``before-send`` can return a response, and then botocore sends nothing itself
(https://github.com/boto/botocore/blob/develop/botocore/endpoint.py).
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
    """The client, changed to send through our transport."""
    client.meta.events.register("before-send", _send)
    return client


def _send(request: AWSPreparedRequest, **_: Any) -> AWSResponse:
    """Send one signed request without changes.

    Raises:
        HTTPClientError: There is no complete response; botocore may retry. Its ``kwargs["error"]`` has the
            reason.
    """
    from botocore.awsrequest import AWSResponse
    from botocore.exceptions import HTTPClientError
    from urllib3 import HTTPResponse

    body: Any = request.body  # requests to ECR and STS are short and never streams
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
