"""``regcred selftest``: tests a definition at its vendor."""

from __future__ import annotations

import platform
import re
from collections.abc import Mapping
from datetime import timedelta

import click

from regcred import __version__
from regcred.cli import definitions, upstream_secrets
from regcred.cli.failures import BadInputError, Failed, user_input
from regcred.cli.output import output_option, print_json, say, write_document
from regcred.cli.parameters import PROJECT, all_of
from regcred.cli.session import CliSession, pass_session
from regcred.registry.catalog import names
from regcred.registry.definition import ROLE_ARN, BaseDefinition
from regcred.registry_reference import Reference
from regcred.selftest import CheckResult, Selftest, plan

HELP = """Test a definition at its vendor, and print a report for a bug report. Vault is not used.

The command creates a credential, pulls the definition's probe with it, tries to push (which must be
refused), and revokes the credential. With --for, it repeats the tries for that time. This shows whether a
credential outlives the session that created it. Ctrl-C revokes the credential early.

A keyless definition needs --role-arn: your AWS session assumes that role, as rotate does. Other definitions
need their upstream secret. The command asks for it, or reads it from --secret-file.

The report contains host names, account IDs and the name of the probe. It contains no secret.

\b
Examples:
  regcred selftest -f gitea.yaml --secret-file gitea-secret.yaml
  regcred selftest --provider ecr -f ecr.yaml --project payments --for 90m \\
    --role-arn arn:aws:iam::123456789012:role/regcred/payments
"""

_UNITS: Mapping[str, str] = {"s": "seconds", "m": "minutes", "h": "hours"}
_SPAN = re.compile(r"([1-9][0-9]{0,4})([smh])", re.ASCII)
_TIME_MAX = timedelta(hours=24)


class SpanType(click.ParamType[timedelta]):
    """A length of time: ``90m``."""

    name = "TIME"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> timedelta:
        """Parse a length of time."""
        if isinstance(value, timedelta):
            return value
        found = _SPAN.fullmatch(str(value))
        span = timedelta(**{_UNITS[found[2]]: int(found[1])}) if found else timedelta(0)
        if not timedelta(0) < span <= _TIME_MAX:
            self.fail(f"{str(value)[:40]!r} is not a time of at most 24h; write it as in 90m", param, ctx)
        return span


_options = all_of(
    click.option(
        "-f", "--file", metavar="FILE", required=True, help="The definition; '-' is standard input."
    ),
    click.option("--provider", metavar="P", help="The provider, if the file does not name it."),
    click.option(
        "--secret-file",
        metavar="FILE",
        help="The upstream secret's fields as YAML or JSON; '-' is standard input.",
    ),
    click.option(
        "--project",
        type=PROJECT,
        default="selftest",
        show_default=True,
        help="The project, used as external ID and session tag for the role.",
    ),
    click.option("--role-arn", metavar="ARN", help="The project's IAM role, for keyless definitions."),
    click.option("--for", "wait", type=SpanType(), help="Repeat the tries for this time."),
    click.option(
        "--every", type=SpanType(), default="15m", show_default=True, help="The time between two tries."
    ),
    click.option(
        "--replace-passwords",
        is_flag=True,
        help="Allow the test to replace the passwords of the users that the definition names (nexus).",
    ),
)


@click.command(short_help="Test a definition at its vendor, without Vault.", help=HELP)
@_options
@output_option
@pass_session
def selftest(
    session: CliSession,
    file: str,
    provider: str | None,
    secret_file: str | None,
    project: str,
    role_arn: str | None,
    wait: timedelta | None,
    every: timedelta,
    replace_passwords: bool,
    as_json: bool,
) -> None:
    """Run ``regcred selftest``."""
    upstream_secrets.check_source(secret_file, definition=file)
    definition = _definition(file, provider)
    with user_input(file):
        planned = plan(
            definition, wait=wait or timedelta(0), every=every, replace_passwords=replace_passwords
        )
    upstream = upstream_secrets.read(definition.upstream_fields(), secret_file)
    reference = Reference(project, "selftest")
    test = Selftest(
        session.selftest_parts(definition.provider, reference, _role(definition, role_arn), say),
        reference,
        definition,
        upstream,
        versions=f"regcred {__version__}, Python {platform.python_version()}",
    )
    report = test.run(planned)
    if as_json:
        print_json(report.document())
    else:
        write_document(report.text())
    if report.result is not CheckResult.PASSED:
        wrong = [check.name for check in report.checks if check.result is report.result]
        raise Failed(f"the selftest {_OUTCOMES[report.result]}: {', '.join(dict.fromkeys(wrong))}")


_OUTCOMES: Mapping[CheckResult, str] = {
    CheckResult.FAILED: "failed",
    CheckResult.UNPROVEN: "could not prove everything",
}


def _definition(file: str, provider: str | None) -> BaseDefinition:
    if provider and provider not in names():
        raise BadInputError(f"--provider {provider[:60]}: is unknown; the providers are {', '.join(names())}")
    where, text = definitions.read_text(file, kind="definition")
    content = definitions.fields_of(text, where, kind="definition")
    if provider and content.setdefault("provider", provider) != provider:
        raise BadInputError(f"--provider {provider}: the file names another provider; leave out the option")
    return definitions.typed(content, where)


def _role(definition: BaseDefinition, arn: str | None) -> str:
    if definition.upstream_fields() or not definition.needs_credential():
        return ""
    if not arn:
        raise BadInputError(
            "this definition is keyless: pass the project's IAM role with --role-arn; your AWS session must "
            "be allowed to assume it"
        )
    if not re.fullmatch(ROLE_ARN, arn, re.ASCII):
        raise BadInputError(
            f"--role-arn {arn[:120]}: is not the ARN of an IAM role; write arn:aws:iam::<account "
            "id>:role/regcred/<name>"
        )
    return arn
