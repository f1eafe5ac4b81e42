"""Nodes on other machines, by their HTTP port, with a certificate or a token."""

from __future__ import annotations

import argparse
import http.client
import json
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from qpidha.cli.found import refuse, settle_node
from qpidha.cli.text import name, one_line
from qpidha.errors import SettingsError
from qpidha.node.ask import NoAnswer
from qpidha.system.keyfiles import require_private_file
from qpidha.system.words import in_words

ANSWER_BYTES_MAX = 16 * 1024 * 1024
NEEDS_URL = ("ca", "certificate", "key", "token_file")


def add_port(parser: argparse.ArgumentParser, *, many: bool = False) -> None:
    """Add the options that name the HTTP port of a node, or of several, and what is shown there."""
    text = "the HTTP port of a node on any machine, such as https://10.0.0.1:7081"
    if many:
        parser.add_argument("--url", action="append", metavar="URL", help=f"{text}; may be repeated")
    else:
        parser.add_argument("--url", metavar="URL", help=text)
    parser.add_argument("--ca", type=Path, metavar="FILE", help="the authority of its certificate (PEM)")
    parser.add_argument(
        "--certificate", type=Path, metavar="FILE", help="an operator's, with the role qpidha:operator (PEM)"
    )
    parser.add_argument("--key", type=Path, metavar="FILE", help="its key, if it is not in the same file")
    parser.add_argument(
        "--token-file", type=Path, metavar="FILE", help="an operator's token instead of a certificate"
    )


def settle_steered(args: argparse.Namespace) -> None:
    """A URL, or what `settle_node` finds. Ends the command if the options do not fit together."""
    if args.url is None:
        require_no_port(args)
        settle_node(args)
        return
    if args.directory is not None or args.node or args.cluster is not None:
        refuse(args, "give --url, or what names a node of this machine, not both")
    check_port(args, [args.url])
    args.directory = args.url


def require_no_port(args: argparse.Namespace) -> None:
    """End the command if an option says what is to be shown, and none where."""
    given = next((option for option in NEEDS_URL if getattr(args, option) is not None), None)
    if given is not None:
        refuse(args, f"--{given.replace('_', '-')} needs --url")


def check_port(args: argparse.Namespace, urls: list[str]) -> None:
    """End the command if one of these URLs, or what is to be shown there, cannot be used."""
    for url in urls:
        if not _is_usable(url):
            refuse(args, f"--url {name(url)}: it must be such as https://10.0.0.1:7081")
        if url.startswith("http:") and any(getattr(args, option) is not None for option in NEEDS_URL[:3]):
            refuse(args, f"--url {name(url)}: certificates need https")
    if args.key is not None and args.certificate is None:
        refuse(args, "--key needs --certificate")


def _is_usable(text: str) -> bool:
    try:
        url = urlsplit(text)
        return url.scheme in ("http", "https") and bool(url.hostname) and url.port != 0
    except ValueError:
        return False


@dataclass(frozen=True, slots=True)
class Port:
    """The HTTP port of a node on any machine, and what is shown there."""

    url: str
    ca: Path | None = None
    certificate: Path | None = None
    key: Path | None = None
    token_file: Path | None = None

    def order(self, command: str, timeout_s: float) -> dict[str, Any]:
        """Give a command to the node. Returns the answer, as a control socket gives it.

        Raises:
            NoAnswer: There is none, or a file cannot be used; the message says which, and why.
        """
        status, text = self._asked("POST", f"/{command}", timeout_s)
        if status == http.client.OK:
            generation = text.rsplit(" ", 1)[-1]
            return {"ok": True, "generation": int(generation) if generation.isdecimal() else None}
        kind = {401: "not-allowed", 403: "not-allowed", 409: "refused"}.get(status, "failed")
        return {"ok": False, "error": one_line(text) or f"HTTP {status}", "kind": kind}

    def status(self, queues: int, timeout_s: float) -> dict[str, Any]:
        """The status of the node. Raises `NoAnswer`."""
        status, text = self._asked("GET", f"/status?queues={queues}", timeout_s)
        if status != http.client.OK:
            raise NoAnswer("failed", f"refused: {one_line(text) or f'HTTP {status}'}")
        try:
            found = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise NoAnswer("not-json", "this is no answer of a node: it is no JSON") from error
        if not isinstance(found, dict):
            raise NoAnswer("not-json", "this is no answer of a node: it is no JSON object")
        return found

    def _asked(self, method: str, path: str, timeout_s: float) -> tuple[int, str]:
        try:
            headers = (
                {} if self.token_file is None else {"Authorization": f"Bearer {_token(self.token_file)}"}
            )
            return _answered(self._connection(timeout_s), method, path, headers)
        except SettingsError as error:
            raise NoAnswer("failed", str(error)) from error
        except TimeoutError as error:
            raise NoAnswer("hung", f"no answer in {timeout_s:g} s") from error
        except ssl.SSLError as error:
            words = in_words(error)
            raise NoAnswer("refused", words.replace("this node", "this command")) from error
        except http.client.HTTPException as error:
            raise NoAnswer("closed", f"this is no answer of a node ({type(error).__name__})") from error
        except OSError as error:
            raise NoAnswer("failed", in_words(error)) from error
        except UnicodeError as error:
            raise NoAnswer("failed", "its host cannot be a name of a machine") from error

    def _connection(self, timeout_s: float) -> http.client.HTTPConnection:
        url = urlsplit(self.url)
        assert url.hostname is not None
        if url.scheme == "http":
            return http.client.HTTPConnection(url.hostname, url.port or 80, timeout=timeout_s)
        return http.client.HTTPSConnection(
            url.hostname, url.port or 443, timeout=timeout_s, context=_context(self)
        )


def port_of(args: argparse.Namespace, url: str) -> Port:
    """The port at this URL, with what the command line says is shown there."""
    return Port(url, args.ca, args.certificate, args.key, args.token_file)


def _token(path: Path) -> str:
    require_private_file(path)
    token = path.read_text(encoding="ascii", errors="replace").strip()
    if not token.isalnum():
        raise SettingsError(f"{name(str(path))} must hold a token of letters and digits, and nothing else")
    return token


def _context(args: Port) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=args.ca)
    except (OSError, ValueError) as error:
        raise SettingsError(f"cannot use the authority {name(str(args.ca))}: {in_words(error)}") from error
    if args.certificate is not None:
        require_private_file(args.key or args.certificate)
        try:
            context.load_cert_chain(args.certificate, args.key, password="")
        except (OSError, ValueError) as error:
            raise SettingsError(
                f"cannot use the certificate {name(str(args.certificate))}: {in_words(error)}"
            ) from error
    return context


def _answered(
    connection: http.client.HTTPConnection, method: str, path: str, headers: dict[str, str]
) -> tuple[int, str]:
    try:
        connection.request(method, path, headers=headers)
        answer = connection.getresponse()
        text = answer.read(ANSWER_BYTES_MAX + 1)
        if len(text) > ANSWER_BYTES_MAX:
            raise NoAnswer("too-large", f"the answer has more than {ANSWER_BYTES_MAX} bytes")
        return answer.status, text.decode("utf-8", "replace").strip()
    finally:
        connection.close()
