"""Commands of a scenario that create a cluster, and start, stop and promote its nodes."""

from __future__ import annotations

from dataclasses import replace

from qpidha.testing.scenarios.commands import Commands
from qpidha.testing.sim.world import World


class ClusterCommands(Commands):
    """Commands that create a cluster and run its nodes."""

    def settings_(self, *words: str) -> None:
        """``settings ack_timeout_s=2``: change fields of `Settings`, before ``nodes``."""
        given = {key: value for key, _, value in (word.partition("=") for word in words)}
        self.settings = replace(
            self.settings,
            **{k: float(v) if k.endswith("_s") else int(v) for k, v in given.items()},  # type: ignore[arg-type]
        )

    def nodes(self, *names: str) -> None:
        """``nodes P B1 B2``: create these nodes and start them, with empty disks."""
        self.world = world = World(nodes=names, settings=self.settings, instant=True)
        world.manager.held = []
        world.listeners.append(self._say)
        world.on_send = self._sent
        world.on_notice = self._noticed
        world.on_request = self._requested
        for node in world.nodes.values():
            node.auto_connect = False
        self.on_world(world)
        world.start()

    def cluster(self, *names: str) -> None:
        """``cluster P B1 B2``: the same, then promote P and make the others members; without output."""
        self.nodes(*names)
        self.promote(names[0])
        self.world.scheduler.run_for(0.0)
        self.connect(*names[1:])
        self._lines = self._lines[-1:]

    def connect(self, *words: str) -> None:
        """``connect B1``: to the primary of the record. ``connect B1->P``: to P, whatever the record says."""
        for word in words:
            source, arrow, target = word.partition("->")
            if arrow:
                self.world.network.connect(self._node(source), self._node(target))
            else:
                self._node(source).connect()
            self.world.scheduler.run_for(0.0)

    def auto(self, *names: str) -> None:
        """``auto B1``: these nodes connect by themselves from now on."""
        for name in names:
            self._node(name).auto_connect = True

    def promote(self, name: str) -> None:
        """``promote B1``: try to make it primary; if it refuses, show why."""
        if why := self._node(name).promote():
            self._say(f"{name}: not promoted: {why}")

    def demote(self, name: str) -> None:
        """``demote P``: make the primary hand over."""
        self._node(name).demote()

    def crash(self, name: str, *how: str) -> None:
        """``crash P``: kill the process. With ``keep`` a commit under way is durable.

        With ``silent`` its peers see no reset, as if the machine had failed. With ``lose`` frames that are held back
        are lost.
        """
        self._node(name).crash(keep="keep" in how, silent="silent" in how, lose="lose" in how)

    def restart(self, name: str) -> None:
        """``restart P``: start a node that is down, on its disk."""
        self._node(name).start()

    def pause(self, name: str) -> None:
        """``pause P``: stop the process, as SIGSTOP does."""
        self._node(name).pause()

    def resume(self, name: str) -> None:
        """``resume P``: let a paused process go on, as SIGCONT does."""
        self._node(name).resume()

    def wait(self, seconds: str) -> None:
        """``wait 2.5``: let virtual time pass, in seconds."""
        self.world.scheduler.run_for(float(seconds))
