"""A real server whose certificate a private authority has signed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
import trustme
from pydantic import SecretStr

from realparts.procs import Processes, free_ports
from regcred.errors import MalformedError, RefusedError
from regcred.vault.http import Server
from regcred.vault.interface import KeyValue
from regcred.vault.kv2 import connect
from regcred.vault.login import TokenLogin

CONFIG = """
disable_mlock = true
storage "inmem" {{}}
listener "tcp" {{
  address = "127.0.0.1:{port}"
  tls_cert_file = "{directory}/server.pem"
  tls_key_file = "{directory}/server.key"
}}
"""


@pytest.fixture
def addr(tmp_path: Path, binary: Path) -> Iterator[str]:
    """The address of each server over TLS. It is not initialised, because the tests need only its TLS."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    issued = authority.issue_cert("127.0.0.1")
    issued.cert_chain_pems[0].write_to_path(tmp_path / "server.pem")
    issued.private_key_pem.write_to_path(tmp_path / "server.key")
    (port,) = free_ports(1)
    (tmp_path / "server.hcl").write_text(CONFIG.format(port=port, directory=tmp_path))
    addr = f"https://127.0.0.1:{port}"
    processes = Processes(tmp_path)
    try:
        processes.start(
            "vault",
            [binary, "server", f"-config={tmp_path}/server.hcl"],
            ready=lambda: (
                requests.get(f"{addr}/v1/sys/health", verify=str(tmp_path / "ca.pem"), timeout=2).status_code
                == 501
            ),
            env={"PATH": os.environ["PATH"], "HOME": str(tmp_path)},
        )
        yield addr
    finally:
        processes.sweep()


def opened(server: Server) -> KeyValue:
    return connect(server, TokenLogin(lambda: SecretStr("none")), sleep=lambda _: None)


def test_a_private_server_is_trusted_with_its_ca_file_and_refused_without_it(
    addr: str, tmp_path: Path
) -> None:
    with pytest.raises(RefusedError, match="set the CA file"):
        opened(Server(addr)).version("platform/clusters/c1")
    # The request reaches the server, which answers that it is not initialised.
    with pytest.raises(Exception, match=r"sealed|not initialised"):
        opened(Server(addr, ca_file=str(tmp_path / "ca.pem"))).version("platform/clusters/c1")


def test_the_error_names_a_ca_file_that_cannot_be_used(tmp_path: Path) -> None:
    (tmp_path / "empty.pem").write_text("no certificate")
    for name in ("missing.pem", "empty.pem"):
        with pytest.raises(MalformedError, match=name):
            opened(Server("https://vault.example.com", ca_file=str(tmp_path / name)))
