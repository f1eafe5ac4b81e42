"""An authority and certificates for a trial, made by the command ``openssl``.

The private key of the authority stays beside the certificates, which no real one does: whoever has it can make himself a
node. The certificates serve for the links between nodes and for an engine on the same machines: they are for servers and
clients, and have no common name, which etcd would take for the name of a user.
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
[node]
basicConstraints = critical, CA:false
keyUsage = critical, digitalSignature
extendedKeyUsage = serverAuth, clientAuth
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
subjectAltName = {names}
"""


def make_certificates(folder: Path, cluster: str, hosts: Mapping[str, Iterable[str]]) -> None:
    """Write ``ca.pem``, ``ca.key``, and ``NODE.pem`` and ``NODE.key`` for each node into a folder, which is new or empty.

    Either all of them are there afterwards, or none. Keys are readable by this user only.

    Args:
        folder: Its parent must be there.
        cluster: A name, shown as the organization of the certificates.
        hosts: By node id, the names and addresses of its machine. The id must be letters, digits, ``-``, ``_`` and ``.``.

    Raises:
        SettingsError: The folder is not empty, a host has the name of another node, or there is no ``openssl``, or it
            has failed.
        OSError: The folder cannot be written.
    """
    if os.path.lexists(folder) and not (folder.is_dir() and not os.listdir(folder)):
        raise SettingsError(f"{folder} is there already, and not empty")
    if shutil.which("openssl") is None:
        raise SettingsError(
            "certificates need the command openssl. On Debian and Ubuntu: apt-get install openssl"
        )
    for node, names in hosts.items():
        for other in hosts.keys() & set(names) - {node}:
            raise SettingsError(
                f"node {node!r} has the host {other!r}, another node's id: its certificate would be valid for both"
            )
    made = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        _authority(made, cluster)
        for node, names in hosts.items():
            _node(made, cluster, node, names)
        made.chmod(0o755)
        made.rename(folder)
    except BaseException:
        shutil.rmtree(made, ignore_errors=True)
        raise


def _authority(folder: Path, cluster: str) -> None:
    config = _config(folder, f"authority of {cluster}", ["DNS:authority"])
    _key(folder / "ca.key")
    _openssl(
        "req", "-new", "-x509", "-config", config, "-extensions", "authority", "-sha256",
        "-key", folder / "ca.key", "-days", AUTHORITY_DAYS, "-out", folder / "ca.pem",
    )  # fmt: skip
    _publish(folder / "ca.pem")
    config.unlink()


def _node(folder: Path, cluster: str, node: str, hosts: Iterable[str]) -> None:
    names = dict.fromkeys([f"DNS:{node}", "IP:127.0.0.1", *map(_alternative, hosts)])
    config, request = _config(folder, f"node of {cluster}", names), folder / "request"
    key, certificate = folder / f"{node}.key", folder / f"{node}.pem"
    _key(key)
    _openssl("req", "-new", "-config", config, "-key", key, "-out", request)
    _openssl(
        "x509", "-req", "-in", request, "-CA", folder / "ca.pem", "-CAkey", folder / "ca.key", "-sha256",
        "-set_serial", f"0x{os.urandom(16).hex()}", "-days", NODE_DAYS,
        "-extfile", config, "-extensions", "node", "-out", certificate,
    )  # fmt: skip
    _publish(certificate)
    request.unlink()
    config.unlink()


def _alternative(host: str) -> str:
    try:
        return f"IP:{ipaddress.ip_address(host)}"
    except ValueError:
        return f"DNS:{host}"


def _config(folder: Path, organization: str, names: Iterable[str]) -> Path:
    path = folder / "openssl.cnf"
    path.write_text(CONFIG.format(organization=organization, names=", ".join(names)))
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
