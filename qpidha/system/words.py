"""Errors of the system in words: for a log or a terminal, not for whoever debugs."""

from __future__ import annotations

import os
import re
import ssl

from qpidha.system.handshake import plain_words

NUMBER = re.compile(r"\[Errno -?\d+\] ")
"""What Python puts before the words."""
LIBRARY = re.compile(r"^\[[A-Z0-9_]+(?:: [A-Z0-9_]+)?\] |\s*\(_ssl\.c:\d+\)$")
"""The same of an error of TLS: its name, and the line of Python's source."""
NOT_CONNECTED = "Connect call failed"
"""What asyncio says in place of the words of the system."""


def in_words(error: BaseException) -> str:
    """What an error says, without the numbers and the sources that Python adds; the file that it is about comes last."""
    if isinstance(error, ssl.SSLError):
        return plain_words(error) or LIBRARY.sub("", error.strerror or str(error)) or type(error).__name__
    text = str(error)
    if isinstance(error, OSError) and error.strerror:
        failed = error.strerror.startswith(NOT_CONNECTED) and error.errno
        text = os.strerror(error.errno) if failed and error.errno is not None else error.strerror
        files = (error.filename, error.filename2)
        text = ": ".join([text, *(os.fsdecode(file) for file in files if isinstance(file, (str, bytes)))])
    return NUMBER.sub("", text) or type(error).__name__
