"""Goes the course through MCP, notes what came of each call, and takes away all that was made."""

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from mcp import Client
from mcp_types import CallToolResult, TextContent

from mqtt_bridge.errors import BridgeError
from mqtt_bridge.proxmox.segments import Volume
from proxmox_mcp.exercise.course import COURSE, Try
from proxmox_mcp.exercise.ground import Ground, is_free

if TYPE_CHECKING:
    from mqtt_bridge.proxmox.client import ProxmoxClient
    from proxmox_mcp.tools.base import Tool

PATIENCE = 45.0  # seconds in which a mirror must have heard of what was made
PACE = 0.5
LONG = 600  # seconds for one task
ROUNDS = 5  # of tidying
BETWEEN = 2.0  # seconds between two of them
SHOWN = 150  # characters of an answer


@dataclass(frozen=True)
class Line:
    """One call, and whether it went as it should."""

    tool: str
    what: str
    came: str
    good: bool
    said: str = ""
    undone: str = ""


@dataclass
class Walk:
    """`mayall` may do everything to the guests made here, `mayread` nothing but read."""

    ground: Ground
    mayall: Client
    mayread: Client
    api: "ProxmoxClient"
    tools: "tuple[Tool, ...]"
    tell: Callable[[Line], None]
    lines: list[Line] = field(default_factory=list)

    def note(self, line: Line) -> None:
        """Keeps and tells it."""
        self.lines.append(line)
        self.tell(line)

    async def course(self, tries: Iterable[Try] = COURSE) -> None:
        """Every call in turn; one that goes wrong does not end it."""
        for one in tries:
            await self.attempt(one)
        for tool in self.tools:
            if not tool.read_only:
                result = await self.mayread.call_tool(tool.name, {})
                good = result.is_error is True and ("not permitted" in _said(result) or "hidden" in _said(result))
                self.note(Line(tool.name, "by somebody who may only read", _came(result), good, _said(result)))

    async def attempt(self, one: Try) -> None:
        """Calls it, and says what came of it."""
        if not one.needs(self.ground):
            self.note(Line(one.tool, one.what, "left out", good=True, said="what it needs is not there"))
            return
        if one.makes is not None:
            self.ground.guests[one.makes(self.ground)] = one.what
        result = await self._called(one)
        came = _came(result)
        self._learn(one, result)
        undone = "deleted at the end" if came == "ok" and (one.makes or one.tool == "create_backup") else ""
        self.note(Line(one.tool, one.what, came, one.expect in {came, "either"}, _said(result), undone))

    async def _called(self, one: Try) -> CallToolResult:
        given = {name: value for name, value in one.given(self.ground).items() if value is not None}
        if one.tool in _SLOW:
            given["timeout"] = LONG
        until = time.monotonic() + (PATIENCE if one.patient else 0)
        while True:
            result = await self.mayall.call_tool(one.tool, given)
            if not result.is_error or time.monotonic() >= until:
                return result
            await asyncio.sleep(PACE)

    def _learn(self, one: Try, result: CallToolResult) -> None:
        """What later calls and the tidying need to know."""
        told: Mapping[str, Any] = result.structured_content or {}
        self.ground.upid = str(told.get("upid") or self.ground.upid)
        details = told.get("details") or {}
        volume = details.get("volume") or details.get("volid")
        if one.tool in {"create_backup", "download_image"} and volume:
            self.ground.volumes.append(str(volume))
        if one.tool == "delete_backup" and not result.is_error:
            self.ground.volumes = [v for v in self.ground.volumes if v != one.given(self.ground)["volume"]]

    # --- tidying ------------------------------------------------------------------------------------------------------

    async def tidy(self) -> list[str]:
        """Takes away what was made, and gives back what could not be taken away.

        In rounds: what was under way when it was stopped may only come to be there meanwhile.
        """
        left: list[str] = []
        for _ in range(ROUNDS):
            for volume in [*self.ground.volumes, *await self._backups()]:
                await self._remove_volume(volume)
            for vmid in sorted(self.ground.guests, reverse=True):
                await self._remove_guest(vmid)
            left = await self.left()
            if not left:
                break
            await asyncio.sleep(BETWEEN)
        return left

    async def _backups(self) -> list[str]:
        """Backups of our ids that no answer told of, since it was cut off."""
        if not self.ground.backups:
            return []
        path = ("nodes", self.ground.node, "storage", self.ground.backups, "content")
        rows = await self.api.get(*path, content="backup")
        found = [str(row["volid"]) for row in rows if row.get("vmid") in self.ground.ids]
        return [volume for volume in found if volume not in self.ground.volumes]

    async def _remove_guest(self, vmid: int) -> None:
        place = await self._place(vmid)
        if place is None:
            return
        kind = "execute_vm_command" if place[1] == "qemu" else "execute_lxc_command"
        await self.mayall.call_tool(kind, {"vmid": vmid, "command": "stop", "timeout": LONG})
        result = await self.mayall.call_tool("delete_guest", {"vmid": vmid, "purge": True, "timeout": LONG})
        came = _came(result)
        what = f"guest {vmid}, {self.ground.guests[vmid]}"
        self.note(Line("delete_guest", what, came, came == "ok", _said(result), "" if came == "ok" else "NOT undone"))

    async def _remove_volume(self, volume: str) -> None:
        if ":backup/" in volume:
            result = await self.mayall.call_tool("delete_backup", {"volume": volume, "timeout": LONG})
            came = _came(result)
            self.note(Line("delete_backup", volume, came, came == "ok", _said(result)))
            return
        path = ("nodes", self.ground.node, "storage", volume.partition(":")[0], "content", Volume(volume))
        with suppress(BridgeError):  # what is left is told by `left`
            await self.api.delete(*path)

    async def _place(self, vmid: int) -> tuple[str, str] | None:
        rows = await self.api.get("cluster", "resources", type="vm")
        return next(((str(row["node"]), str(row["type"])) for row in rows if row.get("vmid") == vmid), None)

    async def left(self) -> list[str]:
        """What is still there, by asking Proxmox itself."""
        found = [f"guest {vmid}" for vmid in self.ground.guests if not await is_free(self.api, vmid)]
        for volume in self.ground.volumes:
            path = ("nodes", self.ground.node, "storage", volume.partition(":")[0], "content")
            found += [volume for row in await self.api.get(*path) if row.get("volid") == volume]
        return found + await self._backups()


_SLOW = frozenset(
    {"create_vm", "create_lxc", "clone_guest", "migrate_guest", "create_backup", "restore_backup", "move_disk",
     "download_image", "rollback_snapshot", "delete_snapshot", "create_snapshot"}
)  # fmt: skip


def _came(result: CallToolResult) -> str:
    told: Mapping[str, Any] = result.structured_content or {}
    return "refused" if result.is_error or told.get("status") == "approval_required" else "ok"


def _said(result: CallToolResult) -> str:
    """The first line that tells something, without the marks around it."""
    text = " ".join(block.text for block in result.content if isinstance(block, TextContent))
    lines = [line.strip() for line in text.splitlines() if line.strip() and not line.startswith("<answer-")]
    return lines[0][:SHOWN] if lines else ""
