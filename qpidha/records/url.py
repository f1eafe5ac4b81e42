"""Record stores named by one text, for configuration files and command lines.

    /var/lib/broker/cluster, file:///var/lib/broker/cluster          `FileRecordStore`
    etcd://host:2379,host:2379/prefix?ca=...&user=...                `EtcdRecordStore`
    zookeeper://host:2181,host:2181/prefix?ca=...&user=...           `ZooKeeperRecordStore`
    postgresql://host:5432,host:5432/database?ca=...&user=...        `PostgreSqlRecordStore`

The query of a URL names files for certificates and passwords. A password itself is refused: URLs are shown in process
lists, logs and error messages.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qsl, unquote

from qpidha.checks import PATH, Rule, text
from qpidha.errors import SettingsError
from qpidha.interfaces import RecordStore
from qpidha.records.etcd import EtcdRecordStore
from qpidha.records.file import FileRecordStore
from qpidha.records.postgresql import PostgreSqlRecordStore
from qpidha.records.tls import TlsFiles
from qpidha.records.zookeeper import ZooKeeperRecordStore

_URL = re.compile(
    r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://(?P<hosts>[^/?#]*)(?P<path>[^?#]*)(?:\?(?P<query>[^#]*))?"
)
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
URL_TEXT = text(1, 4000)
PATH_OR_URL = Rule(
    "a path or a URL", lambda value: PATH.fits(value) or (URL_TEXT.fits(value) and is_url(value))
)
DEFAULT_PREFIX = "/qpidha"
AS_FILE_NAMES = "surrogateescape"
"""How bytes that are no UTF-8 are decoded: most of what they may be in are names of files."""


@dataclass
class RecordsUrl:
    """The parts of a URL. Each option is taken once; what is left is a mistake."""

    scheme: str
    hosts: tuple[str, ...]
    path: str
    options: dict[str, str]
    known: list[str] = field(default_factory=list)

    def take(self, name: str) -> str | None:
        """The value of an option. None: it is not there."""
        self.known.append(name)
        return self.options.pop(name, None)

    def seconds(self, name: str, default: float) -> float:
        """The value of an option that is a number of seconds. Raises `SettingsError` if it is none."""
        given = self.take(name)
        try:
            return default if given is None else float(given)
        except ValueError:
            raise SettingsError(f"{name} must be a number of seconds, not {given!r}") from None

    def flag(self, name: str) -> bool:
        """Whether an option is 'true'. Raises `SettingsError` if it is neither 'true' nor 'false'."""
        given = self.take(name)
        if given not in (None, "true", "false"):
            raise SettingsError(f"{name} must be 'true' or 'false', not {given!r}")
        return given == "true"

    def tls(self) -> TlsFiles | None:
        """The options ``ca``, ``certificate`` and ``key``. None: no ``ca``. Raises `SettingsError`."""
        ca, certificate, key = (self.take(name) for name in ("ca", "certificate", "key"))
        if ca is not None:
            return TlsFiles(ca=ca, certificate=certificate, key=key)
        if certificate is not None or key is not None:
            raise SettingsError(
                "certificate and key need ca, the file of the authority that signed the servers'"
            )
        return None

    def password_file(self) -> Path | None:
        """The option ``password_file``."""
        given = self.take("password_file")
        return None if given is None else Path(given)

    def require_all_taken(self) -> None:
        """Raise `SettingsError` if there are options that nobody takes."""
        if "password" in self.options:
            raise SettingsError(
                "no password in a URL, which others can see: put it into a file, password_file=/path"
            )
        if self.options:
            raise SettingsError(
                f"{self.scheme}: unknown options {', '.join(sorted(self.options))}; known: {', '.join(self.known)}"
            )


def is_url(place: str) -> bool:
    """Whether this names a record store by a URL, and not by a path."""
    return _SCHEME.match(place) is not None


def parse(place: str) -> RecordsUrl:
    """The parts of a URL.

    Raises:
        SettingsError: It is no URL, has an option twice, or has a password in it, which the message does not show.
    """
    found = _URL.fullmatch(place)
    if found is None:
        raise SettingsError("this is no URL such as etcd://host:2379/prefix?option=value")
    if "@" in found["hosts"]:
        raise SettingsError("no user or password before the hosts: use ?user=NAME&password_file=/path")
    pairs = parse_qsl(found["query"] or "", keep_blank_values=True, errors=AS_FILE_NAMES)
    options = dict(pairs)
    if len(options) < len(pairs):
        raise SettingsError(f"an option is given twice: {', '.join(sorted(name for name, _ in pairs))}")
    hosts = tuple(filter(None, found["hosts"].split(",")))
    return RecordsUrl(found["scheme"].lower(), hosts, unquote(found["path"], errors=AS_FILE_NAMES), options)


def directory_of(place: str) -> Path | None:
    """The directory that a ``file:`` URL names. None: this is another URL, or a wrong one.

    For whoever only looks: `open_records` creates the directory.
    """
    try:
        url = parse(place)
    except SettingsError:
        return None
    named = url.scheme == "file" and not url.hosts and not url.options and PATH.fits(url.path)
    return Path(url.path) if named else None


def open_records(place: str | Path) -> RecordStore:
    """The record store that a path or a URL names. Nothing is connected yet.

    Args:
        place: The directory of a `FileRecordStore`, or a URL, whose scheme says which engine.

    Raises:
        SettingsError: The scheme or an option is not known, a value is wrong, a file cannot be used, or the extra of the
            engine is not installed.
    """
    PATH_OR_URL("place", place, SettingsError)
    if not (isinstance(place, str) and is_url(place)):
        return FileRecordStore(place)
    url = parse(place)
    make = SCHEMES.get(url.scheme)
    if make is None:
        known = ", ".join(f"{name}://" for name in SCHEMES)
        raise SettingsError(f"there is no record store for {url.scheme}://; known: {known}")
    return make(url)


def _file(url: RecordsUrl) -> RecordStore:
    url.require_all_taken()
    if url.hosts:
        raise SettingsError(
            f"file://{','.join(url.hosts)}… names a host: write file:///path, with three slashes"
        )
    return FileRecordStore(url.path)


def _etcd(url: RecordsUrl) -> RecordStore:
    return _ensemble(url, EtcdRecordStore, 2379)


def _zookeeper(url: RecordsUrl) -> RecordStore:
    return _ensemble(url, ZooKeeperRecordStore, 2181)


def _ensemble(url: RecordsUrl, kind: type[EtcdRecordStore | ZooKeeperRecordStore], port: int) -> RecordStore:
    """The store on an ensemble, whose members listen at this port unless the URL names another one."""
    tls, user, password = url.tls(), url.take("user"), url.password_file()
    insecure = url.flag("insecure")
    attempt_s, check_s = url.seconds("attempt_timeout_s", 0.5), url.seconds("check_interval_s", 1.0)
    url.require_all_taken()
    return kind(
        [host if ":" in host.rpartition("]")[2] else f"{host}:{port}" for host in url.hosts],
        prefix=url.path.rstrip("/") or DEFAULT_PREFIX,
        tls=tls,
        user=user,
        password=password,
        insecure=insecure,
        attempt_timeout_s=attempt_s,
        check_interval_s=check_s,
    )


def _postgresql(url: RecordsUrl) -> RecordStore:
    tls, user, password = url.tls(), url.take("user"), url.password_file()
    name = url.take("name")
    insecure = url.flag("insecure")
    attempt_s, check_s = url.seconds("attempt_timeout_s", 0.5), url.seconds("check_interval_s", 1.0)
    url.require_all_taken()
    return PostgreSqlRecordStore(
        [host if ":" in host.rpartition("]")[2] else f"{host}:5432" for host in url.hosts],
        database=url.path.strip("/"),
        name=DEFAULT_PREFIX[1:] if name is None else name,
        tls=tls,
        user=user,
        password=password,
        insecure=insecure,
        attempt_timeout_s=attempt_s,
        check_interval_s=check_s,
    )


SCHEMES: Mapping[str, Callable[[RecordsUrl], RecordStore]] = {
    "file": _file,
    "etcd": _etcd,
    "zookeeper": _zookeeper,
    "postgresql": _postgresql,
}
"""One function for each scheme: it takes its options, calls `RecordsUrl.require_all_taken`, and makes the store."""
