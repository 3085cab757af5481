"""``regcred registry``: a project's registries (``registries/P/R`` and ``upstream/P/R``)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import click
from pydantic import SecretStr

from regcred.cli import definitions, lookup, secrets
from regcred.cli.failures import BadInputError, Failed, describe, user_input
from regcred.cli.groups import Group
from regcred.cli.output import expires_in, output_option, print_json, print_table, say, time_text
from regcred.cli.parameters import PROJECT, REFERENCE
from regcred.cli.prompts import confirm, interactive
from regcred.cli.rotate import ask, timeout_option, wait_option
from regcred.cli.session import Session, pass_session
from regcred.errors import ConflictError, RefusedError, RegcredError
from regcred.reference import Reference
from regcred.registry import catalog
from regcred.registry.definition import BaseDefinition, check_allowed, parse
from regcred.registry.trust import Asker
from regcred.vault.records import Action, Definition, IndexEntry
from regcred.vault.store import Store


@click.group(cls=Group)
def registry() -> None:
    """Add, list, show, verify and remove registries.

    A registry belongs to a project and is named PROJECT/REGISTRY, as in payments/ecr-prod.
    """


@registry.command(short_help="Add a registry: from a file, or by asking.")
@click.argument("reference", metavar="P/R", type=REFERENCE)
@click.option("-f", "--file", metavar="FILE", help="The definition as YAML or JSON; '-' is standard input.")
@click.option(
    "--secret-file",
    metavar="FILE",
    help="The upstream secret's fields as YAML or JSON; '-' is standard input.",
)
@click.option("--replace", is_flag=True, help="Replace the definition of a registry that exists.")
@wait_option
@timeout_option
@pass_session
def add(
    session: Session,
    reference: Reference,
    file: str | None,
    secret_file: str | None,
    replace: bool,
    wait: bool,
    timeout: int,
) -> None:
    """Add a registry: from a file, or by asking for what is needed.

    Where the registry can be reached without any stored secret (keyless), none is asked for. Where one is unavoidable, it is
    asked for without showing it, or read from --secret-file; it is never taken from the command line. The definition is
    checked, written, and then a first credential is fetched and tried.

    \b
    Examples:
      regcred registry add payments/ecr-prod
      regcred registry add payments/ecr-prod -f ecr.yaml
      regcred registry add payments/nexus -f nexus.yaml --secret-file - < secret.json
    """
    secrets.check_source(secret_file, definition=file)
    store = session.store
    version = _version_to_replace(store, reference, replace=replace)
    definition = _definition(file)
    _check_allowed(store, reference, definition)
    upstream = _upstream(store, reference, definition, secret_file, replace=replace)
    _write(store, reference, definition, upstream, version=version)
    if not definition.needs_credential():
        say(
            f"{reference}: is written. It is public: there is nothing to fetch, and workloads need no annotation for it"
        )
        return
    if not definition.upstream_fields():
        say(
            f"{reference} is keyless: 'regcred registry trust {reference}' prints what the vendor's side must configure"
        )
    say(
        f"{reference}: the definition is written; fetching a first credential"
        if wait
        else f"{reference}: is written"
    )
    ask(session, reference, Action.ROTATE, wait=wait, timeout=timeout)
    say(
        f"next: let a namespace use it ('regcred grant add'), and annotate a workload ('regcred annotation {reference}')"
    )


@registry.command(name="set-secret", short_help="Give a registry a new upstream secret.")
@click.argument("reference", metavar="P/R", type=REFERENCE)
@click.option("--secret-file", metavar="FILE", help="Its fields as YAML or JSON; '-' is standard input.")
@wait_option
@timeout_option
@pass_session
def set_secret(
    session: Session, reference: Reference, secret_file: str | None, wait: bool, timeout: int
) -> None:
    """Give a registry a new upstream secret, and fetch a credential with it."""
    store = session.store
    definition = _parsed(lookup.definition(store, reference).value, reference)
    secrets.check_source(secret_file)
    upstream = secrets.read(definition.upstream_fields(), secret_file)
    if not upstream:
        raise BadInputError(
            f"{reference} is keyless: provider {definition.provider} needs no upstream secret as defined"
        )
    store.write_upstream(reference, upstream, cas=store.upstream_version(reference))
    say(f"{reference}: the new upstream secret is written")
    ask(session, reference, Action.ROTATE, wait=wait, timeout=timeout)


@registry.command(short_help="Print what the vendor's side must configure.")
@click.argument("reference", metavar="P/R", type=REFERENCE)
@click.option(
    "-f", "--file", metavar="FILE", help="A definition that is not written yet; '-' is standard input."
)
@click.option("--role-arn", metavar="ARN", help="The project's IAM role; without it, the one in Vault.")
@click.option("--issuer", metavar="URL", default="", help="The issuer of the AWS account's identity tokens.")
@pass_session
def trust(
    session: Session, reference: Reference, file: str | None, role_arn: str | None, issuer: str
) -> None:
    """Print what the vendor's side must configure to trust this project's role, ready to paste.

    A keyless registry stores no secret: the vendor trusts the project's own IAM role, and nobody else's.

    \b
    Examples:
      regcred registry trust payments/gar
      regcred registry trust payments/gar -f gar.yaml --issuer https://0f1e.tokens.sts.global.api.aws
    """
    store = session.store
    definition = _definition(file) if file else _parsed(lookup.definition(store, reference).value, reference)
    role = role_arn or _project_role(store, reference)
    if text := definition.trust(Asker(reference.project, role, issuer)):
        click.echo(text, nl=False)
    else:
        say(f"{reference} is not keyless: its upstream secret is all that the vendor asks for")


def _project_role(store: Store, reference: Reference) -> str:
    found = store.project(reference.project)
    if found is None or not found.value.role_arn:
        raise BadInputError(
            f"project {reference.project} has no IAM role of its own; name it by --role-arn, or let a platform admin "
            f"set it: regcred project add {reference.project} --role-arn ARN"
        )
    return found.value.role_arn


@registry.command()
@click.argument("provider", required=False)
def template(provider: str | None) -> None:
    """Print a definition to fill in, for 'registry add -f'.

    Without PROVIDER, the kinds of registry that there are.
    """
    if provider is None:
        names = catalog.names()
        print_table(["provider", "for"], [[name, definitions.summary(name)] for name in names])
        return
    with user_input():
        click.echo(definitions.template(provider), nl=False)


@registry.command(name="list", short_help="List registries.")
@click.argument("projects", metavar="[P]...", type=PROJECT, nargs=-1)
@output_option
@pass_session
def list_(session: Session, projects: Sequence[str], as_json: bool) -> None:
    """List registries: of the projects that are named, or of all that you may see."""
    store = session.store
    rows = [
        (Reference(project, name), lookup.index(store, project).registries.get(name))
        for project in lookup.projects(store, projects, "regcred registry list")
        for name in store.registries(project)
    ]
    found = [
        (reference, definition.value, entry)
        for reference, entry in rows
        if (definition := store.definition(reference))
    ]
    if as_json:
        print_json(
            {
                "registries": [
                    {"registry": str(reference), "state": _state(entry), "definition": definition.content()}
                    for reference, definition, entry in found
                ]
            }
        )
        return
    if not found:
        say("there are no registries yet; add one: regcred registry add PROJECT/REGISTRY")
        return
    print_table(
        ["registry", "provider", "state", "hosts", "description"],
        [
            [
                str(reference),
                definition.provider,
                _state(entry),
                _few(entry.hosts if entry else []),
                str(definition.content().get("description", "")),
            ]
            for reference, definition, entry in found
        ],
    )


@registry.command(short_help="Show a definition and what is known of its credential.")
@click.argument("reference", metavar="P/R", type=REFERENCE)
@output_option
@pass_session
def show(session: Session, reference: Reference, as_json: bool) -> None:
    """Show a registry's definition and what is known of its credential. Secrets are never shown."""
    import yaml

    store = session.store
    found = lookup.definition(store, reference)
    entry = lookup.index(store, reference.project).registries.get(reference.registry)
    secret = _has_upstream(store, reference)
    if as_json:
        print_json(
            {
                "registry": str(reference),
                "definition": found.value.content(),
                "definition_version": found.version,
                "upstream_secret": secret,
                "secret_name": reference.secret_name,
                "credential": _entry_json(entry),
            }
        )
        return
    click.echo(f"# {reference}, definition version {found.version}")
    click.echo(yaml.safe_dump(found.value.content(), sort_keys=False, allow_unicode=True), nl=False)
    click.echo("")
    _show_line(
        "upstream secret", {True: "written", False: "none", None: "unknown (your token may not tell)"}[secret]
    )
    _show_line("state", _state(entry))
    if entry and entry.version:
        _show_line("credential", f"version {entry.version}, pulls tried: {entry.verified}")
        _show_line("expires in", expires_in(entry.expires_at, session.now()))
        _show_line("hosts", ", ".join(entry.hosts))
    if entry and entry.error:
        _show_line("error", entry.error)
    if entry and entry.warning:
        _show_line("warning", entry.warning)
    _show_line("Secret's name", reference.secret_name)


@registry.command(short_help="Try the credential against the registry itself.")
@click.argument("reference", metavar="P/R", type=REFERENCE)
@wait_option
@timeout_option
@pass_session
def verify(session: Session, reference: Reference, wait: bool, timeout: int) -> None:
    """Try the credential that is in force against the registry itself: it must pull, and must not push."""
    ask(session, reference, Action.VERIFY, wait=wait, timeout=timeout)


@registry.command(short_help="Remove its definition and its upstream secret.")
@click.argument("reference", metavar="P/R", type=REFERENCE)
@click.option("--yes", "-y", is_flag=True, help="Do not ask.")
@pass_session
def remove(session: Session, reference: Reference, yes: bool) -> None:
    """Remove a registry: its definition and its upstream secret.

    The credential is then destroyed in Vault and its Secrets are removed from every cluster, within minutes. The vendor is
    not asked to end it; to be sure of that, 'regcred revoke P/R' first.
    """
    lookup.definition(session.store, reference)
    if not yes:
        confirm(f"Remove {reference}? Workloads that name it can't pull its images any more.")
    try:
        session.store.remove_definition(reference)
    except RegcredError as error:
        if session.store.definition(reference) is not None:
            raise
        line, _ = describe(error)
        raise Failed(
            f"{reference}: the definition is removed, but the upstream secret is not: {line}"
        ) from None
    say(
        f"{reference}: removed; its credential and its Secrets go within minutes ('regcred status {reference.project}')"
    )


def _version_to_replace(store: Store, reference: Reference, *, replace: bool) -> int:
    found = store.definition(reference)
    if found and not replace:
        raise BadInputError(
            f"{reference} exists already; change it with --replace, or see 'regcred registry show {reference}'"
        )
    return found.version if found else store.definition_version(reference)


def _definition(file: str | None) -> BaseDefinition:
    if file:
        return definitions.typed(definitions.read(file), "standard input" if file == "-" else file)
    if not interactive():
        raise BadInputError(
            "there is no terminal to ask on: give the definition by -f FILE ('-' for standard input)"
        )
    return definitions.ask("definition")


def _check_allowed(store: Store, reference: Reference, definition: BaseDefinition) -> None:
    try:
        found = store.project(reference.project)
    except RefusedError:
        say(f"note: your token may not read what {reference.project} may use; rotate will check it")
        return
    if found is None:
        raise RefusedError(
            f"there is no project {reference.project}; a platform admin makes it: regcred project add {reference.project}"
        )
    policy = found.value
    check_allowed(definition, hosts=policy.hosts, paths=policy.paths, accounts=policy.accounts)


def _upstream(
    store: Store, reference: Reference, definition: BaseDefinition, file: str | None, *, replace: bool
) -> dict[str, SecretStr]:
    wanted = definition.upstream_fields()
    if wanted and replace and not file and _has_upstream(store, reference):
        say(f"{reference}: keeps its upstream secret; 'regcred registry set-secret {reference}' changes it")
        return {}
    return secrets.read(wanted, file)


def _write(
    store: Store,
    reference: Reference,
    definition: BaseDefinition,
    upstream: Mapping[str, SecretStr],
    *,
    version: int,
) -> None:
    """Upstream first: a definition whose secret is missing would fail at once."""
    if upstream:
        try:
            store.write_upstream(reference, upstream, cas=store.upstream_version(reference))
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


def _parsed(definition: Definition, reference: Reference) -> BaseDefinition:
    return parse(definition.content(), where=f"registries/{reference}")


def _has_upstream(store: Store, reference: Reference) -> bool | None:
    try:
        return store.upstream_version(reference) > 0
    except RefusedError:
        return None


def _state(entry: IndexEntry | None) -> str:
    return entry.state if entry else "pending"


def _few(hosts: Sequence[str]) -> str:
    more = len(hosts) - 1
    return "" if not hosts else hosts[0] + (f" (+{more})" if more else "")


def _show_line(name: str, value: str) -> None:
    from regcred.cli.output import printable

    click.echo(f"{name:<17}{printable(value)}")


def _entry_json(entry: IndexEntry | None) -> dict[str, Any] | None:
    if entry is None:
        return None
    return {
        "state": entry.state,
        "version": entry.version,
        "hosts": entry.hosts,
        "verified": entry.verified,
        "issued_for_definition_version": entry.definition_version,
        "expires_at": time_text(entry.expires_at),
        "refresh_at": time_text(entry.refresh_at),
        "error": entry.error,
        "warning": entry.warning,
    }
