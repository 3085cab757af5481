"""``regcred console``: runs the console on the user's machine."""

from __future__ import annotations

import click

from regcred.cli.failures import Failed, user_input
from regcred.cli.output import say, write
from regcred.cli.parameters import WholeNumber
from regcred.cli.session import CliSession, pass_session


@click.command(
    help="""Open the web console.

    The console is served on 127.0.0.1 until you press Ctrl-C. It uses the same Vault token as the other
    commands. The address that the command prints signs you in once, and nobody else on this machine can use
    it afterwards. The token stays valid after you sign out.
    """
)
@click.option(
    "--port",
    type=WholeNumber(0, 65535),
    default=8900,
    show_default=True,
    help="The port to listen on; 0 for any free port.",
)
@click.option("--browser/--no-browser", default=True, show_default=True, help="Open the browser.")
@pass_session
def console(session: CliSession, port: int, browser: bool) -> None:
    """Run ``regcred console``."""

    def ready(address: str, sign_in_address: str) -> None:
        say(f"the console is at {address}; press Ctrl-C to stop it")
        if browser and click.launch(sign_in_address) == 0:
            return
        say("open this address; it works once:")
        write(sign_in_address)

    try:
        with user_input():
            session.run_console(port, ready)
    except OSError as error:
        if error.filename is not None:
            raise
        raise Failed(
            f"port {port} can't be used: {(error.strerror or 'unknown error').lower()}; try --port 0"
        ) from None
