"""``regcred registry add`` and ``set-secret``: write a definition or an upstream secret, and rotate."""

from __future__ import annotations

from collections.abc import Mapping

import click
from pydantic import SecretStr

from regcred.cli import definitions, lookup, upstream_secrets
from regcred.cli.failures import BadInputError, Failed
from regcred.cli.output import say, write_document
from regcred.cli.parameters import REFERENCE
from regcred.cli.prompts import interactive
from regcred.cli.rotate import send_request, timeout_option, wait_option
from regcred.cli.session import CliSession, pass_session
from regcred.errors import ConflictError, MalformedError, RefusedError, RegcredError
from regcred.registry.definition import BaseDefinition
from regcred.registry.parsing import parse
from regcred.registry.project_policy import check_allowed
from regcred.registry.secret_destination import destination_change, destination_text
from regcred.registry.trust import ProjectRole
from regcred.registry_limit import limit_reason, within_limit
from regcred.registry_reference import Reference
from regcred.vault.records.declared import Action, Definition, ProjectPolicy
from regcred.vault.store import Store

HELP = """Add a registry, from a file or from your answers to questions.

If the registry needs no stored secret (keyless), the command prints what to configure at the vendor.
Otherwise, it asks for the secret with a hidden prompt, or reads it from --secret-file. No option takes the
secret itself. The command checks and writes the definition, and fetches and verifies a first credential.

\b
Examples:
  regcred registry add payments/ecr-prod
  regcred registry add payments/ecr-prod -f ecr.yaml
  regcred registry add payments/nexus -f nexus.yaml --secret-file - < secret.json
"""


@click.command(
    short_help="Add a registry, from a file or by answering questions.",
    help=HELP,
)
@click.argument("reference", metavar="P/R", type=REFERENCE)
@click.option("-f", "--file", metavar="FILE", help="The definition as YAML or JSON; '-' is standard input.")
@click.option(
    "--secret-file",
    metavar="FILE",
    help="The upstream secret's fields as YAML or JSON; '-' is standard input.",
)
@click.option(
    "--allow-unverified",
    is_flag=True,
    help="Use a credential even if the registry can't verify it.",
)
@click.option("--replace", is_flag=True, help="Replace the definition of a registry that exists.")
@wait_option
@timeout_option
@pass_session
def add(
    session: CliSession,
    reference: Reference,
    file: str | None,
    secret_file: str | None,
    allow_unverified: bool,
    replace: bool,
    wait: bool,
    timeout: int,
) -> None:
    """Run ``regcred registry add``."""
    upstream_secrets.check_source(secret_file, definition=file)
    store = session.store
    version = _version_to_replace(store, reference, replace=replace)
    policy = _policy(store, reference)
    _check_room(store, reference, policy)
    definition = definitions.from_file(file) if file else _interview(policy)
    if allow_unverified:
        definition = definition.model_copy(update={"allow_unverified": True})
    if policy:
        check_allowed(definition, hosts=policy.hosts, paths=policy.paths, accounts=policy.accounts)
    upstream = _upstream(store, reference, definition, secret_file, replace=replace)
    _write(store, reference, definition, upstream, version=version)
    if not definition.needs_credential():
        say(
            f"{reference}: is written. It is public: no credential is fetched, and workloads need no "
            "annotation for it"
        )
        return
    if not definition.upstream_fields():
        _print_trust(reference, definition, policy)
    _fetch_first(session, reference, definition, wait=wait, timeout=timeout)


def _fetch_first(
    session: CliSession, reference: Reference, definition: BaseDefinition, *, wait: bool, timeout: int
) -> None:
    """Request a first credential, which tests the definition and the upstream secret."""
    say(f"{reference}: the definition is written{'; fetching a first credential' if wait else ''}")
    try:
        send_request(session, reference, Action.ROTATE, wait=wait, timeout=timeout)
    except (RefusedError, Failed):
        say(f"next: {_after_failure(reference, definition)}")
        raise
    say(
        "next: let a namespace use it ('regcred grant add'), and annotate a workload ('regcred annotation "
        f"{reference}')"
    )


def _after_failure(reference: Reference, definition: BaseDefinition) -> str:
    """The next steps if no first credential was created."""
    change = f"to change the definition: regcred registry add {reference} --replace"
    if definition.upstream_fields():
        return f"to enter another upstream secret: regcred registry set-secret {reference}; {change}"
    return f"after a change at the vendor: regcred rotate {reference}; {change}"


def _version_to_replace(store: Store, reference: Reference, *, replace: bool) -> int:
    try:
        found = store.definition(reference)
        version = found.version if found else 0
    except MalformedError:  # a broken definition can be replaced
        version = store.definition_version(reference)
    if version and not replace:
        raise BadInputError(
            f"{reference} exists already; replace it with --replace, or see 'regcred registry show "
            f"{reference}'"
        )
    return version or store.definition_version(reference)


def _interview(policy: ProjectPolicy | None) -> BaseDefinition:
    if not interactive():
        raise BadInputError(
            "there is no terminal to ask on: pass the definition with -f FILE ('-' for standard input)"
        )
    return definitions.ask("definition", policy)


def _policy(store: Store, reference: Reference) -> ProjectPolicy | None:
    """The bounds of the project; None if the user may not read them.

    Raises:
        RefusedError: the project does not exist.
    """
    try:
        found = store.project(reference.project)
    except RefusedError:
        say(f"note: your token may not read what {reference.project} may use; rotate will check it")
        return None
    if found is None:
        meant = lookup.similar_projects(store, reference.project)
        raise RefusedError(
            f"there is no project {reference.project}; {f'{meant} If not, ' if meant else ''}a platform "
            f"admin creates it: regcred project add {reference.project}"
        )
    return found.value


def _check_room(store: Store, reference: Reference, policy: ProjectPolicy | None) -> None:
    """Refuse a registry that would not be rotated because its project has too many."""
    names = [found.registry for found in lookup.registries(store, reference.project)]
    limit = (policy or ProjectPolicy()).max_registries
    index = lookup.index(store, reference.project)
    if reference.registry not in within_limit({*names, reference.registry}, index, limit=limit):
        raise RefusedError(f"{reference}: nothing was written: {limit_reason(index, limit=limit)}")


def _print_trust(reference: Reference, definition: BaseDefinition, policy: ProjectPolicy | None) -> None:
    """Print what the vendor needs configured before it gives a first credential."""
    if policy is None or not policy.role_arn:
        say(
            f"{reference} is keyless: 'regcred registry trust {reference}' prints what to configure at the "
            "vendor"
        )
        return
    say(f"{reference} is keyless: configure the vendor to trust {policy.role_arn}:")
    write_document(f"\n{definition.trust(ProjectRole(reference.project, policy.role_arn))}\n", err=True)
    say(
        "until then, the vendor refuses a credential, and rotate retries. To print this again, run: regcred "
        f"registry trust {reference}"
    )


def _upstream(
    store: Store, reference: Reference, definition: BaseDefinition, file: str | None, *, replace: bool
) -> dict[str, SecretStr]:
    wanted = definition.upstream_fields()
    if wanted and replace and not file and lookup.find_upstream(store, reference):
        if change := _new_destination(store, reference, definition):
            say(f"{reference}: {change}, so enter the upstream secret again")
            return upstream_secrets.read(wanted, file)
        say(f"{reference}: keeps its upstream secret; 'regcred registry set-secret {reference}' changes it")
        return {}
    return upstream_secrets.read(wanted, file)


def _new_destination(store: Store, reference: Reference, definition: BaseDefinition) -> str:
    """How the secret's destination changes, so that the stored secret can't be used; empty if it doesn't."""
    try:
        found = store.definition(reference)
        return (
            destination_change(parse(found.value.content(), where=str(reference)), definition)
            if found
            else ""
        )
    except MalformedError:
        return "the old definition can't be read"


def _write(
    store: Store,
    reference: Reference,
    definition: BaseDefinition,
    upstream: Mapping[str, SecretStr],
    *,
    version: int,
) -> None:
    """Write the upstream secret, then the definition, which would fail at once without its secret."""
    if upstream:
        try:
            version_now = store.upstream_version(reference)
            store.write_upstream(reference, upstream, bound_to=destination_text(definition), cas=version_now)
        except RegcredError as error:
            raise type(error)(f"{reference}: nothing was written: {error}") from None
    try:
        store.write_definition(reference, Definition.model_validate(definition.content()), cas=version)
    except ConflictError:
        raise ConflictError(
            f"{reference}: {_written(upstream)}; somebody else wrote the definition at the same time"
        ) from None
    except RegcredError as error:
        raise type(error)(f"{reference}: {_written(upstream)}: {error}") from None


def _written(upstream: Mapping[str, SecretStr]) -> str:
    if upstream:
        return "the upstream secret was written, but the definition was not; run the command again"
    return "nothing was written"


@click.command(
    name="set-secret",
    short_help="Give a registry a new upstream secret.",
    help="Give a registry a new upstream secret, and fetch a credential with it.",
)
@click.argument("reference", metavar="P/R", type=REFERENCE)
@click.option(
    "--secret-file", metavar="FILE", help="The secret's fields as YAML or JSON; '-' is standard input."
)
@wait_option
@timeout_option
@pass_session
def set_secret(
    session: CliSession, reference: Reference, secret_file: str | None, wait: bool, timeout: int
) -> None:
    """Run ``regcred registry set-secret``."""
    store = session.store
    definition = lookup.typed_definition(store, reference)
    upstream_secrets.check_source(secret_file)
    upstream = upstream_secrets.read(definition.upstream_fields(), secret_file)
    if not upstream:
        raise BadInputError(
            f"{reference} is keyless: with this definition, provider {definition.provider} needs no upstream "
            "secret"
        )
    store.write_upstream(
        reference, upstream, bound_to=destination_text(definition), cas=store.upstream_version(reference)
    )
    say(f"{reference}: the new upstream secret is written")
    send_request(session, reference, Action.ROTATE, wait=wait, timeout=timeout)
