"""`python -m realparts up|down|status`: the command line of the real parts."""

from __future__ import annotations

import argparse
import sys
import traceback
from collections.abc import Callable

from .aws import ACCOUNT, REGION
from .build import BuildError, say
from .procs import StartError
from .stack import PARTS, Stack
from .system_registry import HOST, TOKEN_HOST


def main() -> int:
    """Run the command line and return the exit code: 0 done, 1 failed, 2 wrong usage, 3 not (all) up."""
    parser = argparse.ArgumentParser(prog="python -m realparts", description="Start and stop the real parts.")
    parser.add_argument("--dir", default=".local", help="their folder (default: .local)")
    commands = parser.add_subparsers(dest="command", required=True)
    up = commands.add_parser("up", help="build and start the parts that are missing")
    up.add_argument("--parts", nargs="+", choices=PARTS, metavar="PART", help=f"some of: {', '.join(PARTS)}")
    commands.add_parser("down", help="stop everything, and remove everything except the logs")
    commands.add_parser("status", help="print which parts run, and where")
    user = commands.add_parser("user", help="create a user of the registry, and print its password")
    user.add_argument("name")
    user.add_argument(
        "--pull",
        nargs="+",
        default=["*"],
        metavar="REPOSITORY",
        help="the repositories that it may pull (default: all)",
    )
    user.add_argument(
        "--expires-in",
        type=float,
        metavar="SECONDS",
        help="the lifetime of its credential (default: no expiry)",
    )
    revoke = commands.add_parser("revoke", help="revoke a user of the registry")
    revoke.add_argument("name")
    image = commands.add_parser(
        "image", help="push a small image, which every registry host name then serves"
    )
    image.add_argument("repository")
    image.add_argument("--tag", default="1")
    role = commands.add_parser(
        "role", help="create a project's IAM role, which the rotate function may assume"
    )
    role.add_argument("project")
    role.add_argument("--account", default=ACCOUNT)
    person = commands.add_parser(
        "person", help="create a person in Vault, and print the person's Vault token"
    )
    person.add_argument("name")
    person.add_argument(
        "--group",
        nargs="+",
        default=[],
        metavar="GROUP",
        help="as in regcred-admins-shop; the project must exist",
    )
    lifetime = commands.add_parser(
        "ecr-lifetime", help="set the lifetime of new ECR logins in seconds (default: 43200)"
    )
    lifetime.add_argument("seconds", type=float)
    args = parser.parse_args()
    stack = Stack(args.dir)
    try:
        return _run(stack, args)
    except LookupError as error:
        print(error, file=sys.stderr)
        return 3
    except (BuildError, StartError) as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("Interrupted. `make down` stops what has started.", file=sys.stderr)
        return 130
    except Exception as error:
        stack.logs_dir.mkdir(parents=True, exist_ok=True)
        with (stack.logs_dir / "realparts.log").open("a") as log:
            traceback.print_exc(file=log)
        print(
            f"{type(error).__name__}: {error}\nThe logs in {stack.logs_dir} have the details.",
            file=sys.stderr,
        )
        return 1


def _run(stack: Stack, args: argparse.Namespace) -> int:
    match args.command:
        case "up":
            return _up(stack, args.parts)
        case "down":
            return _down(stack)
        case "status":
            return _status(stack)
    _act(Stack.attach(stack.directory), args)
    return 0


def _act(stack: Stack, args: argparse.Namespace) -> None:
    """Run a command on a running stack."""
    match args.command:
        case "user":
            say(stack.registry.add_user(args.name, pull=args.pull, expires_in=args.expires_in))
        case "revoke":
            stack.registry.revoke_user(args.name)
        case "image":
            stack.push_image(args.repository, tag=args.tag)
            for host in ("registry.example.com", f"{ACCOUNT}.dkr.ecr.{REGION}.amazonaws.com"):
                say(f"{host}/{args.repository}:{args.tag}")
        case "role":
            say(stack.project_role(args.project, account=args.account))
        case "person":
            say(stack.system.person(args.name, *args.group))
        case "ecr-lifetime":
            stack.aws.set_ecr_token_lifetime(args.seconds)


def _up(stack: Stack, parts: list[str] | None) -> int:
    before = set(stack.parts_up())
    up = stack.up(parts)
    if {"vault", "lambda"} <= set(up):
        stack.start_functions()
    if before.issuperset(up):
        say("Already up; nothing to do.")
    else:
        say(f"Up: {', '.join(up)}.")
    say(f"To use the parts: source {stack.directory / 'env.sh'}")
    return 0


def _down(stack: Stack) -> int:
    stack.down()
    say(f"Down. The logs are in {stack.logs_dir}.")
    return 0


def _status(stack: Stack) -> int:
    up = stack.parts_up()
    where: dict[str, Callable[[], str]] = {
        "vault": lambda: stack.vault.addr,
        "kubernetes": lambda: stack.kubernetes.server,
        "registry": lambda: f"http://{stack.registry.host}",
        "aws": lambda: stack.aws.endpoint_url,
        "node": lambda: stack.node.name,
        "system": lambda: f"https://{HOST}, tokens of https://{TOKEN_HOST}",
        "lambda": lambda: ", ".join(name for name in stack.processes.running() if "lambda-" in name),
    }
    for part in PARTS:
        say(f"{part:12} {'up    ' + where[part]() if part in up else 'down'}")
    running = stack.processes.running()
    say(f"{len(running)} processes: {', '.join(running) or 'none'}")
    return 0 if len(up) == len(PARTS) else 3


if __name__ == "__main__":
    sys.exit(main())
