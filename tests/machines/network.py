"""The switch between machines, and the faults between them.

The switch is a bridge in a namespace of its own; each machine has a port there, named like the machine. A fault is a
rule of the switch, or a property of a port: machines cannot know of it, as they cannot of a real one. All faults last
until `Network.mend`. Their commands take some 10 ms each.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from tests.machines.forwarder import Cable, Quality, open_tap
from tests.machines.host import Host
from tests.machines.runs import Run, run_command, sweep

Names = str | Iterable[str]
"""One machine, or several."""
SWITCH = "switch"
TABLE = "table bridge faults"
PORT_NAME_LENGTH_MAX = 15
QUEUE_FRAMES = "10000"
SEGMENTS_MAX = 65535
"""The kernel's default."""
INNER, INNER_GATEWAY = "192.168.77.2", "192.168.77.1"
"""Behind each router the addresses are the same."""
TRANSLATION = """
table ip translation {{
    chain inwards {{
        type nat hook prerouting priority -100;
        iifname "eth0" tcp dport {{ {ports} }} dnat to {inner}
    }}
    chain outwards {{
        type nat hook postrouting priority 100;
        oifname "eth0" masquerade
    }}
}}
"""


class Network:
    """Machines and the switch between them. A context manager: at its end everything is gone.

    Args:
        ipv4: Machines have an IPv4 address, besides that of IPv6.
    """

    def __init__(self, *, ipv4: bool = True) -> None:
        """Nothing is made before it is entered."""
        self.hosts: dict[str, Host] = {}
        self._ipv4 = None if ipv4 else ""
        self._has_second = False
        self._cables: dict[str, Cable] = {}
        self._rules: list[str] = []
        self._down: set[str] = set()
        self._slow: set[str] = set()
        self._lossy: set[str] = set()
        self._run: Run | None = None

    def __enter__(self) -> Network:
        sweep()
        self._run = Run()
        try:
            self._switch = Host(SWITCH, self._run.namespace(SWITCH), 254)
            run_command("ip", "netns", "add", self._switch.namespace)
            self._make_bridge("br0")
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def name(self) -> str:
        """The name of the run that these machines belong to."""
        assert self._run is not None, "the network is not entered"
        return self._run.name

    def close(self) -> None:
        """Kill all processes of the machines, and remove these. May be called again."""
        for cable in self._cables.values():
            cable.close()
        self._cables.clear()
        if self._run is not None:
            self._run.close()

    def host(self, name: str, *, far: bool = False) -> Host:
        """Make a machine. ``far``: its cable is a forwarder, which can delay (`delay`).

        Raises:
            RuntimeError: The kernel refused something.
        """
        assert self._run is not None, "the network is not entered"
        assert name not in (*self.hosts, SWITCH, "br0") and len(name) <= PORT_NAME_LENGTH_MAX, name
        host = Host(name, self._run.namespace(name), len(self.hosts) + 1, ipv4=self._ipv4)
        run_command("ip", "netns", "add", host.namespace)
        self.hosts[name] = host
        if far:
            with host.entered():
                inner = open_tap("eth0")
            with self._switch.entered():
                outer = open_tap(name)
            # A forwarder that waits for a processor must not lose what was sent meanwhile.
            host.run("ip", "link", "set", "dev", "eth0", "txqueuelen", QUEUE_FRAMES)
            self._ip("link", "set", "dev", name, "txqueuelen", QUEUE_FRAMES)
            self._cables[name] = Cable((inner, outer))
        else:
            peer = ["peer", "name", "eth0", "netns", host.namespace]
            self._ip("link", "add", "name", name, "type", "veth", *peer)
        self._ip("link", "set", "dev", name, "master", "br0", "up")
        host.set_up()
        return host

    def second_cable(self, name: str) -> str:
        """Give a machine a cable to a second switch. Returns its address there.

        Its port there is called like the machine, with a 2 after it: faults take that name, too.
        """
        if not self._has_second:
            self._make_bridge("br1")
            self._has_second = True
        host, port = self[name], f"{name}2"
        address = f"10.78.0.{host.number}"
        self._ip(*f"link add name {port} type veth peer name eth1 netns {host.namespace}".split())
        self._ip("link", "set", "dev", port, "master", "br1", "up")
        host.run("ip", "addr", "add", f"{address}/24", "dev", "eth1")
        host.run("ip", "link", "set", "dev", "eth1", "up")
        return address

    def behind(self, router: str, ports: Iterable[int]) -> Host:
        """Make a machine that reaches others through another one, and is reached at some TCP ports of that.

        So a container is connected that has a network of its own. All such machines have the same address.
        """
        assert self._run is not None, "the network is not entered"
        outer, name = self[router], f"{router}-inner"
        inner = Host(name, self._run.namespace(name), outer.number, ipv4=INNER)
        run_command("ip", "netns", "add", inner.namespace)
        outer.run(*f"ip link add name inner type veth peer name eth0 netns {inner.namespace}".split())
        outer.run("ip", "addr", "add", f"{INNER_GATEWAY}/24", "dev", "inner")
        outer.run("ip", "link", "set", "dev", "inner", "up")
        inner.set_up()
        inner.run("ip", "route", "add", "default", "via", INNER_GATEWAY)
        with outer.entered():
            Path("/proc/sys/net/ipv4/ip_forward").write_text("1\n")
        rules = TRANSLATION.format(ports=", ".join(map(str, ports)), inner=INNER)
        outer.run("nft", "-f", "-", stdin=rules)
        return inner

    def _make_bridge(self, name: str) -> None:
        bridge = f"link add {name} type bridge stp_state 0 forward_delay 0 mcast_snooping 0"
        self._ip(*bridge.split())
        self._ip("link", "set", "dev", name, "up")

    def _ip(self, *words: str) -> None:
        run_command("ip", "-n", self._switch.namespace, *words)

    def __getitem__(self, name: str) -> Host:
        return self.hosts[name]

    # --- nothing passes ----------------------------------------------------------------------------

    def cut(self, some: Names, others: Names | None = None) -> None:
        """Drop everything between some machines and others (None: all others), in both directions."""
        some, others = self._sides(some, others)
        self._add([*drops(some, others), *drops(others, some)])

    def cut_one_way(self, sources: Names, targets: Names | None = None) -> None:
        """Drop everything that some machines send to others (None: to all others)."""
        self._add(drops(*self._sides(sources, targets)))

    def unplug(self, name: str) -> None:
        """Take the cable out: the machine sees that its link is down."""
        self._down.add(name)
        self._ip("link", "set", "dev", name, "down")

    def plug_in(self, name: str) -> None:
        """Put the cable back."""
        self._down.discard(name)
        self._ip("link", "set", "dev", name, "up")

    def cut_family(self, name: str, version: int) -> None:
        """Drop all IPv4 or all IPv6 packets (``version``) of a machine. The other family passes."""
        packets = "{ ip, arp }" if version == 4 else "ip6"
        self._add([f'{way} "{name}" ether type {packets} drop' for way in ("iifname", "oifname")])

    # --- something passes --------------------------------------------------------------------------

    def lose(self, name: str, percent: float) -> None:
        """Lose a random share of the packets that a machine sends and receives."""
        random = f"numgen random mod 10000 < {round(percent * 100)} drop"
        self._segments(name, 1)  # Else packets that the sender's system has joined would be lost as one.
        self._lossy.add(name)
        self._add([f'{way} "{name}" {random}' for way in ("iifname", "oifname")])

    def swallow_large(self, some: Names, others: Names | None = None, *, above: int = 1000) -> None:
        """Drop packets above a size in bytes between machines, as a tunnel of unknown MTU does: small ones pass."""
        some, others = self._sides(some, others)
        sized = f"meta length > {above} drop"
        self._add([*drops(some, others, sized), *drops(others, some, sized)])

    def forget_connections(self, name: str) -> None:
        """Make the TCP connections of a machine half-open: nothing of them passes, new connections are served."""
        self[name].forget_connections()

    def slow_down(self, name: str, mbit_s: float = 1.0) -> None:
        """Limit the rate of a machine's port, in each direction, to so many Mbit/s."""
        self._slow.add(name)
        shape = f"root tbf rate {round(mbit_s * 1000)}kbit burst 16kb latency 300ms".split()
        for host, device in ((self._switch, name), (self[name], "eth0")):
            host.run("tc", "qdisc", "replace", "dev", device, *shape)

    def delay(self, name: str, quality: Quality) -> None:
        """Set the quality of the cable of a machine that is ``far``."""
        self._cables[name].set(quality)

    # --- mending -----------------------------------------------------------------------------------

    def mend(self) -> None:
        """End all faults."""
        self._rules.clear()
        self._apply()
        for name in list(self._down):
            self.plug_in(name)
        for name in self._slow:
            for host, device in ((self._switch, name), (self[name], "eth0")):
                host.run("tc", "qdisc", "del", "dev", device, "root")
        self._slow.clear()
        for name in self._lossy:
            self._segments(name, SEGMENTS_MAX)
        self._lossy.clear()
        for cable in self._cables.values():
            cable.set(Quality())
        for host in self.hosts.values():
            host.remember()

    def _segments(self, name: str, segments: int) -> None:
        """Let the machine's system hand over at most so many segments of a TCP stream as one packet."""
        self[name].run("ip", "link", "set", "dev", "eth0", "gso_max_segs", str(segments))

    def _sides(self, some: Names, others: Names | None) -> tuple[list[str], list[str]]:
        """Two lists of machines. The second one is all others if it is not given."""
        some = [some] if isinstance(some, str) else list(some)
        if others is None:
            return some, [name for name in self.hosts if name not in some]
        return some, [others] if isinstance(others, str) else list(others)

    def _add(self, rules: Iterable[str]) -> None:
        self._rules += rules
        self._apply()

    def _apply(self) -> None:
        """Replace all rules in one transaction."""
        rules = "".join(f"{rule};\n" for rule in self._rules)
        chain = f"chain forward {{ type filter hook forward priority 0;\n{rules}}}\n"
        self._switch.run("nft", "-f", "-", stdin=f"{TABLE} {{}}\ndelete {TABLE}\n{TABLE} {{\n{chain}}}\n")


def drops(sources: Iterable[str], targets: Iterable[str], verdict: str = "drop") -> list[str]:
    """The rules for what goes from some ports to others."""
    return [f'iifname "{a}" oifname "{b}" {verdict}' for a in sources for b in targets if a != b]
