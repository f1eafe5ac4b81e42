#!/usr/bin/python3 -IS
"""An OCF resource agent for one node of qpidha, as a promotable clone: Pacemaker decides which node is primary.

The record of the cluster stays where it is, in etcd say, and decides whether the node may be promoted. The broker's
promoter must wait for orders (`qpidha.promoters.OperatorPromoter`).

A node has a promotion score, an attribute of the cluster, only while Pacemaker may promote it. Each action that looks at
the node writes the score anew. All members of the record have each acknowledged message. One whose process has just begun
has not shown yet that it works, and it may be the one that has failed:

    1000  it is primary
     100  a member of the record, whose process has followed a primary, or was one
      50  a member of the record, whose process has not done that yet
      10  a member that leaves the role of primary to others: its disk hangs, its broker failed, it was just demoted
       1  there is no record, and the node is empty: the one that is promoted founds the cluster
    none  anything else: it does not run, does not answer, has stopped, or is no member

Only the standard library is used, without its site packages: this runs every second.
"""

from __future__ import annotations

import json
import os
import pwd
import shlex
import shutil
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

SUCCESS, GENERIC, ARGUMENTS, UNIMPLEMENTED, PERMISSION, INSTALLED, CONFIGURED, NOT_RUNNING, PROMOTED = range(
    9
)
"""Exit codes of the OCF resource agent API."""

PRIMARY, MEMBER, NEWCOMER, RELUCTANT, FOUNDER = 1000, 100, 50, 10, 1
"""Promotion scores."""

PRIMARY_ROLES = ("recovering", "active")
PROVEN_ROLES = ("ready", *PRIMARY_ROLES)
CREDENTIALS = struct.Struct("3i")
LOOK_S = 0.05
KILL_SHARE = 0.6
"""This part of the time for an action is for the broker to end by itself; then it is killed."""
RETRY_S = 0.3
SECOND_CHANCE_S = 0.5
"""So long a node may take to answer after it has not answered in its ``answer_timeout``."""
ATTRIBUTE_TIMEOUT_S = 5.0
ANSWER_BYTES_MAX = 16 * 1024 * 1024

METADATA = """\
<?xml version="1.0"?>
<!DOCTYPE resource-agent SYSTEM "ra-api-1.dtd">
<resource-agent name="qpidha" version="1.0">
<version>1.1</version>
<longdesc lang="en">
Runs a message broker that embeds qpidha, and lets Pacemaker decide which node is primary. Use it as a promotable clone.
The cluster record of qpidha decides whether a node may be promoted: only members of the record have a promotion score.
The broker's promoter must wait for orders. In the values of all parameters, {node} stands for the name of the node.
</longdesc>
<shortdesc lang="en">Node of a highly available message broker</shortdesc>
<parameters>
<parameter name="directory" required="1" unique="1">
<longdesc lang="en">The data directory of the node: an absolute path.</longdesc>
<shortdesc lang="en">Data directory</shortdesc>
<content type="string"/>
</parameter>
<parameter name="command" required="1">
<longdesc lang="en">
The program that is the broker, with its arguments, quoted as in a shell. It stays in the foreground, and ends on SIGTERM.
</longdesc>
<shortdesc lang="en">Command line of the broker</shortdesc>
<content type="string"/>
</parameter>
<parameter name="user">
<longdesc lang="en">The user that the broker runs as, with its groups.</longdesc>
<shortdesc lang="en">User of the broker</shortdesc>
<content type="string" default="root"/>
</parameter>
<parameter name="control">
<longdesc lang="en">The control socket of the node; without it, control.sock in the data directory.</longdesc>
<shortdesc lang="en">Control socket</shortdesc>
<content type="string"/>
</parameter>
<parameter name="log">
<longdesc lang="en">
The file to which the broker's output is appended; without it, broker.log in the data directory.
</longdesc>
<shortdesc lang="en">Output of the broker</shortdesc>
<content type="string"/>
</parameter>
<parameter name="node">
<longdesc lang="en">What {node} stands for; without it, the name of the node in Pacemaker.</longdesc>
<shortdesc lang="en">Name of the node</shortdesc>
<content type="string"/>
</parameter>
<parameter name="answer_timeout">
<longdesc lang="en">
A node that does not answer in this number of seconds has failed. It must be less than the timeout of the monitor action.
</longdesc>
<shortdesc lang="en">Time to answer, in seconds</shortdesc>
<content type="integer" default="5"/>
</parameter>
</parameters>
<actions>
<action name="start" timeout="60s"/>
<action name="stop" timeout="60s"/>
<action name="monitor" role="Unpromoted" depth="0" timeout="15s" interval="2s"/>
<action name="monitor" role="Promoted" depth="0" timeout="15s" interval="1s"/>
<action name="promote" timeout="60s"/>
<action name="demote" timeout="60s"/>
<action name="meta-data" timeout="5s"/>
<action name="validate-all" timeout="10s"/>
</actions>
</resource-agent>
"""


class Failed(Exception):
    """The action has failed: the exit code for Pacemaker, and the reason for people."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code


def log(level: str, text: str) -> None:
    """Print one line for Pacemaker's log, which has what its agents write to the standard error."""
    print(f"{level}: {' '.join(text.split())}", file=sys.stderr)


# --- the broker's process ------------------------------------------------------------------------


class Process:
    """The process of the broker, found again by each action: by a file, or as the one that listens on the socket.

    The file has its pid, when it began, and what the actions have noticed:

        proven   it was ready or primary once
        silent   it did not answer the last time that it was asked
    """

    def __init__(self, file: str, control: str) -> None:
        self._file = file
        self._control = control

    def find(self) -> int | None:
        """The pid, or None. A pid that was given to another process since is not taken for it."""
        if words := self._read():
            return int(words[0])
        if (pid := self._listening()) is not None:
            self.remember(pid)
        return pid

    def _read(self) -> list[str]:
        """What the file has; empty: there is no such process."""
        try:
            with open(self._file, encoding="ascii") as file:
                words = file.read().split()
            return words if words[1] == began_at(int(words[0])) else []
        except (OSError, ValueError, IndexError):
            return []

    def _listening(self) -> int | None:
        try:
            with connected(self._control, 1.0) as link:
                raw = link.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, CREDENTIALS.size)
        except OSError:
            return None
        pid = int(CREDENTIALS.unpack(raw)[0])
        return pid if began_at(pid) else None

    def remember(self, pid: int, noticed: Iterable[str] = ()) -> None:
        """Write down that this is the process, and what was noticed of it."""
        os.makedirs(os.path.dirname(self._file), exist_ok=True)
        with open(self._file + ".new", "w", encoding="ascii") as file:
            file.write(f"{' '.join([str(pid), str(began_at(pid)), *noticed])}\n")
        os.replace(self._file + ".new", self._file)

    def noticed(self, word: str) -> bool:
        """Whether this was noticed."""
        return word in self._read()[2:]

    def notice(self, word: str, yes: bool = True) -> None:
        """Write down that this was noticed, or that it is over. It is written only if it changes."""
        words = self._read()
        if words and yes != (word in words[2:]):
            self.remember(int(words[0]), {*words[2:], word} if yes else {*words[2:]} - {word})

    def forget(self) -> None:
        """It has ended."""
        if os.path.exists(self._file):
            os.unlink(self._file)


def began_at(pid: int) -> str | None:
    """When a process began, in ticks since the machine's start; None: there is none, or it has ended."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            fields = file.read().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else fields[19]


# --- the control socket --------------------------------------------------------------------------


def connected(path: str, timeout_s: float) -> socket.socket:
    """A connection to a socket. Its path may be long: it is opened relative to its directory."""
    folder = os.open(os.path.dirname(path), os.O_RDONLY | os.O_DIRECTORY)
    link = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        link.settimeout(timeout_s)
        link.connect(f"/proc/self/fd/{folder}/{os.path.basename(path)}")
    except BaseException:
        link.close()
        raise
    finally:
        os.close(folder)
    return link


def ask(path: str, command: str, timeout_s: float) -> dict[str, Any]:
    """The answer of a node, as `qpidha.node.control` gives it. Raises OSError or ValueError without one."""
    until = time.monotonic() + timeout_s
    answer = b""
    with connected(path, timeout_s) as link:
        link.sendall(json.dumps({"command": command, "queues": 0}).encode() + b"\n")
        while not answer.endswith(b"\n"):
            link.settimeout(max(until - time.monotonic(), 0.001))
            piece = link.recv(65536)
            answer += piece
            if not piece or len(answer) > ANSWER_BYTES_MAX:
                raise ConnectionError("it closed the connection before its answer was complete")
    found = json.loads(answer)
    if isinstance(found, dict):
        return found
    raise ValueError("its answer is none of a node")


def score_of(status: Mapping[str, Any], *, proven: bool) -> int | None:
    """The promotion score of a node with this status; None: it must not be promoted.

    Args:
        proven: Its process was ready or primary once.
    """
    if status.get("stopped"):
        return None
    if status.get("in_sync") or status.get("role") in PRIMARY_ROLES:
        if status.get("place_given_up"):
            return RELUCTANT
        if status.get("role") in PRIMARY_ROLES:
            return PRIMARY
        return MEMBER if proven else NEWCOMER
    empty = not (status.get("cluster") or status.get("members") or status.get("queue_count"))
    return FOUNDER if empty and status.get("node") in status.get("live", ()) else None


# --- the actions ---------------------------------------------------------------------------------


class Agent:
    """The actions for one node. Each returns an exit code, or raises `Failed`."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = environment
        self._node = (
            self._read("node") or environment.get("OCF_RESKEY_CRM_meta_on_node") or os.uname().nodename
        )
        self.directory = self._parameter("directory")
        self.control = self._parameter("control") or os.path.join(self.directory, "control.sock")
        self.log = self._parameter("log") or os.path.join(self.directory, "broker.log")
        self.user = self._parameter("user") or "root"
        instance = environment.get("OCF_RESOURCE_INSTANCE", "qpidha").replace("/", "-")
        run = environment.get("HA_RSCTMP") or "/run/resource-agents"
        self._process = Process(os.path.join(run, f"qpidha-{instance}.pid"), self.control)
        limit_s = float(environment.get("OCF_RESKEY_CRM_meta_timeout") or 20000) / 1000
        self._began = time.monotonic()
        self._until = self._began + 0.9 * limit_s

    def _read(self, name: str) -> str:
        return self._environment.get(f"OCF_RESKEY_{name}", "")

    def _parameter(self, name: str) -> str:
        return self._read(name).replace("{node}", self._node)

    @property
    def _left_s(self) -> float:
        return max(self._until - time.monotonic(), 0.1)

    def validate(self) -> int:
        """Check the parameters, and that the program and the user exist here."""
        if not os.path.isabs(self.directory):
            raise Failed(CONFIGURED, "the parameter directory is not an absolute path")
        for name, path in (("control", self.control), ("log", self.log)):
            if not os.path.isabs(path):
                raise Failed(CONFIGURED, f"the parameter {name} is not an absolute path: {path}")
        _ = self.answer_timeout_s
        program = self.words[0]
        if shutil.which(program) is None:
            raise Failed(INSTALLED, f"the broker's program cannot be run on {self._node}: {program}")
        try:
            pwd.getpwnam(self.user)
        except KeyError:
            raise Failed(INSTALLED, f"there is no user {self.user} on {self._node}") from None
        return SUCCESS

    @property
    def words(self) -> list[str]:
        """The command line of the broker."""
        try:
            words = shlex.split(self._parameter("command"))
        except ValueError as error:
            raise Failed(CONFIGURED, f"the parameter command is not quoted as in a shell: {error}") from None
        if not words:
            raise Failed(CONFIGURED, "the parameter command is missing: the command line of the broker")
        return words

    @property
    def answer_timeout_s(self) -> float:
        """How long a node may take to answer."""
        text = self._read("answer_timeout") or "5"
        if not (text.isascii() and text.isdigit() and int(text)):
            raise Failed(CONFIGURED, f"the parameter answer_timeout is not a number of seconds: {text}")
        return float(text)

    # --- looking -------------------------------------------------------------------------------------

    def status(self) -> dict[str, Any]:
        """What the node says of itself, and its score is set. Raises `Failed` if it does not run, answer or work."""
        if self._process.find() is None:
            self.set_score(None)
            raise Failed(NOT_RUNNING, "")
        try:
            answer = ask(self.control, "status", self._patience_s)
        except (OSError, ValueError) as error:
            self._process.notice("silent", isinstance(error, TimeoutError))
            self.set_score(None)
            raise Failed(
                GENERIC, f"the broker runs and does not answer on {self.control}: {said(error)}"
            ) from None
        self._process.notice("silent", False)
        status = answer.get("status")
        if not isinstance(status, dict):
            self.set_score(None)
            raise Failed(GENERIC, f"the broker answers with an error: {answer.get('error')}")
        if status.get("role") in PROVEN_ROLES:
            self._process.notice("proven")
        self.set_score(score_of(status, proven=self._process.noticed("proven")))
        if status.get("stopped"):
            raise Failed(GENERIC, f"the node has stopped by itself: {status['stopped']}")
        return status

    @property
    def _patience_s(self) -> float:
        """How long the node may take to answer now. Who waits for it once need not wait so long again."""
        limit_s = SECOND_CHANCE_S if self._process.noticed("silent") else self.answer_timeout_s
        return min(limit_s, self._left_s)

    def _hangs(self) -> bool:
        """Whether a process that did not answer does not answer now, either: it could not end in order."""
        if self._process.noticed("silent"):
            try:
                ask(self.control, "status", self._patience_s)
            except TimeoutError:
                return True
            except (OSError, ValueError):
                pass
        return False

    def set_score(self, score: int | None) -> None:
        """Write this node's promotion score, or remove it. Outside of a cluster there is none to write it to."""
        words = ["crm_attribute", "--promotion", "--lifetime", "reboot"]
        words += ["--delete"] if score is None else ["--update", str(score)]
        try:
            done = subprocess.run(
                words,
                check=False,
                capture_output=True,
                text=True,
                timeout=min(ATTRIBUTE_TIMEOUT_S, self._left_s),
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            log("WARNING", f"the promotion score cannot be written: {said(error)}")
            return
        if done.returncode:
            log("WARNING", f"the promotion score cannot be written: {done.stderr}")

    def monitor(self) -> int:
        """Whether the broker runs, and whether it is primary."""
        return PROMOTED if self.status().get("role") in PRIMARY_ROLES else SUCCESS

    # --- start and stop ------------------------------------------------------------------------------

    def start(self) -> int:
        """Start the broker, and wait until it answers. First its score goes: it may come back with less than it had."""
        self.validate()
        self.set_score(None)
        if (pid := self._process.find()) is None:
            pid = self._launch()
            self._process.remember(pid)
        answer: dict[str, Any] = {}
        while not answer:
            if began_at(pid) is None:
                self._process.forget()
                raise Failed(
                    GENERIC, f"the broker has ended while it was starting; its output is in {self.log}"
                )
            if time.monotonic() > self._until:
                raise Failed(
                    GENERIC,
                    f"the broker did not answer on {self.control} in time; its output is in {self.log}",
                )
            try:
                answer = ask(self.control, "status", min(self.answer_timeout_s, self._left_s))
            except (OSError, ValueError):
                time.sleep(LOOK_S)
        return SUCCESS  # Its score is written by the next monitor.

    def _launch(self) -> int:
        """Start the broker as its user, whose own files its output goes to."""
        user = pwd.getpwnam(self.user)
        options: dict[str, Any] = {}
        if os.geteuid() == 0 and user.pw_uid != 0:
            groups = os.getgrouplist(self.user, user.pw_gid)
            options = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": groups}
        appending = 'mkdir -p "${QPIDHA_LOG%/*}" && exec "$@" >>"$QPIDHA_LOG" 2>&1'
        kept = {k: v for k, v in self._environment.items() if not k.startswith(("OCF_", "HA_", "PCMK_"))}
        broker = subprocess.Popen(
            ["/bin/sh", "-c", appending, "sh", *self.words],
            env={**kept, "QPIDHA_LOG": self.log, "HOME": user.pw_dir, "USER": self.user},
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            cwd="/", start_new_session=True, **options,
        )  # fmt: skip
        broker.returncode = 0  # It outlives this process, which does not wait for it.
        return broker.pid

    def stop(self) -> int:
        """End the broker in order; if it hangs, or if that takes too long, kill it."""
        self.set_score(None)
        pid = self._process.find()
        if (
            pid is not None
            and not self._ends_in_order(pid)
            and not self._end(pid, signal.SIGKILL, self._until)
        ):
            raise Failed(GENERIC, f"process {pid} of the broker does not end, although it was killed")
        self._process.forget()
        return SUCCESS

    def _ends_in_order(self, pid: int) -> bool:
        if self._hangs():
            log("WARNING", "the broker does not answer: it is killed")
            return False
        grace_s = KILL_SHARE * (self._until - self._began)
        if self._end(pid, signal.SIGTERM, self._began + grace_s):
            return True
        log("WARNING", f"the broker did not end within {grace_s:.0f} s of SIGTERM: it is killed")
        return False

    @staticmethod
    def _end(pid: int, number: signal.Signals, until: float) -> bool:
        began = began_at(pid)
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            return True
        while began_at(pid) == began:
            if time.monotonic() > until:
                return False
            time.sleep(LOOK_S)
        return True

    # --- the role ------------------------------------------------------------------------------------

    def promote(self) -> int:
        """Make this node primary. The record decides whether it may be; a refusal takes its score away."""
        return self._steer("promote", lambda role: role == "active")

    def demote(self) -> int:
        """Make this node stop being primary; success if it is not."""
        return self._steer("demote", lambda role: role not in PRIMARY_ROLES)

    def _steer(self, command: str, reached: Callable[[Any], bool]) -> int:
        while True:
            status = self.status()
            if reached(status.get("role")):
                return SUCCESS
            try:
                answer = ask(self.control, command, self._left_s)
            except (OSError, ValueError) as error:
                answer = {"error": said(error)}
            if answer.get("ok") is True:
                continue
            if answer.get("kind") == "PromotionRefused":
                self.set_score(None)
                raise Failed(GENERIC, f"this node may not be promoted: {answer.get('error')}")
            if time.monotonic() + RETRY_S > self._until:
                raise Failed(GENERIC, f"{command} has failed: {answer.get('error')}")
            log("INFO", f"{command} is tried again: {answer.get('error')}")
            time.sleep(RETRY_S)


def said(error: Exception) -> str:
    """An error in words."""
    if isinstance(error, (TimeoutError, subprocess.TimeoutExpired)):
        return "it takes too long"
    if isinstance(error, OSError) and error.strerror:  # Without the number that Python puts before the words.
        return error.strerror if error.filename is None else f"{error.strerror}: {error.filename}"
    return str(error) or type(error).__name__


def main(action: str, environment: Mapping[str, str]) -> int:
    """Do one action; returns the exit code."""
    if action in ("meta-data", "metadata"):
        sys.stdout.write(METADATA)
        return SUCCESS
    agent = Agent(environment)
    actions: dict[str, Callable[[], int]] = {
        "start": agent.start,
        "stop": agent.stop,
        "monitor": agent.monitor,
        "promote": agent.promote,
        "demote": agent.demote,
        "validate-all": agent.validate,
    }
    if action not in actions:
        log("ERROR", f"this agent has no action {action!r}: {', '.join(actions)}, meta-data")
        return UNIMPLEMENTED
    try:
        return actions[action]()
    except Failed as error:
        if str(error):
            log("ERROR", f"{action}: {error}")
            print(f"ocf-exit-reason:{' '.join(str(error).split())}", file=sys.stderr)
        return error.code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1] if len(sys.argv) == 2 else "", os.environ))
