"""An LDAP server: OpenLDAP's slapd from Debian, with people and their groups."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from .debian import install
from .procs import Processes, free_ports, listening

BASE = "dc=example,dc=com"
PEOPLE = f"ou=people,{BASE}"
GROUPS = f"ou=groups,{BASE}"

_CONFIG = """
include /etc/ldap/schema/core.schema
include /etc/ldap/schema/cosine.schema
include /etc/ldap/schema/inetorgperson.schema
modulepath /usr/lib/ldap
moduleload back_mdb
pidfile {folder}/slapd.pid
argsfile {folder}/slapd.args
database mdb
suffix "{base}"
directory {folder}/data
access to attrs=userPassword by anonymous auth by * none
access to * by * read
"""

_UNIT = "dn: ou={name},{base}\nobjectClass: organizationalUnit\nou: {name}\n"
_PERSON = (
    "dn: uid={name},{people}\nobjectClass: inetOrgPerson\nuid: {name}\ncn: {name}\nsn: "
    "{name}\nuserPassword: {password}\n"
)
_GROUP = "dn: cn={name},{groups}\nobjectClass: groupOfNames\ncn: {name}\n{members}\n"


class LdapServer:
    """The handle of a server on a loopback address."""

    def __init__(self, processes: Processes) -> None:
        self._processes = processes
        self._folder = processes.directory / "slapd"
        (self._port,) = free_ports(1)

    @property
    def url(self) -> str:
        """Its address."""
        return f"ldap://127.0.0.1:{self._port}"

    def up(self, passwords: Mapping[str, str], groups: Mapping[str, Sequence[str]]) -> None:
        """Start it with these people and groups.

        Args:
            passwords: By person, the password.
            groups: By group, its members.

        Raises:
            BuildError: slapd could not be installed.
        """
        install("slapd")
        (self._folder / "data").mkdir(parents=True)
        config = self._folder / "slapd.conf"
        config.write_text(_CONFIG.format(folder=self._folder, base=BASE))
        self._fill(config, passwords, groups)
        self._processes.start(
            "slapd",
            ["slapd", "-f", config, "-h", self.url, "-d", "0"],
            ready=lambda: listening(self._port),
        )

    def down(self) -> None:
        """Stop it."""
        self._processes.stop("slapd")

    def _fill(self, config: Path, passwords: Mapping[str, str], groups: Mapping[str, Sequence[str]]) -> None:
        entries = [f"dn: {BASE}\nobjectClass: dcObject\nobjectClass: organization\ndc: example\no: Example\n"]
        entries += [_UNIT.format(name=name, base=BASE) for name in ("people", "groups")]
        entries += [
            _PERSON.format(name=name, people=PEOPLE, password=password)
            for name, password in passwords.items()
        ]
        for name, members in groups.items():
            lines = "\n".join(f"member: uid={member},{PEOPLE}" for member in members)
            entries.append(_GROUP.format(name=name, groups=GROUPS, members=lines))
        subprocess.run(
            ["slapadd", "-q", "-f", config],
            input="\n".join(entries),
            text=True,
            check=True,
            capture_output=True,
        )
