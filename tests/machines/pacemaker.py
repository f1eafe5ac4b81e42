"""Corosync and Pacemaker on machines: each has the daemons, files and processes of its own.

The machines have one kernel and one file system. So what must not be shared lies in a folder of the machine, in a mount
namespace; host name, shared memory and process ids have namespaces, too. The first process of a machine holds them all:
when it ends, the kernel ends everything on the machine, and forgets the mounts.
"""

from __future__ import annotations

import contextlib
import re
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from xml.sax.saxutils import quoteattr

from tests.engines.server import require
from tests.machines.host import Host
from tests.machines.runs import run_command

PAGE = Path(__file__).resolve().parents[2] / "docs/pacemaker.md"
COROSYNC = re.compile(r"^totem \{.*?(?=^```)", re.DOTALL | re.MULTILINE)
RESOURCE = re.compile(r"^crm_attribute --type crm_config.*?(?=^```)", re.DOTALL | re.MULTILINE)
ROLES = re.compile(r"\b(Promoted|Unpromoted): \[ (.*?) \]")
SCORE = re.compile(r"master-\S+\s*: \d")
MOVE = re.compile(r"^crm_resource --move .*", re.MULTILINE)
PRIVATE = ("/etc/corosync", "/var/lib/pacemaker", "/var/lib/corosync", "/var/log", "/usr/lib/ocf/resource.d")
OF_DAEMONS = (
    *(f"var/lib/pacemaker/{name}" for name in ("cib", "pengine", "cores", "blackbox")),
    "var/log/pacemaker",
)
BEGIN = """\
hostname "$1"
shift
for place do mount --bind "$folder$place" "$place"; done
mount -t tmpfs tmpfs /run
mount -t tmpfs tmpfs /dev/shm
touch "$folder/begun"
sleep infinity &
wait
"""
"""The first process of a machine. The shell takes the exit codes of processes whose parents have ended."""
PROPERTIES = """\
<cluster_property_set id="cib-bootstrap-options">
  <nvpair id="dc-deadtime" name="dc-deadtime" value="3s"/>
</cluster_property_set>
"""
"""What a new cluster has: so long it waits for a machine that coordinates before it elects one. The default is 20 s."""
NO_COROSYNC = """
table inet corosync {
    chain input { type filter hook input priority 0; udp dport 5405 drop; }
    chain output { type filter hook output priority 0; udp dport 5405 drop; }
}
"""
CLONE = "broker-clone"
PID_FILE = "run/resource-agents/qpidha-broker.pid"
BEGIN_TIMEOUT_S, ONLINE_TIMEOUT_S = 10.0, 90.0


def require_pacemaker() -> None:
    """Skip the test if a program is missing; fail where nothing may be left out (CI)."""
    for program, package in (
        ("corosync", "corosync"),
        ("pacemakerd", "pacemaker"),
        ("crm_mon", "pacemaker-cli-utils"),
    ):
        require(program, package)


def block(pattern: re.Pattern[str]) -> str:
    """A block of the page."""
    found = pattern.search(PAGE.read_text())
    assert found, f"{PAGE.name} has no such block: {pattern.pattern}"
    return found[0]


class Machine:
    """One machine of the cluster. It runs as soon as it is made, without the daemons."""

    def __init__(self, host: Host, folder: Path, corosync: str) -> None:
        self.name = host.name
        self.folder = folder
        self._host = host
        for place in (*(name[1:] for name in PRIVATE), *OF_DAEMONS):
            (folder / place).mkdir(parents=True, exist_ok=True)
        (folder / "etc/corosync/corosync.conf").write_text(corosync)
        empty = run_command("cibadmin", "--empty")
        configured = empty.replace("<crm_config/>", f"<crm_config>{PROPERTIES}</crm_config>")
        assert configured != empty, empty
        (folder / "var/lib/pacemaker/cib/cib.xml").write_text(configured)
        run_command("chown", "-R", "hacluster:haclient", *(str(folder / place) for place in OF_DAEMONS))
        self._running: list[subprocess.Popen[bytes]] = []
        self._first = self._begin()

    def _begin(self) -> int:
        """Start the first process; returns its number outside of the machine."""
        script = f"set -e\nfolder='{self.folder}'\n{BEGIN}"
        words = ["unshare", "--mount", "--uts", "--ipc", "--pid", "--mount-proc", "--kill-child=KILL"]
        words += ["sh", "-c", script, "sh", self.name, *PRIVATE]
        log = self.folder / "machine.log"
        parent = self._host.launch(*words, log=log)
        self._running.append(parent)
        until = time.monotonic() + BEGIN_TIMEOUT_S
        while not (self.folder / "begun").exists():
            assert parent.poll() is None and time.monotonic() < until, log.read_text()
            time.sleep(0.01)
        return int(Path(f"/proc/{parent.pid}/task/{parent.pid}/children").read_text())

    def command(self, *words: str) -> list[str]:
        """The command line that runs a program here."""
        namespaces = ["--mount", "--uts", "--ipc", "--net", "--pid"]
        return ["nsenter", "--target", str(self._first), *namespaces, "--", *words]

    def run(self, *words: str, stdin: str | None = None) -> str:
        """Run a program here, and return its output. Raises RuntimeError if it fails."""
        return run_command(*self.command(*words), stdin=stdin)

    def launch(self, *words: str) -> None:
        """Start a program that ends when the machine does."""
        with (self.folder / f"{words[0]}.log").open("ab") as log:
            command = self.command(*words)
            launched = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
            self._running.append(launched)

    def signal_broker(self, number: signal.Signals) -> None:
        """Send a signal to the process of the broker, if there is one."""
        with contextlib.suppress(OSError, RuntimeError):
            pid = Path(f"/proc/{self._first}/root/{PID_FILE}").read_text().split()[0]
            self.run("kill", f"-{number.value}", pid)

    def cut_corosync(self) -> None:
        """Let Corosync see no other machine. All else passes."""
        self.run("nft", "-f", "-", stdin=NO_COROSYNC)

    def mend_corosync(self) -> None:
        """End `cut_corosync`."""
        self.run("nft", "-f", "-", stdin="table inet corosync {}\ndelete table inet corosync\n")

    def close(self) -> None:
        """End everything that runs here."""
        for process in self._running:
            process.kill()
        for process in self._running:
            process.wait()

    def log(self) -> str:
        """What Pacemaker has logged."""
        return (self.folder / "var/log/pacemaker/pacemaker.log").read_text()


class Pacemaker:
    """The cluster of some machines. Its resource is a broker on each of them. Nothing runs before `start`."""

    def __init__(self, hosts: Sequence[Host], folder: Path) -> None:
        corosync = block(COROSYNC)
        for number, host in enumerate(hosts, 1):
            corosync = corosync.replace(f"10.77.0.{number}\n", f"{host.ipv4}\n")
        self.machines = {
            host.name: Machine(host, folder / f"machine-{host.name}", corosync) for host in hosts
        }

    def start(self, directory: str, command: str) -> None:
        """Do what the page says, with these values of the parameters."""
        for program in (("corosync", "-f"), ("pacemakerd",)):
            for machine in self.machines.values():
                machine.launch(*program)
        for machine in self.machines.values():
            machine.run(sys.executable, "-m", "qpidha", "ocf", "install")
        self.await_online()
        text = block(RESOURCE)
        for name, value in (("directory", directory), ("command", command)):
            before, after = re.split(rf'(?<=name="{name}")\s+value="[^"]*"', text)
            text = f"{before} value={quoteattr(value)}{after}"
        self.run("sh", "-ec", text)

    def run(self, *words: str) -> str:
        """Run a program on one of the machines: it says something of all."""
        return next(iter(self.machines.values())).run(*words)

    def forget(self) -> None:
        """Forget all that failed, and all that an operator has ordered."""
        for machine in self.machines:
            self.set_standby(machine, False)
        self.run("crm_resource", "--clear", "--resource", CLONE)
        self.run("crm_resource", "--cleanup")

    def set_standby(self, machine: str, yes: bool) -> None:
        """Empty a machine, or take it back."""
        order = ["--update", "on"] if yes else ["--delete"]
        self.run("crm_attribute", "--node", machine, "--name", "standby", *order)

    def settled(self, primary: str) -> bool:
        """Whether Pacemaker knows this primary and no other, and that all other brokers run and may be promoted."""
        shown = self.run("crm_mon", "-1", "-A")
        roles = {role: set(names.split()) for role, names in ROLES.findall(shown)}
        others = self.machines.keys() - {primary}
        scores = len(SCORE.findall(shown))
        return (roles.get("Promoted"), roles.get("Unpromoted"), scores) == (
            {primary},
            others,
            len(others) + 1,
        )

    def move(self, machine: str) -> None:
        """Order that the primary is on this machine, as the page says it."""
        self.run("sh", "-ec", block(MOVE).replace("--node b", f"--node {machine}"))

    def close(self) -> None:
        """End all machines."""
        for machine in self.machines.values():
            machine.close()

    def await_online(self) -> None:
        """Wait until all machines are in the cluster, and one coordinates."""
        names = " ".join(sorted(self.machines))
        until = time.monotonic() + ONLINE_TIMEOUT_S
        while True:
            with contextlib.suppress(RuntimeError):
                found = [machine.run("crm_mon", "-1", "--inactive") for machine in self.machines.values()]
                if all(f"Online: [ {names} ]" in text and "with quorum" in text for text in found):
                    return
            assert time.monotonic() < until, "\n".join(m.log()[-3000:] for m in self.machines.values())
            time.sleep(0.2)
