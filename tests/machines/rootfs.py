"""A root file system made of this machine's Debian packages: a base image without a registry, in some seconds.

The files of the packages and of all that they need are copied as they are, links and modes included. No script of a
package runs; what those would have made, and is needed, is made here.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

BASE = (
    "base-files", "base-passwd", "bash", "coreutils", "dash", "findutils", "grep", "libc-bin", "login", "mount", "passwd",
    "procps", "sed", "tar", "util-linux",
)  # fmt: skip
"""What every image has."""
LEFT_OUT = ("/usr/share/doc/", "/usr/share/info/", "/usr/share/locale/", "/usr/share/man/")
SYMBOLIC = ("/etc/alternatives", "/etc/pam.d")
"""Made by scripts of packages, copied as they are."""
VENV = "/opt/broker"
"""A virtual environment of the image's own Python: where the unit of contrib expects it."""
WHEELHOUSE = "/wheelhouse"


def not_installed(packages: Sequence[str]) -> list[str]:
    """Which of these this machine lacks; all of them if it is no Debian."""
    if shutil.which("dpkg-query") is None or shutil.which("apt-cache") is None:
        return list(packages)
    return [package for package in packages if not _is_installed(package)]


def make_root(root: Path, packages: Sequence[str]) -> None:
    """Fill a new directory. As root only: owners and devices are kept."""
    names = sorted(set(_closure([*BASE, *packages])))
    root.mkdir()
    listing = "\0".join(sorted(set(_files(names)))).encode()
    copying = subprocess.Popen(
        ["tar", "-C", "/", "--no-recursion", "--null", "-T", "-", "-c"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    with subprocess.Popen(["tar", "-C", root, "-x"], stdin=copying.stdout) as extracting:
        assert copying.stdin is not None and copying.stdout is not None
        copying.stdout.close()
        copying.stdin.write(listing)
        copying.stdin.close()
    assert copying.wait() == extracting.returncode == 0
    for place in SYMBOLIC:
        shutil.copytree(place, root / place[1:], symlinks=True, dirs_exist_ok=True)
    for name in ("passwd", "group"):
        shutil.copy(f"/usr/share/base-passwd/{name}.master", root / "etc" / name)
    (root / "etc/hostname").unlink(missing_ok=True)
    inside(root, "ldconfig")


def inside(root: Path, *words: str) -> None:
    """Run a program of this file system. Raises `CalledProcessError`."""
    subprocess.run(["chroot", str(root), *words], check=True, capture_output=True, text=True)


def add_python(root: Path, requirements: Sequence[str]) -> None:
    """A virtual environment whose pip finds these and what they need in the image, and nothing elsewhere."""
    inside(root, "python3", "-m", "venv", VENV)
    (version,) = {path.name.removeprefix("python") for path in (root / VENV[1:] / "lib").iterdir()}
    subprocess.run(
        [
            *(sys.executable, "-m", "pip", "-q", "--no-input", "download", "--python-version", version),
            *("--only-binary=:all:", "--dest", str(root / WHEELHOUSE[1:]), *requirements),
        ],
        check=True,
    )
    (root / "etc/pip.conf").write_text(f"[global]\nno-index = true\nfind-links = {WHEELHOUSE}\n")


def _is_installed(package: str) -> bool:
    asked = ["dpkg-query", "-W", "-f", "${db:Status-Abbrev}", package]
    return subprocess.run(asked, capture_output=True, text=True, check=False).stdout.startswith("ii")


def _closure(packages: Sequence[str]) -> Iterator[str]:
    """These packages and all that they need, as far as they are installed."""
    unwanted = ("recommends", "suggests", "conflicts", "breaks", "replaces", "enhances")
    asked = ["apt-cache", "depends", "--recurse", "--installed", *(f"--no-{kind}" for kind in unwanted)]
    said = subprocess.run([*asked, *packages], check=True, capture_output=True, text=True).stdout
    found = {line.strip() for line in said.splitlines() if line and line[0] not in " <"}
    asked = ["dpkg-query", "-W", "-f", "${binary:Package}\t${db:Status-Abbrev}\n", *sorted(found)]
    for line in subprocess.run(asked, check=False, capture_output=True, text=True).stdout.splitlines():
        name, _, status = line.partition("\t")
        if status.startswith("ii"):
            yield name


def _files(packages: Sequence[str]) -> Iterator[str]:
    """Paths without the first slash. A package may name a file by a directory that is a link today: /bin."""
    said = subprocess.run(["dpkg", "-L", *packages], check=True, capture_output=True, text=True).stdout
    for line in set(said.splitlines()):
        if not line.startswith("/") or line == "/." or line.startswith(LEFT_OUT):
            continue
        path = os.path.join(os.path.realpath(os.path.dirname(line)), os.path.basename(line))
        if os.path.lexists(path):
            yield path.lstrip("/")
