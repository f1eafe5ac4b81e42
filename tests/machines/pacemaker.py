"""Machines that run Corosync and Pacemaker, each with its own mounts, host name and shared memory, without systemd."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from qpidha.node.ask import NoAnswer, ask_blocking
from tests.machines.host import Host
from tests.machines.network import Network
from tests.machines.runs import end_processes, run_command

T = TypeVar("T")
ROOT = Path(__file__).resolve().parents[2]
PLACES = {
    "corosync": "/etc/corosync",
    "libcorosync": "/var/lib/corosync",
    "libpacemaker": "/var/lib/pacemaker",
    "logcorosync": "/var/log/corosync",
    "logpacemaker": "/var/log/pacemaker",
    "agents": "/usr/lib/ocf/resource.d",
}
"""Directories of one machine, by their name in its folder; and ``/run`` and ``/dev/shm`` are empty after each boot."""
UNTIL_S = 60.0
SLEEP_S = 0.1


class Machine:
    """One machine: its folder lasts, its processes and what is mounted do not."""

    def __init__(self, host: Host, folder: Path) -> None:
        self.host = host
        self.name = host.name
        self.folder = folder
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        for name in (*PLACES, "data", "etcd"):
            (folder / name).mkdir(parents=True)
        for name in ("libpacemaker", "logpacemaker"):
            run_command("chown", "hacluster:haclient", str(folder / name))
        for name in ("blackbox", "cib", "cores", "pengine"):
            (folder / "libpacemaker" / name).mkdir(mode=0o750)
            run_command("chown", "hacluster:haclient", str(folder / "libpacemaker" / name))

    def boot(self) -> None:
        """Make the namespaces, which last as long as this process of them."""
        mounts = "mount -t tmpfs tmpfs /dev/shm\nmount -t tmpfs tmpfs /run\nmkdir /run/lock\n"
        mounts += "".join(f"mount --bind '{self.folder}/{name}' {at}\n" for name, at in PLACES.items())
        mounts += f"hostname {self.name}\ntouch '{self.folder}/booted'\nexec sleep 1000000\n"
        (self.folder / "booted").unlink(missing_ok=True)
        words = ["unshare", "--mount", "--uts", "--ipc", "--propagation", "private", "sh", "-ec", mounts]
        self._processes["init"] = self.host.launch(*words, log=self.folder / "init.log")
        until((self.folder / "booted").exists, f"{self.name} has booted")

    def command(self, *words: str) -> list[str]:
        """The command line that runs a program on this machine."""
        return ["nsenter", "-t", str(self._processes["init"].pid), "-m", "-u", "-i", "-n", "--", *words]

    def launch(self, name: str, *words: str) -> None:
        """Start a program that goes on."""
        with (self.folder / f"{name}.log").open("ab") as log:
            self._processes[name] = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", "--", *self.command(*words)],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
                env={**os.environ, "PCMK_logfile": "/var/log/pacemaker/pacemaker.log"},
            )  # fmt: skip

    def run(self, text: str) -> str:
        """Run commands of a shell on this machine. Raises AssertionError if they fail."""
        done = subprocess.run(
            self.command("sh", "-ec", text), capture_output=True, text=True, timeout=60, cwd=ROOT
        )
        assert done.returncode == 0, f"on {self.name}: {text}\n{done.stdout}{done.stderr}"
        return done.stdout

    def stop(self, name: str) -> None:
        """End a program in order."""
        self._processes[name].send_signal(signal.SIGTERM)
        self._processes[name].wait(60)

    def die(self) -> None:
        """Kill all processes of this machine at once."""
        end_processes(self.host.namespace)
        for process in self._processes.values():
            process.wait(10)
        self._processes.clear()

    def status(self) -> dict[str, Any]:
        """What the broker's node says of itself; empty without an answer."""
        try:
            return dict(ask_blocking(self.folder / "data/control.sock", "status", timeout_s=1.0)["status"])
        except (NoAnswer, KeyError):
            return {}

    def broker(self) -> int:
        """The pid of the broker."""
        marker = f"--node\0{self.name}\0".encode()
        for pid in run_command("ip", "netns", "pids", self.host.namespace).split():
            with contextlib.suppress(OSError):
                if marker in Path(f"/proc/{pid}/cmdline").read_bytes():
                    return int(pid)
        raise AssertionError(f"no broker runs on {self.name}")


class PacemakerCluster:
    """Three machines, each with a member of etcd, a node of the example broker, Corosync and Pacemaker."""

    def __init__(self, network: Network, folder: Path, page: Path) -> None:
        self.network = network
        self._page = page.read_text()
        self.machines = {name: Machine(network.host(name), folder / name) for name in "abc"}
        self.addresses = [(m.host.ipv4, 5672) for m in self.machines.values()]

    def block(self, name: str) -> str:
        """A block of the page, by the name in the comment before it."""
        found = re.search(rf"<!-- {re.escape(name)} -->\n```\w*\n(.*?)```", self._page, re.DOTALL)
        assert found, f"the page has no block {name!r}"
        return found[1]

    def start(self) -> None:
        """Boot everything and configure it as the page says."""
        for machine in self.machines.values():
            (machine.folder / "corosync/corosync.conf").write_text(self.block("corosync.conf"))
            machine.boot()
            self.start_etcd(machine)
            self.start_pacemaker(machine)
        first = self.machines["a"]
        first_folder = first.folder
        self._write_cluster_files(first_folder)
        for machine in self.machines.values():
            machine.run(f"{sys.executable} -m qpidha ocf install")
        until(lambda: "3 nodes configured" in self.crm_mon() and self.crm_mon().count("UNCLEAN") == 0
              and re.search(r"Online: \[ a b c \]", self.crm_mon()) is not None, "three nodes are online")  # fmt: skip
        python = f"{sys.executable} {ROOT}/examples/simple/broker.py"
        text = self.block("resource").replace("python3 /opt/broker/broker.py", python)
        text = text.replace("/etc/qpidha/qpidha.toml", f"{first_folder.parent}/{{node}}/qpidha.toml")
        first.run(text.replace("/var/lib/qpidha/{node}", f"{first_folder.parent}/{{node}}/data"))

    def _write_cluster_files(self, folder: Path) -> None:
        etcd = ",".join(f"{m.host.ipv4}:2379" for m in self.machines.values())
        words = f"{sys.executable} -m qpidha init {folder}/qpidha.toml --certificates --name orders".split()
        for machine in self.machines.values():
            words += ["--node", f"{machine.name}={machine.host.ipv4}:5671"]
            words += ["--client", f"{machine.name}={machine.host.ipv4}:5672"]
        words += [
            "--record",
            f"etcd://{etcd}/qpidha/orders?insecure=true",
            "--store",
            f"{folder.parent}/{{node}}/data",
        ]
        done = subprocess.run(words, capture_output=True, text=True, cwd=ROOT)
        assert done.returncode == 0, done.stderr
        head, record, rest = (folder / "qpidha.toml").read_text().partition("[record]")
        of_record, rest = rest.split("[tls]")
        of_record = re.sub(r"(?m)^(ca|certificate|key) = .*\n", "", of_record)  # etcd is in plain text here.
        text = f'promoter = "operator"\n{head}{record}{of_record}[tls]{rest}'
        for machine in self.machines.values():
            (machine.folder / "qpidha.toml").write_text(text)
            if machine.folder != folder:
                shutil.copytree(folder / "certificates", machine.folder / "certificates")

    def start_etcd(self, machine: Machine) -> None:
        """Start the member of etcd."""
        members = ",".join(f"{m.name}=http://{m.host.ipv4}:2380" for m in self.machines.values())
        at = f"http://{machine.host.ipv4}"
        machine.launch(
            "etcd", "etcd", "--name", machine.name, "--data-dir", str(machine.folder / "etcd"),
            "--listen-client-urls", f"{at}:2379", "--advertise-client-urls", f"{at}:2379",
            "--listen-peer-urls", f"{at}:2380", "--initial-advertise-peer-urls", f"{at}:2380",
            "--initial-cluster", members,
        )  # fmt: skip

    def start_pacemaker(self, machine: Machine) -> None:
        """Start Corosync, and Pacemaker when that answers."""
        machine.launch("corosync", "corosync", "-f")
        until(lambda: "Ring ID" in answer(machine.command("corosync-quorumtool", "-s")), "corosync answers")
        machine.launch("pacemakerd", "pacemakerd")

    def crm_mon(self) -> str:
        """The state of the cluster, from a node that answers."""
        for machine in self.machines.values():
            if machine._processes and "Online" in (said := answer(machine.command("crm_mon", "-1", "-f"))):
                return said
        return ""

    # --- what tests wait for -----------------------------------------------------------------------

    def primaries(self) -> list[str]:
        """The machines whose node is primary."""
        return [
            name for name, m in self.machines.items() if m.status().get("role") in ("active", "recovering")
        ]

    def whole(self) -> str:
        """Wait until all three are members, and exactly one is primary; return that one."""

        def found() -> str | None:
            status = [m.status() for m in self.machines.values()]
            if any(s.get("members") != ["a", "b", "c"] for s in status):
                return None
            primaries = [s["node"] for s in status if s["role"] == "active"]
            return str(primaries[0]) if len(primaries) == 1 else None

        return until(found, "three members, and one primary", self.explain)

    def explain(self) -> str:
        """All that helps to find out why."""
        logs = [p for m in self.machines.values() for p in m.folder.rglob("*.log")]
        ends = "\n".join(f"--- {p}\n{p.read_text(errors='replace')[-1500:]}" for p in logs)
        return f"{[m.status() for m in self.machines.values()]}\n{self.crm_mon()}\n{ends}"


def answer(words: list[str]) -> str:
    """The output of a program, also if it fails."""
    done = subprocess.run(words, capture_output=True, text=True, timeout=30)
    return done.stdout


def until(reached: Callable[[], T | None], what: str, explain: Callable[[], str] = str) -> T:
    """Wait until something is reached; return it."""
    deadline = time.monotonic() + UNTIL_S
    while not (found := reached()):
        assert time.monotonic() < deadline, f"never reached: {what}\n{explain()}"
        time.sleep(SLEEP_S)
    return found
