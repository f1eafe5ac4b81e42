"""The images of contrib/container, built by its recipe, on a base image of this machine's packages."""

from __future__ import annotations

import sys
from pathlib import Path

from tests.machines.containers import PACKAGES, Engine
from tests.machines.rootfs import VENV, add_python, inside, make_root

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parents[2]
CONTAINER = ROOT / "contrib/container"
BUILD_TIMEOUT_S = 900.0
EXTRAS = ("etcd", "fast")
"""Those that the recipe installs."""
MASKED = ("etcd", "systemd-firstboot", "systemd-networkd-wait-online")
"""Services of the base image that do not belong to what its systemd is to start."""


def requirements() -> list[str]:
    """What building and installing the library with these extras asks for."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    extras = project["project"]["optional-dependencies"]
    found = [*project["build-system"]["requires"], *project["project"]["dependencies"]]
    return ["wheel", *found, *(each for extra in EXTRAS for each in extras[extra])]


def build_images(engine: Engine, folder: Path) -> None:
    """Make ``qpidha-broker`` and ``qpidha-etcd``."""
    root = folder / "root"
    make_root(root, PACKAGES)
    add_python(root, requirements())
    inside(root, "useradd", "--system", "--home-dir", "/var/lib/etcd", "etcd")
    inside(root, "install", "-d", "-o", "etcd", "/var/lib/etcd")
    for service in MASKED:
        (root / f"etc/systemd/system/{service}.service").symlink_to("/dev/null")
    path = f"{VENV}/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    engine.load(root, "base", f"ENV PATH={path}")
    for target in ("etcd", "broker"):
        engine.run(
            *("podman", "build", "-q", "-f", str(CONTAINER / "Containerfile"), "--target", target),
            *(
                "--build-arg",
                "PYTHON=base",
                "--build-arg",
                "DEBIAN=base",
                "-t",
                f"qpidha-{target}",
                str(ROOT),
            ),
            timeout_s=BUILD_TIMEOUT_S,
        )
