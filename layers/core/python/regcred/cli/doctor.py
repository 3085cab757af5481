"""``regcred doctor``: checks everything that the user may read, and lists what to fix."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import datetime, timedelta

import click

from regcred import __version__
from regcred.cli import lookup
from regcred.cli.failures import Failed
from regcred.cli.findings import Finding, Level
from regcred.cli.grant_checks import grants_without_effect
from regcred.cli.output import Styled, output_option, print_json, say, write
from regcred.cli.parameters import PROJECT
from regcred.cli.session import CliSession, PlatformService, pass_session
from regcred.errors import MalformedError, MissingError, RefusedError, RegcredError
from regcred.printable import printable
from regcred.registry.parsing import parse
from regcred.registry.project_policy import check_allowed
from regcred.registry_limit import limit_reason, within_limit
from regcred.registry_reference import Reference
from regcred.vault.platform import ChangeKind
from regcred.vault.records.declared import ProjectPolicy
from regcred.vault.records.index import Index, IndexEntry, State
from regcred.vault.store import Store
from regcred.views.placement import placement_problems, sync_description
from regcred.views.versions import version_note
from regcred.wording import duration, plural

SILENT = timedelta(hours=1)
"""The age at which a status is too old. Sync writes a status on change, and as a heartbeat every ten
minutes."""

SKIPPED_SHOWN = 20
"""The maximum number of unreadable index entries to list."""

WAITING = timedelta(minutes=15)
"""The age at which a request is too old. Dispatch runs every five minutes."""

IN_FORCE = "in force"
"""The text for a registry without problems."""

FEW = 5
"""If a project has more registries without problems, they are counted and not listed."""

NAMED = 3
"""The maximum number of items that a finding names."""

SHORT_TOKEN = timedelta(minutes=5)
"""The remaining time at which the user's token causes a warning."""


@click.command(
    help="""Diagnose the installation.

    The command checks your sign-in, the platform in Vault, the definitions and credentials of each project,
    and whether dispatch, rotate and the sync of each cluster run. It reports what you may not read, and skips
    it. The exit code is 1 if there is a problem.
    """
)
@click.argument("projects", nargs=-1, metavar="[P]...", type=PROJECT)
@click.option(
    "--repair", is_flag=True, help="Repair the rights to read projects, according to platform/projects."
)
@output_option
@pass_session
def doctor(session: CliSession, projects: tuple[str, ...], repair: bool, as_json: bool) -> None:
    """Run ``regcred doctor``."""
    findings = list(_look(session, projects, repair=repair))
    if as_json:
        print_json(
            {
                "findings": [
                    {"level": found.level, "about": found.about, "text": found.text} for found in findings
                ],
                "counts": {level: sum(found.level is level for found in findings) for level in Level},
            }
        )
    else:
        _print(findings)
    count = Counter(found.level for found in findings)
    well = f"{count[Level.OK]} of {plural(len(findings), 'check')} passed"
    if count[Level.PROBLEM]:
        raise Failed(f"{plural(count[Level.PROBLEM], 'problem')} found; {well}")
    if not as_json:
        warned = f"; {plural(count[Level.WARNING], 'warning')}" if count[Level.WARNING] else ""
        say(f"no problem found{warned}; {well}")


def _look(session: CliSession, projects: tuple[str, ...], *, repair: bool) -> Iterator[Finding]:
    tool = session.open_platform(None)
    yield _sign_in(tool)
    yield from _platform(tool)
    clusters: set[str] = set()
    for project in lookup.projects(session.store, projects, "regcred doctor"):
        if projects and (missing := _missing(session.store, project)):
            yield missing
            continue
        yield from _project(session, project, clusters)
        if repair:
            yield from _repair(tool, project)
    yield from grants_without_effect(session.store, projects)
    for cluster in sorted(clusters):
        yield from _identity(session.store, cluster)


def _sign_in(tool: PlatformService) -> Finding:
    """Check the sign-in.

    It raises the errors of :meth:`PlatformService.token_info`: without a sign-in, no other check works.
    """
    found = tool.token_info()
    left = timedelta(seconds=int(found.get("ttl") or 0))
    name = (
        f"as {found.get('display_name') or 'somebody'}, with "
        f"{', '.join(found.get('policies') or ()) or 'no policy'}"
    )
    if left and left < SHORT_TOKEN:
        return Finding(Level.WARNING, "sign-in", f"{name}; the token expires in {duration(left)}")
    return Finding(Level.OK, "sign-in", name)


def _platform(tool: PlatformService) -> Iterator[Finding]:
    try:
        unreadable: list[str] = []
        actions = tool.plan(unreadable.append)
    except RefusedError as error:
        yield Finding(Level.NOTE, "platform", f"your token may not compare it: {error}")
        return
    for problem in unreadable:
        yield Finding(Level.PROBLEM, "platform", problem)
    if not (actions or unreadable):
        yield Finding(Level.OK, "platform", "Vault matches the declaration")
    gone = [action for action in actions if action.verb is ChangeKind.DELETE]
    for action in actions:
        if action.verb is not ChangeKind.DELETE:
            yield Finding(Level.WARNING, "platform", f"to {action}; 'regcred platform plan' shows all")
    if gone:
        # A cluster that was removed from the declaration can still sign in.
        names = ", ".join(str(action.resource) for action in gone[:NAMED]) + (", ..." if gone[NAMED:] else "")
        yield Finding(
            Level.WARNING,
            "platform",
            f"{plural(len(gone), 'object')} in Vault not declared ({names}): 'regcred platform apply "
            "--prune' deletes undeclared objects; or set REGCRED_PLATFORM to the folder of your declaration",
        )
    for note in tool.notes:
        yield Finding(Level.WARNING, "platform", note)


def _repair(tool: PlatformService, project: str) -> Iterator[Finding]:
    try:
        done = tool.ensure_project(project)
    except RefusedError as error:
        yield Finding(Level.NOTE, project, f"your token may not repair the rights to read it: {error}")
        return
    except MalformedError as error:
        yield Finding(Level.PROBLEM, project, f"the rights to read it can't be repaired: {error}")
        return
    for action in done:
        yield Finding(Level.OK, project, f"repaired: {action}")


def _missing(store: Store, project: str) -> Finding | None:
    try:
        lookup.check_project(store, project)
    except MissingError as error:
        return Finding(Level.PROBLEM, project, str(error))
    return None


def _project(session: CliSession, project: str, clusters: set[str]) -> Iterator[Finding]:
    """Check a project. Add the clusters that may use it to ``clusters``."""
    store, now = session.store, session.now()
    policy: ProjectPolicy | None = None
    try:
        found = store.project(project)
        policy = found.value if found else None
        if policy is None:
            yield Finding(
                Level.PROBLEM,
                project,
                f"it has no bounds; a platform admin runs: regcred project add {project}",
            )
    except RefusedError:
        yield Finding(Level.NOTE, project, "your token may not read its bounds")
    except MalformedError as error:
        yield Finding(Level.PROBLEM, project, str(error))
    try:
        index = lookup.index(store, project)
        entries = index.registries
    except RegcredError as error:
        yield Finding(
            Level.PROBLEM, project, f"its index can't be read: {error}; clusters keep their Secrets"
        )
        return
    yield from _skipped(project, index)
    yield from _version(project, "rotate", index.rotate_version)
    names = store.registries(project)
    limit = (policy or ProjectPolicy()).max_registries
    if outside := set(names).difference(within_limit(names, index, limit=limit)):
        text = f"{plural(len(outside), 'registry')} not rotated: {limit_reason(index, limit=limit)}"
        yield Finding(Level.PROBLEM, project, text)
    for name in names:
        try:
            reference = Reference(project, name)
        except MalformedError as error:
            yield Finding(
                Level.PROBLEM,
                f"{project}/{name}",
                f"is not a valid name, so the registry is never rotated: {error}; delete it in Vault",
            )
            continue
        if name in outside:
            yield Finding(Level.NOTE, str(reference), "not rotated: its project has no room for it")
            continue
        yield from _registry(store, reference, entries.get(name), policy, now)
    for cluster in policy.clusters if policy else ():
        clusters.add(cluster)
        yield from _cluster(store, cluster, project, now)


def _skipped(project: str, index: Index) -> Iterator[Finding]:
    for name, problem in list(index.skipped.items())[:SKIPPED_SHOWN]:
        text = (
            f"its entry in the index is skipped: {problem}; clusters keep their Secrets until rotate writes "
            "the entry again"
        )
        yield Finding(Level.PROBLEM, f"{project}/{name}", text)
    if (more := len(index.skipped) - SKIPPED_SHOWN) > 0:
        yield Finding(Level.PROBLEM, project, f"{more} more entries of its index are skipped")


def _version(about: str, part: str, version: str) -> Iterator[Finding]:
    if note := version_note(part, version, __version__):
        yield Finding(Level.NOTE if note.is_supported else Level.PROBLEM, about, note.text)


def _registry(
    store: Store, reference: Reference, entry: IndexEntry | None, policy: ProjectPolicy | None, now: datetime
) -> Iterator[Finding]:
    problems = [
        *_definition(store, reference, policy),
        *_credential(reference, entry, now),
        *_request(store, reference, now),
    ]
    yield from problems or [Finding(Level.OK, str(reference), IN_FORCE)]


def _definition(store: Store, reference: Reference, policy: ProjectPolicy | None) -> Iterator[Finding]:
    about = str(reference)
    try:
        found = store.definition(reference)
        if found is None:
            return
        definition = parse(found.value.content(), where="definition")
        if policy:
            check_allowed(definition, hosts=policy.hosts, paths=policy.paths, accounts=policy.accounts)
        if definition.upstream_fields() and not store.upstream_version(reference):
            yield Finding(
                Level.PROBLEM, about, f"has no upstream secret; 'regcred registry set-secret {about}'"
            )
    except RegcredError as error:
        yield Finding(Level.PROBLEM, about, str(error))


def _credential(reference: Reference, entry: IndexEntry | None, now: datetime) -> Iterator[Finding]:
    about = str(reference)
    if entry is None:
        yield Finding(Level.WARNING, about, "has no credential yet; dispatch runs every 5 minutes")
        return
    if entry.state is State.FAILING:
        yield Finding(Level.PROBLEM, about, f"failing: {entry.error}")
    if entry.state in (State.OK, State.FAILING) and entry.expires_at and entry.expires_at <= now:
        yield Finding(Level.PROBLEM, about, f"expired {duration(now - entry.expires_at)} ago")
    elif entry.state is State.OK and entry.refresh_at and now - entry.refresh_at > WAITING:
        late = duration(now - entry.refresh_at)
        yield Finding(
            Level.PROBLEM, about, f"has been due for rotation for {late}: check that dispatch and rotate run"
        )
    if entry.state is State.REVOKED:
        yield Finding(
            Level.WARNING, about, f"is revoked; to fetch a new credential, run: regcred rotate {about}"
        )
    if entry.shown_state != entry.state:
        yield Finding(Level.WARNING, about, f"{entry.shown_state}: {entry.why_unverified}")
    if entry.warning:
        yield Finding(Level.WARNING, about, entry.warning)


def _request(store: Store, reference: Reference, now: datetime) -> Iterator[Finding]:
    try:
        found = store.revocation(reference) or store.request(reference)
    except MalformedError as error:
        yield Finding(
            Level.PROBLEM,
            str(reference),
            f"{error}; it is ignored: send it again ('regcred rotate {reference}')",
        )
        return
    except RegcredError:
        return
    if found and now - found.value.requested_at > WAITING:
        since = duration(now - found.value.requested_at)
        yield Finding(
            Level.PROBLEM,
            str(reference),
            f"the request to {found.value.action} has waited for {since}: check that dispatch runs",
        )


def _identity(store: Store, cluster: str) -> Iterator[Finding]:
    """Show the cluster that the name is bound to. The sync of another cluster is refused."""
    about = f"cluster {cluster}"
    try:
        found = store.identity(cluster)
    except RefusedError:
        return  # a project admin may not read it, and does not need it
    except RegcredError as error:
        yield Finding(Level.PROBLEM, about, f"{error}; its sync can't prove its identity")
        return
    if found is None:
        yield Finding(
            Level.NOTE, about, "no cluster has used this name yet; the first sign-in binds it to the cluster"
        )
        return
    since = f"{found.value.pinned_at:%Y-%m-%d}"
    text = f"is the cluster whose namespace kube-system has the uid {found.value.uid}, since {since}"
    yield Finding(Level.OK, about, text)


def _cluster(store: Store, cluster: str, project: str, now: datetime) -> Iterator[Finding]:
    about = f"{project} in {cluster}"
    try:
        found = store.status(cluster, project)
    except RegcredError as error:
        yield Finding(Level.NOTE, about, f"its status can't be read: {error}")
        return
    if found is None:
        yield Finding(Level.NOTE, about, "sync has not written a status yet")
    elif now - found.value.written_at > SILENT:
        since = duration(now - found.value.written_at)
        yield Finding(
            Level.PROBLEM,
            about,
            f"sync last wrote its status {since} ago: check that it runs and can reach Vault",
        )
    else:
        description = sync_description(found.value)
        version = f" ({description})" if description else ""
        yield Finding(
            Level.OK, about, f"sync{version} wrote its status {duration(now - found.value.written_at)} ago"
        )
    if found:
        yield from _version(about, "sync", found.value.sync_version)
    for name, placement in sorted(found.value.registries.items() if found else ()):
        for problem in placement_problems(cluster, placement):
            level = Level.PROBLEM if problem.is_fault else Level.WARNING
            yield Finding(level, f"{project}/{name} in {cluster}", problem.text)


def _summed_up(findings: list[Finding]) -> Iterator[Finding]:
    """The findings, with one line for many registries of a project without problems."""
    well = [found for found in findings if found.level is Level.OK and found.text == IN_FORCE]
    projects = Counter(found.about.partition("/")[0] for found in well)
    for found in findings:
        project, slash, _ = found.about.partition("/")
        if found.text != IN_FORCE or projects[project] <= FEW:
            yield found
        elif slash and (count := projects.pop(project)):
            yield Finding(Level.OK, project, f"{plural(count, 'registry')} in force")


def _print(findings: list[Finding]) -> None:
    marks = {
        Level.OK: Styled("✓", "green"),
        Level.NOTE: Styled("·"),
        Level.WARNING: Styled("!", "yellow"),
        Level.PROBLEM: Styled("✗", "red"),
    }
    width = max((len(printable(found.about)) for found in findings), default=0)
    for found in _summed_up(findings):
        write(marks[found.level], f" {printable(found.about).ljust(width)}  {found.text}")
