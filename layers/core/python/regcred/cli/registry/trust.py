"""``regcred registry trust``: prints what to configure at the vendor."""

from __future__ import annotations

import re

import click

from regcred.cli import definitions, lookup
from regcred.cli.failures import BadInputError
from regcred.cli.output import output_option, print_json, say, write_document
from regcred.cli.parameters import REFERENCE
from regcred.cli.session import CliSession, pass_session
from regcred.registry.definition import ROLE_ARN, BaseDefinition
from regcred.registry.trust import ProjectRole
from regcred.registry_reference import Reference
from regcred.vault.store import Store

_ISSUER = re.compile(r"""https://[^\s'"]+""")


@click.command(
    short_help="Print what to configure at the vendor.",
    help="""Print what to configure at the vendor, so that the vendor trusts the project's IAM role.

    A keyless registry has no stored secret. The vendor gives credentials only to the IAM role of the project.

    \b
    Examples:
      regcred registry trust payments/gar
      regcred registry trust payments/gar -f gar.yaml --issuer https://0f1e.tokens.sts.global.api.aws
    """,
)
@click.argument("reference", metavar="P/R", type=REFERENCE)
@click.option(
    "-f", "--file", metavar="FILE", help="A definition that is not written yet; '-' is standard input."
)
@click.option("--role-arn", metavar="ARN", help="The project's IAM role. Default: the role in Vault.")
@click.option("--issuer", metavar="URL", default="", help="The issuer of the AWS account's identity tokens.")
@output_option
@pass_session
def trust(
    session: CliSession,
    reference: Reference,
    file: str | None,
    role_arn: str | None,
    issuer: str,
    as_json: bool,
) -> None:
    """Run ``regcred registry trust``."""
    store = session.store
    definition = definitions.from_file(file) if file else lookup.typed_definition(store, reference)
    if as_json:
        print_json(_json(store, reference, definition, role_arn, _issuer(issuer)))
        return
    if not definition.needs_credential():
        say(f"{reference} is public: there is nothing to configure")
        return
    if definition.upstream_fields():
        say(f"{reference} is not keyless: the vendor needs only its upstream secret")
        return
    role = _role(role_arn) if role_arn else _project_role(store, reference)
    write_document(definition.trust(ProjectRole(reference.project, role, _issuer(issuer))))


def _json(
    store: Store, reference: Reference, definition: BaseDefinition, role_arn: str | None, issuer: str
) -> dict[str, object]:
    keyless = definition.needs_credential() and not definition.upstream_fields()
    role = (_role(role_arn) if role_arn else _project_role(store, reference)) if keyless else None
    return {
        "registry": str(reference),
        "keyless": keyless,
        "role_arn": role,
        "trust": definition.trust(ProjectRole(reference.project, role, issuer)) if role else None,
    }


def _role(arn: str) -> str:
    if not re.fullmatch(ROLE_ARN, arn, re.ASCII):
        raise BadInputError(
            f"--role-arn {arn[:120]}: is not the ARN of an IAM role; write arn:aws:iam::<account "
            "id>:role/regcred/<name>"
        )
    return arn


def _issuer(url: str) -> str:
    if url and not _ISSUER.fullmatch(url):
        raise BadInputError(
            f"--issuer {url[:80]}: is not an issuer; write it as in https://0f1e.tokens.sts.global.api.aws"
        )
    return url


def _project_role(store: Store, reference: Reference) -> str:
    found = store.project(reference.project)
    if found is None or not found.value.role_arn:
        raise BadInputError(
            f"project {reference.project} has no IAM role; pass it with --role-arn, or ask a platform admin "
            f"to set it: regcred project add {reference.project} --role-arn ARN"
        )
    return found.value.role_arn
