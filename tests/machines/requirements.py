"""What machines made of namespaces need, and what of that is missing here."""

from __future__ import annotations

import functools
import os
import shutil
import sys
from pathlib import Path

from tests.machines.runs import Run, run_command
from tests.support.missing import leave_out

PROGRAMS = {"ip": "iproute2", "ss": "iproute2", "tc": "iproute2", "nft": "nftables", "setpriv": "util-linux"}
NFTABLES = "CONFIG_NF_TABLES_BRIDGE, CONFIG_NFT_NUMGEN, CONFIG_NFT_CT, CONFIG_NFT_NAT"
RULES = """
table bridge probe {
    chain forward {
        type filter hook forward priority 0;
        iifname "a" oifname "b" meta length > 1000 drop
        numgen random mod 100 < 1 drop
    }
}
table inet probe {
    chain input { type filter hook input priority 0; ct state invalid drop; }
}
table ip probe {
    chain in { type nat hook prerouting priority -100; tcp dport 1 dnat to 192.168.77.2; }
    chain out { type nat hook postrouting priority 100; masquerade; }
}
"""
"""All kinds of rules that faults are made of."""


@functools.cache
def missing() -> tuple[str, ...]:
    """All that is missing, as sentences. Empty: machines can be made."""
    if not sys.platform.startswith("linux"):
        return ("this is not Linux",)
    found = [
        f"{program} is not installed (Debian: apt-get install {package})"
        for program, package in PROGRAMS.items()
        if shutil.which(program) is None
    ]
    if os.geteuid() != 0:
        found.append("only root may make network namespaces")
    if not Path("/dev/net/tun").exists():
        found.append(
            "there is no /dev/net/tun: the kernel lacks CONFIG_TUN, or the container has no such device"
        )
    return tuple(found) or kernel_lacks()


def kernel_lacks() -> tuple[str, ...]:
    """Try on a namespace what the machines need of the kernel."""
    run = Run()
    name = run.namespace("probe")
    steps = [
        ("network namespaces (CONFIG_NET_NS)", ["ip", "netns", "add", name], None),
        ("bridges (CONFIG_BRIDGE)", ["ip", "-n", name, "link", "add", "br0", "type", "bridge"], None),
        ("veth (CONFIG_VETH)", ["ip", "-n", name, "link", "add", "x", "type", "veth", "peer", "name", "y"], None),
        ("tbf (CONFIG_NET_SCH_TBF)",
         f"tc -n {name} qdisc add dev x root tbf rate 1mbit burst 16kb latency 1s".split(), None),
        (f"nftables for bridges, numgen, ct and NAT ({NFTABLES})",
         ["ip", "netns", "exec", name, "nft", "-f", "-"], RULES),
    ]  # fmt: skip
    try:
        for what, command, stdin in steps:
            try:
                run_command(*command, stdin=stdin)
            except RuntimeError as error:
                return (f"this kernel, or this container, does not allow {what}: {error}",)
        return ()
    finally:
        run.close()


def require_machines() -> None:
    """Skip the test if machines cannot be made here; fail where nothing may be left out (CI)."""
    if not missing():
        return
    message = "machines of network namespaces cannot be made: " + "; ".join(missing())
    leave_out(message)
