"""A Gitea server with a container registry, and its handle. It is the real server, not a stand-in.

It has an administrator, the private organisation ``team``, and the bot ``puller`` in a team that reads
packages and nothing else.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
import subprocess
from pathlib import Path
from typing import Any

import requests

from . import pki
from .build import binary, cache, go
from .internet import Internet
from .procs import Processes, free_ports
from .state import State

PART = "gitea"
HOST = "gitea.example.com"
ORGANISATION = "team"
BOT = "puller"
ADMIN = "root-admin"
_VERSION = "v1.27.3"


class Gitea:
    """The handle of Gitea."""

    def __init__(self, processes: Processes, state: State, internet: Internet) -> None:
        self._processes = processes
        self._state = state
        self._internet = internet
        self.directory = processes.directory / PART

    @property
    def passwords(self) -> dict[str, str]:
        """The passwords of the administrator and the bot, by name."""
        found: dict[str, str] = self._state.part(PART)["passwords"]
        return found

    def up(self) -> None:
        """Start Gitea, create its users at the first start, and route its host name to it."""
        if not (first := self._state.part(PART)):
            self._state.update(PART, port=free_ports(1)[0])
            self._prepare()
        port = self._state.part(PART)["port"]
        if not self._processes.pid(PART):
            self._processes.start(
                PART,
                [binary("gitea"), "--config", self._config, "web"],
                ready=lambda: requests.get(f"http://127.0.0.1:{port}/api/healthz", timeout=2).ok,
                env=self._environment(),
            )
        self._internet.route(HOST, port)
        if not first:
            self._make_users()

    def down(self) -> None:
        """Stop Gitea and delete its users and images."""
        self._processes.stop(PART)
        shutil.rmtree(self.directory, ignore_errors=True)
        self._state.remove(PART)

    def api(self, method: str, path: str, document: Any = None, *, user: str = ADMIN) -> Any:
        """Call Gitea's API as a user, and return the parsed response.

        Raises:
            requests.HTTPError: Gitea refused the request.
        """
        answer = requests.request(
            method,
            f"http://127.0.0.1:{self._state.part(PART)['port']}/api/v1/{path}",
            json=document,
            auth=(user, self.passwords[user]),
            timeout=20,
        )
        answer.raise_for_status()
        return answer.json() if answer.content else None

    def push(self, archive: Path, repository: str, *, entrypoint: str, tag: str = "1") -> str:
        """Create an image with one layer from a tar archive, push it, and return its name."""
        reference = f"{HOST}/{repository}:{tag}"
        folder = self.directory / "crane"
        login = {"username": ADMIN, "password": self.passwords[ADMIN]}
        pki.write_private(folder / "config.json", json.dumps({"auths": {HOST: login}}))
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
            "DOCKER_CONFIG": str(folder),
            **self._internet.environment,
        }
        for words in (
            ["append", "--oci-empty-base", "-f", archive, "-t", reference],
            ["mutate", reference, "-t", reference, f"--entrypoint={entrypoint}"],
        ):
            done = subprocess.run(
                [binary("crane"), *words], env=environment, capture_output=True, text=True, check=False
            )
            if done.returncode:
                raise RuntimeError(f"crane {words[0]}: {done.stderr.strip()}")
        return reference

    @property
    def _config(self) -> Path:
        return self.directory / "app.ini"

    def _environment(self) -> dict[str, str]:
        return {
            "PATH": os.environ["PATH"],
            "HOME": str(self.directory),
            "GITEA_WORK_DIR": str(self.directory),
            "GITEA_I_AM_BEING_UNSAFE_RUNNING_AS_ROOT": "true",
        }

    def _prepare(self) -> None:
        locale = self.directory / "options" / "locale" / "locale_en-US.json"
        locale.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(_locale(), locale)
        pki.write_private(self._config, self._settings())
        self._command("migrate")
        create = ["admin", "user", "create", f"--username={ADMIN}", f"--email={ADMIN}@example.com"]
        printed = self._command(*create, "--admin", "--random-password", "--must-change-password=false")
        password = re.search(r"password is '([^']+)'", printed)
        assert password, "Gitea prints the random password"
        self._state.update(PART, passwords={ADMIN: password[1], BOT: secrets.token_urlsafe(24)})

    def _make_users(self) -> None:
        bot = {"username": BOT, "email": f"{BOT}@example.com", "password": self.passwords[BOT]}
        self.api("POST", "admin/users", {**bot, "must_change_password": False})
        self.api("POST", "orgs", {"username": ORGANISATION, "visibility": "private"})
        team = self.api(
            "POST",
            f"orgs/{ORGANISATION}/teams",
            {"name": "pull", "units_map": {"repo.packages": "read"}, "includes_all_repositories": False},
        )
        self.api("PUT", f"teams/{team['id']}/members/{BOT}")

    def _command(self, *words: str) -> str:
        done = subprocess.run(
            [binary("gitea"), "--config", self._config, *words],
            env=self._environment(),
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise RuntimeError(f"gitea {words[0]}: {(done.stderr or done.stdout).strip()[-500:]}")
        return done.stdout

    def _settings(self) -> str:
        port = self._state.part(PART)["port"]
        sections: dict[str, dict[str, str]] = {
            "": {"RUN_MODE": "prod", "APP_NAME": "local", "WORK_PATH": str(self.directory)},
            "server": {
                "PROTOCOL": "http",
                "HTTP_ADDR": "127.0.0.1",
                "HTTP_PORT": str(port),
                "ROOT_URL": f"https://{HOST}/",
                "PUBLIC_URL_DETECTION": "never",  # the local proxy terminates TLS
                "DISABLE_SSH": "true",
                "OFFLINE_MODE": "true",
                "STATIC_ROOT_PATH": str(self.directory),
            },
            "database": {"DB_TYPE": "sqlite3", "PATH": str(self.directory / "gitea.db")},
            "security": {
                "INSTALL_LOCK": "true",
                "SECRET_KEY": secrets.token_hex(32),
                "PASSWORD_HASH_ALGO": "pbkdf2$1000$50",
            },
            "service": {"DISABLE_REGISTRATION": "true"},
            "cron": {"ENABLED": "false"},
            "indexer": {"ISSUE_INDEXER_TYPE": "db"},
            "actions": {"ENABLED": "false"},
            "i18n": {"LANGS": "en-US", "NAMES": "English"},
            "log": {"LEVEL": "warn", "MODE": "console"},
        }
        lines: list[str] = []
        for name, values in sections.items():
            lines += [f"[{name}]"] if name else []
            lines += [f"{key} = {value}" for key, value in values.items()]
        return "\n".join([*lines, ""])


def _locale() -> Path:
    """The only file that Gitea needs in addition to its binary. It is in Gitea's Go module."""
    kept = cache() / f"gitea-{_VERSION}-locale.json"
    if not kept.exists():
        done = subprocess.run(
            [go(), "mod", "download", "-json", f"code.gitea.io/gitea@{_VERSION}"],
            env={**os.environ, "GOWORK": "off"},
            capture_output=True,
            text=True,
            check=True,
        )
        source = Path(json.loads(done.stdout)["Dir"]) / "options" / "locale" / "locale_en-US.json"
        shutil.copyfile(source, kept)
    return kept
