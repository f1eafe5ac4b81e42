"""An authority and certificates for a trial, made by the command ``openssl``.

The private key of the authority stays beside the certificates, which no real one does: whoever has it can make himself a
node. The certificates of nodes serve for the links between nodes and for an engine on the same machines: they are for
servers and clients, and have no common name, which etcd would take for the name of a user. Nodes have the role of a peer;
the certificate of an operator gives commands to nodes and opens no links.
"""

from __future__ import annotations

import ipaddress
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path

from qpidha.errors import SettingsError
from qpidha.system.roles import OPERATOR, PEER, SCHEME

OPERATOR_NAME = "operator"
RESERVED = ("ca", OPERATOR_NAME)
"""Names of files beside those of the nodes."""
AUTHORITY_DAYS = 3650
NODE_DAYS = 365
OPENSSL_TIMEOUT_S = 60.0
CONFIG = """\
[req]
distinguished_name = name
prompt = no
[name]
O = {organization}
[authority]
basicConstraints = critical, CA:true
keyUsage = critical, keyCertSign, cRLSign
subjectKeyIdentifier = hash
[leaf]
basicConstraints = critical, CA:false
keyUsage = critical, digitalSignature
extendedKeyUsage = {usage}
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
subjectAltName = {names}
"""


def make_certificates(folder: Path, cluster: str, hosts: Mapping[str, Iterable[str]]) -> None:
    """Write ``.pem`` and ``.key`` of ``ca``, of each node and of ``operator`` into a folder, which is new or empty.

    Either all of them are there afterwards, or none. Keys are readable by this user only.

    Args:
        folder: Its parent must be there.
        cluster: A name, shown as the organization of the certificates.
        hosts: By node id, the names and addresses of its machine. The id must be letters, digits, ``-``, ``_`` and ``.``.

    Raises:
        SettingsError: The folder is not empty, a node is called ``ca`` or ``operator``, a host has the name of another
            node, or there is no ``openssl``, or it has failed.
        OSError: The folder cannot be written.
    """
    if os.path.lexists(folder) and not (folder.is_dir() and not os.listdir(folder)):
        raise SettingsError(f"{folder} is there already, and not empty")
    if shutil.which("openssl") is None:
        raise SettingsError(
            "certificates need the command openssl. On Debian and Ubuntu: apt-get install openssl"
        )
    for node, names in hosts.items():
        if node in RESERVED:
            raise SettingsError(f"no node can be called {node!r} here: {node}.pem is another certificate")
        for other in hosts.keys() & set(names) - {node}:
            raise SettingsError(
                f"node {node!r} has the host {other!r}, another node's id: its certificate would be valid for both"
            )
    made = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        _authority(made, cluster)
        for node, names in hosts.items():
            own = dict.fromkeys([f"DNS:{node}", "IP:127.0.0.1", *map(_alternative, names)])
            _leaf(made, node, f"node of {cluster}", [*own, f"URI:{SCHEME}{PEER}"], "serverAuth, clientAuth")
        _leaf(made, OPERATOR_NAME, f"operator of {cluster}", [f"URI:{SCHEME}{OPERATOR}"], "clientAuth")
        made.chmod(0o755)
        made.rename(folder)
    except BaseException:
        shutil.rmtree(made, ignore_errors=True)
        raise


def _authority(folder: Path, cluster: str) -> None:
    config = _config(folder, f"authority of {cluster}", ["DNS:authority"], "serverAuth")
    _key(folder / "ca.key")
    _openssl(
        "req", "-new", "-x509", "-config", config, "-extensions", "authority", "-sha256",
        "-key", folder / "ca.key", "-days", AUTHORITY_DAYS, "-out", folder / "ca.pem",
    )  # fmt: skip
    _publish(folder / "ca.pem")
    config.unlink()


def _leaf(folder: Path, name: str, organization: str, names: Iterable[str], usage: str) -> None:
    config, request = _config(folder, organization, names, usage), folder / "request"
    key, certificate = folder / f"{name}.key", folder / f"{name}.pem"
    _key(key)
    _openssl("req", "-new", "-config", config, "-key", key, "-out", request)
    _openssl(
        "x509", "-req", "-in", request, "-CA", folder / "ca.pem", "-CAkey", folder / "ca.key", "-sha256",
        "-set_serial", f"0x{os.urandom(16).hex()}", "-days", NODE_DAYS,
        "-extfile", config, "-extensions", "leaf", "-out", certificate,
    )  # fmt: skip
    _publish(certificate)
    request.unlink()
    config.unlink()


def _alternative(host: str) -> str:
    try:
        return f"IP:{ipaddress.ip_address(host)}"
    except ValueError:
        return f"DNS:{host}"


def _config(folder: Path, organization: str, names: Iterable[str], usage: str) -> Path:
    path = folder / "openssl.cnf"
    path.write_text(CONFIG.format(organization=organization, names=", ".join(names), usage=usage))
    return path


def _key(path: Path) -> None:
    _openssl("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", path)
    path.chmod(0o600)


def _publish(path: Path) -> None:
    path.chmod(0o644)


def _openssl(*words: object) -> None:
    try:
        subprocess.run(  # noqa: S603 - the arguments are ours.
            ["openssl", *map(str, words)],  # noqa: S607
            check=True,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=OPENSSL_TIMEOUT_S,
            umask=0o077,
        )
    except subprocess.TimeoutExpired as error:
        raise SettingsError(f"openssl {words[0]} has not ended in {OPENSSL_TIMEOUT_S:g} s") from error
    except subprocess.CalledProcessError as error:
        said = error.stderr.decode(errors="replace").strip()
        raise SettingsError(f"openssl {words[0]} has failed: {said}") from error
