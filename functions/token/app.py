"""The token server of the system registry behind a Lambda function URL."""

from __future__ import annotations

from mangum import Mangum

from regcred.wiring.token import token_application

handler = Mangum(token_application(), lifespan="off")
