"""The last stage: the nodes. Ordinary ones first, then those that guests of ours run on, then the bridge's own.

Each group is asked and looked at until it is gone, or until its time is up; then the next one follows, since a battery
does not wait. A group never has less than PATIENCE, however short the stages are: Proxmox gives what still runs on a
node that goes 180 seconds. Before the last group everything is written down and published: its end takes us with it.
"""

import time
from collections.abc import Sequence

from mqtt_bridge.errors import ProxmoxError, UnreachableError
from mqtt_bridge.site_shutdown.around import Aborted, Around
from mqtt_bridge.site_shutdown.progress import Node
from mqtt_bridge.targets import NodeRef

PACE = 1.0  # seconds between two looks
PATIENCE = 240.0  # seconds that each group has at least: 180 for its guests, 60 for the nodes themselves
AGAIN = 10.0  # seconds until a node that refused is asked again
SURE, UNASKED = 4.0, 30.0  # seconds that a node must be seen away: one that was asked to go, and one that was not
SILENT = 8.0  # seconds of silence after which a site all of whose nodes were asked is gone
OWN = 2  # the rank of the node that the bridge runs on


class NodeStage:
    """`run` it; it can be left at any point and run anew."""

    def __init__(self, around: Around) -> None:
        self._around = around
        self._tried: dict[str, float] = {}
        self._silent: float | None = None
        self._away: dict[str, float] = {}
        self.refused: dict[str, str] = {}

    async def run(self) -> None:
        """Raises Aborted, AuditError."""
        for rank in sorted({node.rank for node in self._around.progress.nodes}):
            await self._group([node for node in self._around.progress.nodes if node.rank == rank])

    async def _group(self, group: Sequence[Node]) -> None:
        around = self._around
        if any(node.name not in around.progress.nodes_asked for node in group):
            await around.keep(since=time.time(), message=self._announced(group))
        end = time.monotonic() + max(around.progress.wanted.stage_timeout, PATIENCE)
        while left := await self._look(group):
            if time.monotonic() >= end:
                return
            for node in left:
                if node.name not in around.progress.nodes_asked:
                    await self._ask(node)
            await around.pause(PACE)

    def _announced(self, group: Sequence[Node]) -> str:
        around = self._around
        names = ", ".join(node.name for node in group)
        text = f"The nodes are asked to shut down: {names}."
        own = [around.progress.label(vmid) for node in group for vmid in node.own]
        if own:
            text += f" {', '.join(own)} goes down with them."
        if group[0].rank == OWN:
            text += " This bridge runs there, so this is the last that it tells."
        return text

    async def _ask(self, node: Node) -> None:
        """Noted before the call, which may be our last: it is taken back where the call was refused."""
        around, now = self._around, time.monotonic()
        if now - self._tried.get(node.name, -AGAIN) < AGAIN:
            return
        self._tried[node.name] = now
        before = around.progress.nodes_asked
        await around.keep(nodes_asked=(*before, node.name))
        if node.rank:  # what is told to others must be there before they go
            await around.book.told()
        try:
            answer = await around.call("node.shutdown", NodeRef(node.name, around.progress.site))
        except Aborted:
            await around.keep(nodes_asked=before)
            raise
        if answer is not None:
            self.refused[node.name] = answer.why
            await around.keep(nodes_asked=before, message=f"Node {node.name} is asked again. {answer.why}")

    async def _look(self, group: Sequence[Node]) -> list[Node]:
        """Those of the group that are not gone."""
        around = self._around
        try:
            online = set(await around.nodes())
        except UnreachableError:
            down = self._unanswered()
        except ProxmoxError:  # somebody answers, so the site is not gone
            self._silent = None
            down = around.progress.nodes_down
        else:
            self._silent = None
            down = self._offline(online)
        if set(down) != set(around.progress.nodes_down):
            left = ", ".join(n.name for n in around.progress.nodes if n.name not in down)
            message = (
                f"{len(down)} of {len(around.progress.nodes)} nodes are down{f'; still up: {left}' if left else ''}."
            )
            await around.keep(nodes_down=down, silent=self._silent is not None, message=message)
        return [node for node in group if node.name not in down]

    def _offline(self, online: set[str]) -> tuple[str, ...]:
        """What has been away for a while: a node that is leaving may answer, and sees none of the others any more.

        Longest where it was not asked, since it is not asked any more then.
        """
        now, asked = time.monotonic(), self._around.progress.nodes_asked
        names = [node.name for node in self._around.progress.nodes]
        self._away = {name: self._away.get(name, now) for name in names if name not in online}
        return tuple(n for n, since in self._away.items() if now - since >= (SURE if n in asked else UNASKED))

    def _unanswered(self) -> tuple[str, ...]:
        """Nobody answers: where each node was asked to go, that is what was to be seen, once it lasts."""
        progress, now = self._around.progress, time.monotonic()
        self._silent = now if self._silent is None else self._silent
        names = tuple(node.name for node in progress.nodes)
        if set(names) <= {*progress.nodes_asked, *progress.nodes_down} and now - self._silent >= SILENT:
            return names
        return progress.nodes_down
