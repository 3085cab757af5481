"""``regcred registry add`` and ``set-secret``: a first rotation tests what they write."""

from __future__ import annotations

from collections.abc import Mapping

import click
from pydantic import SecretStr

from regcred.cli import definitions, lookup, secrets
from regcred.cli.failures import BadInputError
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
from regcred.registry.trust import Asker
from regcred.registry_limit import served, want_of_room
from regcred.registry_reference import Reference
from regcred.vault.records.declared import Action, Definition, ProjectPolicy
from regcred.vault.store import Store

HELP = """Add a registry, from a file or from your answers to questions.

If the registry needs no stored secret (keyless), the command prints what to configure at the vendor.
Otherwise, it asks for the secret without showing it, or reads it from --secret-file. It never takes a
secret from the command line. It checks the definition, writes it, fetches a first credential and tries
it.

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
    secrets.check_source(secret_file, definition=file)
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
            f"{reference}: is written. It is public: there is nothing to fetch, and workloads need no "
            "annotation for it"
        )
        return
    if not definition.upstream_fields():
        _print_trust(reference, definition, policy)
    _fetch_first(session, reference, wait=wait, timeout=timeout)


def _fetch_first(session: CliSession, reference: Reference, *, wait: bool, timeout: int) -> None:
    """Request a first credential, which tests the definition and the upstream secret."""
    begun = "the definition is written; fetching a first credential" if wait else "is written"
    say(f"{reference}: {begun}")
    send_request(session, reference, Action.ROTATE, wait=wait, timeout=timeout)
    say(
        "next: let a namespace use it ('regcred grant add'), and annotate a workload ('regcred annotation "
        f"{reference}')"
    )


def _version_to_replace(store: Store, reference: Reference, *, replace: bool) -> int:
    try:
        found = store.definition(reference)
        version = found.version if found else 0
    except MalformedError:  # a broken one can be replaced
        version = store.definition_version(reference)
    if version and not replace:
        raise BadInputError(
            f"{reference} exists already; change it with --replace, or see 'regcred registry show "
            f"{reference}'"
        )
    return version or store.definition_version(reference)


def _interview(policy: ProjectPolicy | None) -> BaseDefinition:
    if not interactive():
        raise BadInputError(
            "there is no terminal to ask on: give the definition by -f FILE ('-' for standard input)"
        )
    return definitions.ask("definition", policy)


def _policy(store: Store, reference: Reference) -> ProjectPolicy | None:
    """What the project may use, if the user may read it.

    Raises:
        RefusedError: the project does not exist.
    """
    try:
        found = store.project(reference.project)
    except RefusedError:
        say(f"note: your token may not read what {reference.project} may use; rotate will check it")
        return None
    if found is None:
        raise RefusedError(
            f"there is no project {reference.project}; a platform admin makes it: regcred project add "
            f"{reference.project}"
        )
    return found.value


def _check_room(store: Store, reference: Reference, policy: ProjectPolicy | None) -> None:
    """Refuse a registry that would not be rotated because its project is full."""
    names = [found.registry for found in lookup.registries(store, reference.project)]
    limit = (policy or ProjectPolicy()).max_registries
    index = lookup.index(store, reference.project)
    if reference.registry not in served({*names, reference.registry}, index, limit=limit):
        raise RefusedError(f"{reference}: nothing was written: {want_of_room(index, limit=limit)}")


def _print_trust(reference: Reference, definition: BaseDefinition, policy: ProjectPolicy | None) -> None:
    """The settings on the vendor's side that a first credential needs."""
    if policy is None or not policy.role_arn:
        say(
            f"{reference} is keyless: 'regcred registry trust {reference}' prints what the vendor's side "
            "must configure"
        )
        return
    say(f"{reference} is keyless; the vendor's side must trust {policy.role_arn}:")
    write_document(f"\n{definition.trust(Asker(reference.project, policy.role_arn))}\n", err=True)
    say(
        f"until that is done, fetching is refused and tried again ('regcred registry trust {reference}' "
        "shows it again)"
    )


def _upstream(
    store: Store, reference: Reference, definition: BaseDefinition, file: str | None, *, replace: bool
) -> dict[str, SecretStr]:
    wanted = definition.upstream_fields()
    if wanted and replace and not file and lookup.find_upstream(store, reference):
        if change := _moves(store, reference, definition):
            say(f"{reference}: {change}, so the upstream secret is asked for again")
            return secrets.read(wanted, file)
        say(f"{reference}: keeps its upstream secret; 'regcred registry set-secret {reference}' changes it")
        return {}
    return secrets.read(wanted, file)


def _moves(store: Store, reference: Reference, definition: BaseDefinition) -> str:
    """The changes of the destination that prevent the use of the stored secret; empty if there are none."""
    try:
        found = store.definition(reference)
        return (
            destination_change(parse(found.value.content(), where=str(reference)), definition)
            if found
            else ""
        )
    except MalformedError:
        return "the definition before can't be read"


def _write(
    store: Store,
    reference: Reference,
    definition: BaseDefinition,
    upstream: Mapping[str, SecretStr],
    *,
    version: int,
) -> None:
    """Write the upstream secret first. A definition without its secret would fail at once."""
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
            f"{reference}: {_written(upstream)}; somebody else has just written the definition"
        ) from None
    except RegcredError as error:
        raise type(error)(f"{reference}: {_written(upstream)}: {error}") from None


def _written(upstream: Mapping[str, SecretStr]) -> str:
    if upstream:
        return "the upstream secret was written, the definition was not; run the command again"
    return "nothing was written"


@click.command(
    name="set-secret",
    short_help="Give a registry a new upstream secret.",
    help="Give a registry a new upstream secret, and fetch a credential with it.",
)
@click.argument("reference", metavar="P/R", type=REFERENCE)
@click.option("--secret-file", metavar="FILE", help="Its fields as YAML or JSON; '-' is standard input.")
@wait_option
@timeout_option
@pass_session
def set_secret(
    session: CliSession, reference: Reference, secret_file: str | None, wait: bool, timeout: int
) -> None:
    """Run ``regcred registry set-secret``."""
    store = session.store
    definition = lookup.typed_definition(store, reference)
    secrets.check_source(secret_file)
    upstream = secrets.read(definition.upstream_fields(), secret_file)
    if not upstream:
        raise BadInputError(
            f"{reference} is keyless: provider {definition.provider} needs no upstream secret as defined"
        )
    store.write_upstream(
        reference, upstream, bound_to=destination_text(definition), cas=store.upstream_version(reference)
    )
    say(f"{reference}: the new upstream secret is written")
    send_request(session, reference, Action.ROTATE, wait=wait, timeout=timeout)
