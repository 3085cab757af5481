"""``regcred system``: manages the system registry and its logins."""

from __future__ import annotations

import json
import os
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from regcred.cli import docker_config
from regcred.cli.command_groups import CommandGroup
from regcred.cli.failures import Failed, user_input
from regcred.cli.output import output_option, print_json, say, write, write_document
from regcred.cli.parameters import LabelType, WholeNumber
from regcred.cli.session import CliSession, pass_session
from regcred.errors import MalformedError
from regcred.wording import plural

if TYPE_CHECKING:
    from regcred.vault.records.system import SystemConfig


@click.group(
    cls=CommandGroup,
    help="""Sign in to the system registry, and set it up.

    The system registry contains images for tests, and copies of public images (docs/system-registry.md).
    """,
)
def system() -> None:
    """Group the commands of ``regcred system``."""


@system.command(
    help="""Sign in docker, podman, crane and skopeo.

    The command adds the credential helper docker-credential-regcred to Docker's config.json. When one of
    these tools needs a login, the helper creates one with your Vault token. It expires after an hour, and no
    secret is stored. With --write, the file contains a login instead. It expires too, and only you can read
    the file.
    """
)
@click.option("--hours", type=WholeNumber(1, 168), help="With --write: how long the login is valid.")
@click.option("--write", "in_file", is_flag=True, help="Write the login itself into config.json.")
@pass_session
def login(session: CliSession, hours: int | None, in_file: bool) -> None:
    """Run ``regcred system login``."""
    tool = session.open_system()
    seconds = (hours or 0) * 3600 if in_file else 600
    got = tool.login(seconds=seconds)
    file = docker_config.path(os.environ, Path.home())
    with user_input():
        config = docker_config.read(file)
        new = (
            docker_config.with_login(config, got.host, got.user, got.password)
            if in_file
            else docker_config.with_helper(config, got.host)
        )
    docker_config.write(file, new)
    until = f"until {got.expires_at}" if in_file else "as long as your Vault token is valid"
    say(f"signed in to {got.host} as {got.user}, {until} ({file})")


@system.command(help="End all your logins, on every machine.")
@pass_session
def logout(session: CliSession) -> None:
    """Run ``regcred system logout``."""
    tool = session.open_system()
    host = tool.config().host
    file = docker_config.path(os.environ, Path.home())
    with user_input():
        config = docker_config.read(file)
        left = docker_config.without(config, host)
    if left != config:
        docker_config.write(file, left)
    tool.end_logins()
    say(f"signed out of {host}; all logins that you created are invalid now")


@system.command(
    help="""Set up the system registry, and print the next steps.

    This needs the policy regcred-platform-admin. An operator must first run 'regcred platform apply' with
    system_registry: true. A second run changes only the settings that you give.
    """
)
@click.option("--host", help="The registry's host as used in image names.")
@click.option(
    "--token-url", help="The address of the token server, as in https://token.registry.example.com."
)
@click.option(
    "--key-header",
    type=click.Choice(["kid", "x5c"]),
    help="How tokens name their key: kid for a registry with a JWK set (Distribution 3), x5c for a registry "
    "with a bundle of certificates.",
)
@click.option(
    "--issuer",
    "issuers",
    multiple=True,
    metavar="URL[=FILE]",
    help="The issuer of the projects' identity tokens. Add a file with its JWK set if the token server can't "
    "fetch it.",
)
@pass_session
def init(
    session: CliSession,
    host: str | None,
    token_url: str | None,
    key_header: str | None,
    issuers: tuple[str, ...],
) -> None:
    """Run ``regcred system init``."""
    given: dict[str, Any] = {"host": host, "token_url": token_url, "key_header": key_header}
    given = {name: value.rstrip("/") for name, value in given.items() if value}
    with user_input():
        if issuers:
            given["issuers"] = [_issuer(text) for text in issuers]
        config, changed = session.open_system().set_up(given)
    say("the system registry is set up" if changed else "nothing to do: the settings are the same")
    write_document(_next_steps(config))


@system.command(help="Print the public keys that registries must trust.")
@click.option(
    "--format",
    "form",
    type=click.Choice(["jwks", "certificates", "list"]),
    default="list",
    show_default=True,
    help="The JWK set (Distribution 3), the bundle of certificates (2.8 and 3), or a list for people.",
)
@output_option
@pass_session
def keys(session: CliSession, form: str, as_json: bool) -> None:
    """Run ``regcred system keys``."""
    found = session.open_system().keys()
    if form == "jwks":
        print_json(found.jwks())
    elif form == "certificates":
        write_document(found.bundle())
    elif as_json:
        print_json(
            {"keys": [{"kid": key.kid, "signs_from": key.signs_from.isoformat()} for key in found.keys]}
        )
    else:
        for key in found.keys:
            write(f"{key.kid}  signs from {key.signs_from:%Y-%m-%d %H:%M} UTC")


@system.command(
    "rotate-keys",
    help="""Create a new signing key, or withdraw the old keys.

    The old key signs until the lead time is over. Tokens of both keys are valid until you withdraw the old
    one.
    """,
)
@click.option(
    "--lead-hours",
    type=WholeNumber(0, 720),
    default=24,
    show_default=True,
    help="The time until the new key signs. Registries must load it before.",
)
@click.option("--retire", is_flag=True, help="Withdraw the replaced keys.")
@pass_session
def rotate_keys(session: CliSession, lead_hours: int, retire: bool) -> None:
    """Run ``regcred system rotate-keys``."""
    tool = session.open_system()
    if retire:
        gone = tool.retire()
        if gone:
            say(f"{plural(len(gone), 'key')} withdrawn; give the registry the remaining keys and restart it")
        else:
            say("nothing to withdraw: no key was replaced longer ago than a login is valid")
        return
    signs_from = tool.rotate(lead=timedelta(hours=lead_hours))
    say(
        f"a new key starts to sign at {signs_from:%Y-%m-%d %H:%M} UTC; before that, give the registry the "
        "output of 'regcred system keys --format jwks' (or certificates) and restart it"
    )


@system.command(
    help="""Copy public images into community/.

    crane or skopeo copies all platforms and the signatures. Images that exist with the same digest are
    skipped, so a second run resumes the first. Sign in before: regcred system login.
    """
)
@click.option(
    "-f",
    "--file",
    "file",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    required=True,
    help="YAML with 'images': a list of images, or of 'source' and 'as' (docs/system-registry.md).",
)
@pass_session
def load(session: CliSession, file: Path) -> None:
    """Run ``regcred system load``."""
    from regcred.wiring.cli.image_copier import CopyError, copier, read_list

    config = session.open_system().config()
    with user_input():
        wanted = read_list(file, config.community[0])
    tool, failed = copier(), 0
    for number, image in enumerate(wanted, 1):
        say(f"{number}/{len(wanted)} {image.source} ...")
        try:
            copied = tool.copy(image.source, f"{config.host}/{image.name}")
        except CopyError as error:
            failed += 1
            say(f"  not copied: {error}")
        else:
            say(f"  {'copied' if copied else 'exists already'}: {config.host}/{image.name}")
    if failed:
        raise Failed(f"{plural(failed, 'image')} of {len(wanted)} not copied; run it again to resume")


@system.command(
    help="""Delete old images of a project.

    An image is deleted if it is old and not one of the newest. Its signatures are deleted too. The registry
    frees the space at its next garbage collection. Without --repository, you must be in the group
    regcred-platform-admins, because others may not list repositories.
    """
)
@click.argument("project", type=LabelType("project"))
@click.option(
    "--repository", "repositories", multiple=True, help="Only this repository. You can repeat this option."
)
@click.option(
    "--keep",
    type=WholeNumber(0),
    default=10,
    show_default=True,
    help="How many of the newest images stay in each repository.",
)
@click.option(
    "--older-than",
    "days",
    type=WholeNumber(0),
    default=30,
    show_default=True,
    help="Delete only images that are older than this number of days.",
)
@click.option("--dry-run", is_flag=True, help="Only print what would be deleted.")
@output_option
@pass_session
def prune(
    session: CliSession,
    project: str,
    repositories: tuple[str, ...],
    keep: int,
    days: int,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Run ``regcred system prune``."""
    from regcred.token.retention import expired

    images, tags = session.open_system().images(), list[str]()
    with user_input():
        stray = [name for name in repositories if not name.startswith(f"{project}/")]
        if stray:
            raise MalformedError(
                f"--repository {stray[0]}: does not begin with {project}/", field="repository"
            )
    for repository in repositories or images.repositories(project):
        gone = expired(images.tags(repository), keep=keep, age=timedelta(days=days), now=session.now())
        for digest in dict.fromkeys(tag.digest for tag in gone):
            if not dry_run:
                images.delete(repository, digest)
        tags += [f"{repository}:{tag.name}" for tag in gone]
        for tag in () if as_json else gone:
            write(f"{repository}:{tag.name}")
    if as_json:
        print_json({"dry_run": dry_run, "tags": tags})
    say(f"{plural(len(tags), 'tag')} {'would be ' if dry_run else ''}deleted")


def _issuer(text: str) -> dict[str, Any]:
    issuer, _, file = text.partition("=")
    if not file:
        return {"issuer": issuer}
    try:
        return {"issuer": issuer, "jwks": json.loads(Path(file).read_text("utf-8"))}
    except ValueError:
        raise MalformedError(f"{file}: is not a JWK set in JSON", field="issuer") from None


def _next_steps(config: SystemConfig) -> str:
    trust = (
        "        jwks: /etc/regcred/jwks.json     # regcred system keys --format jwks\n"
        "        signingalgorithms: [ES256]\n"
        if config.key_header == "kid"
        else "        rootcertbundle: /etc/regcred/bundle.pem     # regcred system keys --format "
        "certificates\n"
    )
    lines = (
        "Next steps:\n"
        "  1. Run the token server: Token=enabled in template.yaml, or the chart regcred-registry.\n"
        "  2. Let the registry trust it (with the chart, by the value tokenKeys):\n"
        "    auth:\n"
        "      token:\n"
        f"        realm: {config.token_url}/token\n"
        f"        service: {config.service}\n"
        f"        issuer: {config.issuer}\n"
        f"{trust}"
        "  3. Add people to groups: regcred-readers-P may pull, regcred-admins-P may push, "
        "regcred-platform-admins may load community images.\n"
    )
    if not config.issuers:
        lines += (
            "  4. For the provider 'system', set the issuer of the projects' identity tokens: regcred system "
            "init --issuer URL\n"
        )
    return lines
