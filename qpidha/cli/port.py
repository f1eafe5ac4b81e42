"""Commands for a node on another machine: over its HTTP port, with an operator's certificate or token."""

from __future__ import annotations

import argparse
import http.client
import ssl
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, urlsplit

from qpidha.cli.found import refuse, settle_node
from qpidha.cli.text import name, one_line
from qpidha.errors import SettingsError
from qpidha.node.ask import NoAnswer
from qpidha.system.handshake import plain_words
from qpidha.system.keyfiles import require_private_file

ANSWER_BYTES_MAX = 64 * 1024
NEEDS_URL = ("ca", "certificate", "key", "token_file")


def add_port(parser: argparse.ArgumentParser) -> None:
    """Add the options that name the HTTP port of a node, and what is shown there."""
    parser.add_argument(
        "--url", metavar="URL", help="the HTTP port of a node on any machine, such as https://10.0.0.1:7081"
    )
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
    given = next((option for option in NEEDS_URL if getattr(args, option) is not None), None)
    if args.url is None:
        if given is not None:
            refuse(args, f"--{given.replace('_', '-')} needs --url")
        settle_node(args)
        return
    if args.directory is not None or args.node or args.cluster is not None:
        refuse(args, "give --url, or what names a node of this machine, not both")
    if not _is_usable(args.url):
        refuse(args, f"--url {name(args.url)}: it must be such as https://10.0.0.1:7081")
    if args.url.startswith("http:") and any(getattr(args, option) is not None for option in NEEDS_URL[:3]):
        refuse(args, f"--url {name(args.url)}: certificates need https")
    if args.key is not None and args.certificate is None:
        refuse(args, "--key needs --certificate")
    args.directory = args.url


def _is_usable(text: str) -> bool:
    try:
        url = urlsplit(text)
        return url.scheme in ("http", "https") and bool(url.hostname) and url.port != 0
    except ValueError:
        return False


def order(args: argparse.Namespace, command: str) -> dict[str, Any]:
    """Give a command to the node at ``args.url``. Returns the answer, as a control socket gives it.

    Raises:
        NoAnswer: There is none, or a file cannot be used; the message says which, and why.
    """
    url = urlsplit(args.url)
    try:
        headers = {} if args.token_file is None else {"Authorization": f"Bearer {_token(args.token_file)}"}
        status, text = _posted(_connection(args, url), command, headers)
    except SettingsError as error:
        raise NoAnswer("failed", str(error)) from error
    except TimeoutError as error:
        raise NoAnswer("hung", f"no answer in {args.timeout:g} s") from error
    except ssl.SSLError as error:
        words = plain_words(error) or str(error)
        raise NoAnswer("refused", words.replace("this node", "this command")) from error
    except http.client.HTTPException as error:
        raise NoAnswer("closed", f"this is no answer of a node ({type(error).__name__})") from error
    except OSError as error:
        raise NoAnswer("failed", error.strerror or str(error)) from error
    if status == http.client.OK:
        generation = text.rsplit(" ", 1)[-1]
        return {"ok": True, "generation": int(generation) if generation.isdecimal() else None}
    kind = {401: "not-allowed", 403: "not-allowed", 409: "refused"}.get(status, "failed")
    return {"ok": False, "error": text or f"HTTP {status}", "kind": kind}


def _token(path: Path) -> str:
    require_private_file(path)
    token = path.read_text(encoding="ascii", errors="replace").strip()
    if not token.isalnum():
        raise SettingsError(f"{name(str(path))} must hold a token of letters and digits, and nothing else")
    return token


def _connection(args: argparse.Namespace, url: SplitResult) -> http.client.HTTPConnection:
    assert url.hostname is not None
    if url.scheme == "http":
        return http.client.HTTPConnection(url.hostname, url.port or 80, timeout=args.timeout)
    return http.client.HTTPSConnection(
        url.hostname, url.port or 443, timeout=args.timeout, context=_context(args)
    )


def _context(args: argparse.Namespace) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=args.ca)
    except (OSError, ValueError) as error:
        raise SettingsError(f"cannot use the authority {name(str(args.ca))}: {error}") from error
    if args.certificate is not None:
        require_private_file(args.key or args.certificate)
        try:
            context.load_cert_chain(args.certificate, args.key, password="")
        except (OSError, ValueError) as error:
            raise SettingsError(
                f"cannot use the certificate {name(str(args.certificate))}: {error}"
            ) from error
    return context


def _posted(connection: http.client.HTTPConnection, command: str, headers: dict[str, str]) -> tuple[int, str]:
    try:
        connection.request("POST", f"/{command}", headers=headers)
        answer = connection.getresponse()
        return answer.status, one_line(answer.read(ANSWER_BYTES_MAX).decode("utf-8", "replace").strip())
    finally:
        connection.close()
