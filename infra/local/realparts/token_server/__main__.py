"""`python -m realparts.token_server`."""

from __future__ import annotations

from realparts.journal import Journal
from realparts.serving import arguments, public_application, serve

from .access import AccessTokens
from .accounts import Accounts
from .control import Control
from .front import Front
from .tokens import TokenEndpoint


def main() -> None:
    """Serve both ports until the process is ended."""
    args = arguments()
    accounts = Accounts(args.directory, args.ecr_key.read_bytes())
    access, journal = AccessTokens(args.directory), Journal(args.directory)
    endpoint = TokenEndpoint(accounts, access, journal)
    front = Front(accounts, access, journal, upstream=args.upstream)
    handlers = {"/auth/token": endpoint.answer, "/{path:.*}": front.answer}
    control = Control(accounts, front.throttled)
    serve(
        {
            args.port: public_application(handlers, largest_body=1 << 30),
            args.control_port: control.application(),
        }
    )


if __name__ == "__main__":
    main()
